package harness

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
)

// phone opens control streams to the root. It stands for gRPC, whose mutexes
// would stop a bubble's clock: messages are encoded, keep their order and are
// never lost but with their stream.
type phone struct{ c *Cluster }

var errBroken = status.Error(codes.Unavailable, "the connection broke")

// Session is not offered here.
func (phone) Session(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[linkv1.SessionFrame, linkv1.SessionFrame], error) {
	return nil, status.Error(codes.Unimplemented, "no sessions")
}

// Control begins a stream, whose other end runs in the root.
func (p phone) Control(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[linkv1.Up, linkv1.Down], error) {
	if err := p.c.cable.syn(ctx); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	r := p.c.w.Root()
	if r == nil {
		return nil, status.Error(codes.Unavailable, errRefused.Error())
	}
	s := &stream{cable: p.c.cable, delay: p.c.delay, near: ctx, up: newLane(), down: newLane()}
	s.far, s.end = context.WithCancel(context.Background())
	s.cable.carry(s)
	go s.pump(s.up)
	go s.pump(s.down)
	go func() { // the root hears that the caller hung up, when it can
		select {
		case <-ctx.Done():
			s.up.put(nil, ctx.Err())
		case <-s.far.Done():
		}
	}()
	r.done.Go(func() {
		err := r.Links.Control(&server{s: s})
		if err == nil {
			err = io.EOF
		}
		s.down.put(nil, err)
		s.cancelFar()
	})
	return &client{s: s}, nil
}

// stream is both ends of a control stream.
type stream struct {
	cable    *cable
	delay    time.Duration
	near     context.Context // the caller's
	far      context.Context // ends with the connection
	end      context.CancelFunc
	up, down *lane
	over     sync.Once
}

// cancelFar ends the root's side a while after its last word was sent.
func (s *stream) cancelFar() {
	s.over.Do(func() {
		time.AfterFunc(time.Minute, func() { s.end(); s.cable.drop(s) })
	})
}

// frame is an encoded message, or how the sender ended.
type frame struct {
	body []byte
	err  error
}

// lane is one direction: a queue without bound, then the cable.
type lane struct {
	mu   sync.Mutex
	list []frame
	bell chan struct{}
	out  chan frame
}

func newLane() *lane { return &lane{bell: make(chan struct{}, 1), out: make(chan frame)} }

func (l *lane) put(m proto.Message, err error) {
	f := frame{err: err}
	if m != nil {
		f.body, f.err = proto.Marshal(m)
	}
	l.mu.Lock()
	l.list = append(l.list, f)
	l.mu.Unlock()
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *lane) take() []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

func (s *stream) pump(l *lane) {
	for {
		select {
		case <-l.bell:
		case <-s.far.Done():
			return
		}
		list := l.take()
		time.Sleep(s.delay)
		for _, f := range list {
			select {
			case <-s.cable.mended():
			case <-s.far.Done():
				return
			}
			select {
			case l.out <- f:
			case <-s.far.Done():
				return
			}
		}
	}
}

func (s *stream) recv(ctx context.Context, l *lane, into proto.Message) error {
	select {
	case f := <-l.out:
		if f.err != nil {
			return f.err
		}
		return proto.Unmarshal(f.body, into)
	case <-s.far.Done():
		return errBroken
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stream) send(l *lane, m proto.Message) error {
	if s.far.Err() != nil {
		return errBroken
	}
	l.put(m, nil)
	return nil
}

// client is the cluster's end.
type client struct {
	grpc.ClientStream
	s *stream
}

func (c *client) Send(m *linkv1.Up) error { return c.s.send(c.s.up, m) }

func (c *client) Recv() (*linkv1.Down, error) {
	m := &linkv1.Down{}
	return m, c.s.recv(c.s.near, c.s.down, m)
}

// server is the root's end.
type server struct {
	grpc.ServerStream
	s *stream
}

func (v *server) Context() context.Context { return v.s.far }

func (v *server) Send(m *linkv1.Down) error { return v.s.send(v.s.down, m) }

func (v *server) Recv() (*linkv1.Up, error) {
	m := &linkv1.Up{}
	return m, v.s.recv(v.s.far, v.s.up, m)
}
