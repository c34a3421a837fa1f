package rootlink

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/store"
	"oakestra/pkg/testkit"
)

// welcomer is a root that welcomes whoever comes and answers heartbeats.
type welcomer struct {
	linkv1.UnimplementedLinkServer
	welcomed atomic.Int32
}

func (w *welcomer) Control(s grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	w.welcomed.Add(1)
	err := s.Send(&linkv1.Down{Body: &linkv1.Down_Welcome{Welcome: &linkv1.Welcome{ClusterId: "c1"}}})
	for err == nil {
		var m *linkv1.Up
		if m, err = s.Recv(); m.GetHeartbeat() != nil {
			err = s.Send(&linkv1.Down{Body: &linkv1.Down_Heartbeat{Heartbeat: &linkv1.Heartbeat{Echo: true}}})
		}
	}
	return err
}

// hole is a connection that a cut has left behind: what is written to it goes
// nowhere, nothing comes, and nobody says so.
type hole struct {
	net.Conn
	dead   *atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (h *hole) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if h.dead.Load() {
		<-h.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (h *hole) Write(b []byte) (int, error) {
	if h.dead.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func (h *hole) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}

type emptyBook struct{ store.Store }

func (emptyBook) Load(context.Context) (store.State, error)          { return store.State{}, nil }
func (emptyBook) SaveIdentity(context.Context, store.Identity) error { return nil }

type noWorkers struct{ Fleet }

func (noWorkers) Snapshot(context.Context) (fleet.Snapshot, error) { return fleet.Snapshot{}, nil }
func (noWorkers) Holdings(context.Context) (fleet.Holdings, error) { return fleet.Holdings{}, nil }

// TestACutConnectionIsGivenUp: one that a cut has left behind must not be used
// for the streams that follow.
func TestACutConnectionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, server, root := bufconn.Listen(1<<20), grpc.NewServer(), &welcomer{}
		linkv1.RegisterLinkServer(server, root)
		go func() { _ = server.Serve(wire) }()
		defer server.Stop()

		l := New(Config{Root: "192.0.2.1", Name: "c"}, testkit.Logger(t))
		var cut []*atomic.Bool
		var mu sync.Mutex
		l.dial = func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := wire.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			cut = append(cut, &atomic.Bool{})
			return &hole{Conn: c, dead: cut[len(cut)-1], closed: make(chan struct{})}, nil
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx, emptyBook{}, noWorkers{}, nil) }()
		time.Sleep(time.Second)
		if !l.Connected() {
			t.Fatal("never connected")
		}
		mu.Lock()
		cut[0].Store(true)
		mu.Unlock()
		time.Sleep(30 * time.Second)
		if !l.Connected() || root.welcomed.Load() != 2 {
			t.Errorf("30 s after the cut: connected %v, welcomed %d times", l.Connected(), root.welcomed.Load())
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		server.Stop()
		time.Sleep(2 * time.Minute) // timers of grpc end
	})
}
