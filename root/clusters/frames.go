package clusters

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	linkv1 "oakestra/api/link/v1"
	exchange "oakestra/pkg/session"
)

// frames is an exchange.Conn over the stream of a cluster. One frame waits at
// most; the rest waits in the stream's window, and then at its sender.
type frames struct {
	stream grpc.BidiStreamingServer[linkv1.SessionFrame, linkv1.SessionFrame]
	in     chan *linkv1.SessionFrame
	ended  chan struct{} // closed when the stream has ended and in is empty
	over   chan struct{} // closed by hangUp: the stream may end
	lost   chan struct{} // closed by lose
	broken error         // what it means when the stream ends without End

	once sync.Once
	gone sync.Once
	why  error // before lost is closed
	mu   sync.Mutex
}

func newFrames(stream grpc.BidiStreamingServer[linkv1.SessionFrame, linkv1.SessionFrame]) *frames {
	f := &frames{stream: stream, in: make(chan *linkv1.SessionFrame), ended: make(chan struct{}), over: make(chan struct{}), lost: make(chan struct{})}
	go f.receive()
	return f
}

func (f *frames) receive() {
	defer close(f.ended)
	for {
		m, err := f.stream.Recv()
		if err != nil {
			return
		}
		select {
		case f.in <- m:
		case <-f.over:
			return
		case <-f.stream.Context().Done(): // nobody reads any more
			select {
			case f.in <- m:
			case <-f.over:
			}
		}
	}
}

// hangUp lets the stream end.
func (f *frames) hangUp() { f.once.Do(func() { close(f.over) }) }

// lose makes Recv say that the session has ended, and why.
func (f *frames) lose(why error) {
	f.gone.Do(func() {
		f.why = why
		close(f.lost)
	})
}

// Send waits until the stream has room.
func (f *frames) Send(_ context.Context, v exchange.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := frameTo(v)
	if m == nil {
		return nil
	}
	return f.stream.Send(m)
}

// Recv waits for the next frame. A stream that ends without End has one.
func (f *frames) Recv(ctx context.Context) (exchange.Frame, error) {
	for {
		select {
		case m := <-f.in:
			if v, ok := frameFrom(m); ok {
				return v, nil
			}
		case <-f.ended:
			return exchange.EndWith(f.broken), nil
		case <-f.lost:
			return exchange.EndWith(f.why), nil
		case <-ctx.Done():
			return exchange.Frame{}, ctx.Err()
		}
	}
}

// frameTo is what flows down; nil for what does not.
func frameTo(v exchange.Frame) *linkv1.SessionFrame {
	switch v.Kind {
	case exchange.Stdin:
		if len(v.Data) > 0 {
			return &linkv1.SessionFrame{Stdin: v.Data}
		}
	case exchange.StdinClosed:
		return &linkv1.SessionFrame{StdinClosed: true}
	case exchange.Resize:
		return &linkv1.SessionFrame{Columns: v.Columns, Rows: v.Rows}
	case exchange.Stdout, exchange.Stderr, exchange.Ready, exchange.End: // flow up
	}
	return nil
}

// frameFrom reads what flows up; ok is false for what is of a newer version.
func frameFrom(m *linkv1.SessionFrame) (v exchange.Frame, ok bool) {
	switch {
	case m.GetEnd():
		return exchange.Frame{Kind: exchange.End, Exit: m.GetExitCode(), Class: m.GetClass(), Message: m.GetError()}, true
	case m.GetReady():
		return exchange.Frame{Kind: exchange.Ready}, true
	case len(m.GetStdout()) > 0:
		return exchange.Frame{Kind: exchange.Stdout, Data: m.GetStdout()}, true
	case len(m.GetStderr()) > 0:
		return exchange.Frame{Kind: exchange.Stderr, Data: m.GetStderr()}, true
	}
	return exchange.Frame{}, false
}
