package rootlink

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	linkv1 "oakestra/api/link/v1"
	"oakestra/api/mqtt"
	"oakestra/cluster/sessions"
	"oakestra/pkg/core/model"
	exchange "oakestra/pkg/session"
)

const (
	// mostSessions is how many sessions are served at once; the root has the
	// same limit, and says so.
	mostSessions = 64
	// farewell is how long the root may take to close a stream that has ended.
	farewell = 5 * time.Second
	window   = 128 << 10
)

// ofSession are the options of a session's connection. A root that is gone
// without a word is found by keepalive; the control stream has heartbeats of its
// own. What is typed and not read may not fill our memory.
func ofSession() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
	}
}

// Sessions answers a session; see cluster/sessions.
type Sessions interface {
	Serve(ctx context.Context, a sessions.Ask, up exchange.Conn)
}

// abilities are what the root may ask.
func abilities(c Config) []string {
	list := []string{abilityExplain, abilityOrphans, linkv1.AbilityParts}
	if c.Sessions != nil {
		list = append(list, mqtt.AbilityLogs, mqtt.AbilityExec, linkv1.KindOver)
	}
	return list
}

// attach takes what the root asks. It never blocks.
func (l *Link) attach(a *linkv1.Attach) {
	if a.GetKind() == linkv1.KindOver {
		l.over(a.GetSessionId())
		return
	}
	select {
	case l.asked <- a:
	default:
		l.log.Warn("session dropped: too many wait", "session", a.GetKind())
	}
}

// attend serves sessions until ctx ends, each on a connection of its own: a log
// that flows on the one with the heartbeats would fill its buffers, and they
// would wait behind it. They outlive a control stream that breaks.
func (l *Link) attend(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, mostSessions)
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-l.asked:
			select {
			case room <- struct{}{}:
			default:
				l.log.Warn("session refused: too many are open")
				continue
			}
			all.Go(func() {
				defer func() { <-room }()
				if err := l.serve(ctx, a); err != nil {
					l.log.Warn("session not opened", "kind", a.GetKind(), "error", err)
				}
			})
		}
	}
}

func (l *Link) serve(ctx context.Context, a *linkv1.Attach) error {
	if l.cfg.Sessions == nil {
		return nil // we never said that we can
	}
	client, hangUp, err := l.connect(ofSession()...)
	if err != nil {
		return err
	}
	defer hangUp()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Session(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&linkv1.SessionFrame{SessionId: a.GetSessionId()}); err != nil {
		return err
	}
	up := newFrames(stream)
	defer up.wait()
	defer cancel()
	// The stream's end is the end of who asked; see over for one that stands behind
	// what is not read.
	alive, gone := context.WithCancel(ctx)
	defer gone()
	l.ends.Store(a.GetSessionId(), cancel)
	defer l.ends.Delete(a.GetSessionId())
	defer context.AfterFunc(stream.Context(), gone)()
	l.cfg.Sessions.Serve(alive, askFrom(a), up)
	_ = stream.CloseSend()
	up.drain(farewell)
	return nil
}

// over ends a session whose user is gone.
func (l *Link) over(id string) {
	if end, open := l.ends.Load(id); open {
		end.(context.CancelFunc)()
	}
}

func askFrom(a *linkv1.Attach) sessions.Ask {
	return sessions.Ask{
		Kind: a.GetKind(), Instance: model.InstanceID{Service: model.ServiceID(a.GetServiceId()), Number: int(a.GetNumber())},
		Follow: a.GetFollow(), Tail: a.GetTail(), SinceMS: a.GetSinceMs(),
		Command: a.GetCommand(), Stdin: a.GetStdin(), TTY: a.GetTty(), Columns: a.GetColumns(), Rows: a.GetRows(),
	}
}

// frames is an exchange.Conn over a stream.
type frames struct {
	stream linkv1.Link_SessionClient
	in     chan *linkv1.SessionFrame
	done   chan struct{} // closed when the stream has ended
	mu     sync.Mutex    // one sends at a time
}

func newFrames(stream linkv1.Link_SessionClient) *frames {
	f := &frames{stream: stream, in: make(chan *linkv1.SessionFrame), done: make(chan struct{})}
	go f.receive()
	return f
}

func (f *frames) receive() {
	defer close(f.done)
	for {
		m, err := f.stream.Recv()
		if err != nil {
			return
		}
		select {
		case f.in <- m:
		case <-f.stream.Context().Done():
			return
		}
	}
}

// Send waits until the stream has room.
func (f *frames) Send(_ context.Context, v exchange.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stream.Send(frameTo(v))
}

// Recv waits for the next frame.
func (f *frames) Recv(ctx context.Context) (exchange.Frame, error) {
	for {
		select {
		case m := <-f.in:
			if v, ok := frameFrom(m); ok {
				return v, nil
			}
		case <-f.done:
			return exchange.Frame{}, io.EOF
		case <-ctx.Done():
			return exchange.Frame{}, ctx.Err()
		}
	}
}

// drain waits for the end of the stream: what was sent has then arrived.
func (f *frames) drain(within time.Duration) {
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		select {
		case <-f.in:
		case <-f.done:
			return
		case <-limit.C:
			return
		}
	}
}

// wait returns when nobody reads the stream any more.
func (f *frames) wait() { <-f.done }

func frameTo(v exchange.Frame) *linkv1.SessionFrame {
	switch v.Kind {
	case exchange.Ready:
		return &linkv1.SessionFrame{Ready: true}
	case exchange.Stdout:
		return &linkv1.SessionFrame{Stdout: v.Data}
	case exchange.Stderr:
		return &linkv1.SessionFrame{Stderr: v.Data}
	case exchange.End:
		return &linkv1.SessionFrame{End: true, ExitCode: v.Exit, Class: v.Class, Error: v.Message}
	case exchange.Stdin, exchange.StdinClosed, exchange.Resize: // do not flow up
	}
	return &linkv1.SessionFrame{}
}

// frameFrom reads what flows down; ok is false for what is of a newer version.
func frameFrom(m *linkv1.SessionFrame) (v exchange.Frame, ok bool) {
	switch {
	case len(m.GetStdin()) > 0:
		return exchange.Frame{Kind: exchange.Stdin, Data: m.GetStdin()}, true
	case m.GetStdinClosed():
		return exchange.Frame{Kind: exchange.StdinClosed}, true
	case m.GetColumns() > 0 || m.GetRows() > 0:
		return exchange.Frame{Kind: exchange.Resize, Columns: m.GetColumns(), Rows: m.GetRows()}, true
	}
	return exchange.Frame{}, false
}
