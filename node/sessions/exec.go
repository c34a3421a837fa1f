package sessions

import (
	"context"
	"io"
	"sync"

	"oakestra/api/mqtt"
	"oakestra/node/runtime"
	"oakestra/pkg/session"
)

// exec runs a command and returns its exit code. hangUp is called when the
// other side is gone, which kills it.
func (s *Sessions) exec(ctx context.Context, hangUp func(), sock *session.Socket, id string, o mqtt.Session) (int, error) {
	in, keys := io.Pipe()
	defer func() { // whoever writes or reads goes on
		_ = in.Close()
		_ = keys.Close()
	}()
	resize := make(chan runtime.Size, 1)
	// The output may be there before who has started the command says so.
	ready := sync.OnceFunc(func() {
		if sock.Send(ctx, session.Frame{Kind: session.Ready}) != nil {
			hangUp()
		}
	})
	c := runtime.Command{
		Args: o.Command, TTY: o.TTY, Size: runtime.Size{Columns: o.Columns, Rows: o.Rows}, Resize: resize,
		Stdout: sender{ctx, sock, session.Stdout, ready}, Stderr: sender{ctx, sock, session.Stderr, ready}, Started: ready,
	}
	if o.Stdin {
		c.Stdin = in
	}
	go func() {
		defer hangUp()
		listen(ctx, sock, keys, resize)
	}()
	return s.console.Exec(ctx, id, c)
}

// listen takes what the user types until nobody is there. It waits as long as
// the command does not read.
func listen(ctx context.Context, sock *session.Socket, keys *io.PipeWriter, resize chan runtime.Size) {
	for {
		f, err := sock.Recv(ctx)
		if err != nil {
			return
		}
		switch f.Kind {
		case session.Stdin:
			if len(f.Data) > 0 { // a pipe waits for a reader of nothing, too
				_, _ = keys.Write(f.Data) // the command may have ended
			}
		case session.StdinClosed:
			_ = keys.Close()
		case session.Resize:
			select { // the last one counts
			case <-resize:
			default:
			}
			resize <- runtime.Size{Columns: f.Columns, Rows: f.Rows}
		case session.Stdout, session.Stderr, session.Ready, session.End: // not for us
		}
	}
}

// sender makes frames of an output.
type sender struct {
	ctx  context.Context
	sock *session.Socket
	kind session.Kind
	// before is done first.
	before func()
}

// Write returns when all of it was taken.
func (s sender) Write(b []byte) (int, error) {
	s.before()
	for at := 0; at < len(b); at += session.Chunk {
		if err := s.sock.Send(s.ctx, session.Frame{Kind: s.kind, Data: b[at:min(len(b), at+session.Chunk)]}); err != nil {
			return at, err
		}
	}
	return len(b), nil
}
