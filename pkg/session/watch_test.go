package session

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/pkg/testkit"
)

// pair opens a session over what listener and dial connect.
func pair(t *testing.T, l net.Listener, dial func(ctx context.Context, network, address string) (net.Conn, error)) (asking, serving *Socket) {
	t.Helper()
	accepted := make(chan *Socket, 1)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	asking, err := Dial(t.Context(), "ws://"+l.Addr().String(), nil, &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}})
	if err != nil {
		t.Fatal(err)
	}
	serving = <-accepted
	t.Cleanup(func() { asking.Close(); serving.Close() })
	return asking, serving
}

// overTCP opens a session through the kernel.
func overTCP(t *testing.T) (asking, serving *Socket) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, l, (&net.Dialer{}).DialContext)
}

// pipes is a listener without a kernel.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.over); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func overPipe(t *testing.T) (asking, serving *Socket) {
	t.Helper()
	p := pipes{make(chan net.Conn, 1), make(chan struct{})}
	return pair(t, p, func(context.Context, string, string) (net.Conn, error) {
		mine, its := net.Pipe()
		p.conns <- its
		return mine, nil
	})
}

// jam sends until the other side's buffers and ours are full.
func jam(t *testing.T, s *Socket) (ended <-chan error) {
	t.Helper()
	sent, done := make(chan int, 1<<16), make(chan error, 1)
	go func() {
		for {
			if err := s.Send(context.Background(), Frame{Kind: Stdin, Data: make([]byte, Chunk)}); err != nil {
				done <- err
				return
			}
			sent <- 1
		}
	}()
	before := -1
	testkit.Eventually(t, 20*time.Second, func() error {
		_, room := s.look()
		n := len(sent)
		if n == 0 || n != before || room || s.sending.Load() == 0 {
			before = n
			return errors.New("it still takes something")
		}
		return nil
	})
	return done
}

// One that takes nothing for long, however often it pings, and then everything
// loses nothing.
func TestOneWhoIsSlowIsNotBrokenOff(t *testing.T) {
	for name, pings := range map[string]func(asking, serving *Socket) *Socket{
		"who takes nothing pings": func(_, serving *Socket) *Socket { return serving },
		"who sends pings":         func(asking, _ *Socket) *Socket { return asking },
	} {
		synctest.Test(t, func(t *testing.T) {
			asking, serving := overPipe(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go pings(asking, serving).Watch(ctx, func() { t.Errorf("%s: the other side is taken for gone", name) })
			listened := make(chan error, 1)
			go func() { // as every part of the way does
				_, err := asking.Recv(ctx)
				listened <- err
			}()
			const frames = 20
			sent := make(chan error, 1)
			go func() {
				for range frames {
					if err := asking.Send(ctx, Frame{Kind: Stdin, Data: make([]byte, Chunk)}); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			time.Sleep(Stall - 10*time.Second)
			for i := range frames {
				if f, err := serving.Recv(ctx); err != nil || len(f.Data) != Chunk {
					t.Fatalf("%s: frame %d: %d bytes, %v", name, i, len(f.Data), err)
				}
			}
			if err := <-sent; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := serving.Send(ctx, Frame{Kind: End}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := <-listened; err != nil {
				t.Errorf("%s: who sent heard: %v", name, err)
			}
		})
	}
}

// A session whose data nobody takes ends when who sends it is gone: the close
// stands behind data that is never read.
func TestOneWhoIsGoneIsNoticedBehindWhatIsNotRead(t *testing.T) {
	asking, serving := overTCP(t)
	ended := jam(t, asking)
	gone := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go serving.Watch(ctx, func() { close(gone) })
	asking.Close()
	select {
	case <-gone:
	case <-time.After(12 * time.Second):
		t.Error("nobody has noticed")
	}
	if err := <-ended; err == nil {
		t.Error("all of it was sent")
	}
}

// The line below is found through what lies over it, TLS too.
func TestALineIsKnown(t *testing.T) {
	asking, serving := overTCP(t)
	for _, s := range []*Socket{asking, serving} {
		if closed, room := s.look(); closed || !room {
			t.Errorf("closed %v, room %v", closed, room)
		}
		if _, ok := s.line.(*net.TCPConn); !ok {
			t.Errorf("the line is a %T", s.line)
		}
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		if _, ok := s.line.(*net.TCPConn); !ok {
			t.Errorf("the line is a %T", s.line)
		}
		s.Finish()
	}))
	defer server.Close()
	s, err := Dial(t.Context(), "wss"+strings.TrimPrefix(server.URL, "https"), nil, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, ok := s.line.(*net.TCPConn); !ok {
		t.Errorf("the line is a %T", s.line)
	}
	if _, err := s.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// Who has finished is done when the other side is slow; what was sent arrives.
func TestAFinishedSessionLosesNothing(t *testing.T) {
	asking, serving := overTCP(t)
	const frames = 8
	for range frames {
		if err := serving.Send(t.Context(), Frame{Kind: Stdout, Data: make([]byte, Chunk)}); err != nil {
			t.Fatal(err)
		}
	}
	serving.linger(-1)
	serving.Close() // as Finish does when no answer comes
	for i := range frames {
		if f, err := asking.Recv(t.Context()); err != nil || len(f.Data) != Chunk {
			t.Fatalf("frame %d: %d bytes, %v", i, len(f.Data), err)
		}
	}
}
