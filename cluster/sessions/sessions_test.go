package sessions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
	"oakestra/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a cluster with one worker, in virtual time.
type site struct {
	t     *testing.T
	s     *Sessions
	http  *http.Client
	mu    sync.Mutex
	seat  fleet.Seat
	none  error
	lost  bool
	rings chan nodelink.Session
}

// Send is the bell.
func (s *site) Send(_ context.Context, node model.NodeID, m nodelink.Outbound) error {
	if node != "w1" || m.Session == nil {
		s.t.Errorf("rang %s with %+v", node, m)
	}
	s.rings <- *m.Session
	return nil
}

func (s *site) where(_ context.Context, id model.InstanceID) (fleet.Seat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != slot {
		s.t.Errorf("asked for %s", id)
	}
	return s.seat, s.none
}

func (s *site) liveness(_ context.Context, id model.NodeID) (instance.Liveness, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "w1" && s.lost {
		return instance.Lost, nil
	}
	return instance.Alive, nil
}

var slot = model.InstanceID{Service: "s1", Number: 2}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func bubble(t *testing.T, f func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, rings: make(chan nodelink.Session, 8)}
		s.seat = fleet.Seat{Attempt: instance.Attempt{Instance: slot, Epoch: instance.Epoch{Grant: 4, Try: 1}}, Node: "w1", Version: "1.0", Live: instance.Alive,
			Abilities: []string{"logs", "exec"}, State: instance.Running, LogTail: "a\nb\nc\n"}
		s.s = New(Fleet{Seat: s.where, Liveness: s.liveness}, s, testkit.Logger(t))
		wire := &pipes{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: s.s}
		done := make(chan error, 1)
		go func() { done <- server.Serve(wire) }()
		s.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			mine, its := net.Pipe()
			wire.conns <- its
			return mine, nil
		}}}
		f(t, s)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if len(s.s.waiting) != 0 {
			t.Errorf("still waiting: %v", s.s.waiting)
		}
	})
}

// user is the side of the root.
type user struct {
	in   chan session.Frame
	out  chan session.Frame
	done chan struct{}
	end  context.CancelFunc
}

func (u *user) Send(ctx context.Context, f session.Frame) error {
	f.Data = append([]byte(nil), f.Data...)
	select {
	case u.out <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *user) Recv(ctx context.Context) (session.Frame, error) {
	select {
	case f, ok := <-u.in:
		if !ok {
			return f, io.EOF
		}
		return f, nil
	case <-ctx.Done():
		return session.Frame{}, ctx.Err()
	}
}

func (s *site) asks(a Ask) *user {
	ctx, cancel := context.WithCancel(context.Background())
	u := &user{make(chan session.Frame), make(chan session.Frame, 64), make(chan struct{}), cancel}
	a.Instance = slot
	go func() {
		defer close(u.done)
		s.s.Serve(ctx, a, u)
	}()
	s.t.Cleanup(cancel)
	return u
}

// ended waits for the end of a session and returns its last frame.
func (u *user) ended(t *testing.T) (before []session.Frame, last session.Frame) {
	t.Helper()
	<-u.done
	u.end()
	close(u.out)
	for f := range u.out {
		before = append(before, f)
	}
	if len(before) == 0 {
		t.Fatal("no end")
	}
	return before[:len(before)-1], before[len(before)-1]
}

func (s *site) dials(id string) (*session.Socket, error) {
	return session.Dial(s.t.Context(), "ws://cluster/session/"+id, nil, s.http)
}

func TestASessionBetweenRootAndWorker(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		ask := Ask{Kind: "exec", Command: []string{"sh"}, Stdin: true, TTY: true, Columns: 80, Rows: 24}
		u := s.asks(ask)
		ring := <-s.rings
		id := ring.ID
		ring.ID = ""
		want := nodelink.Session{Kind: "exec", Attempt: s.seat.Attempt, Command: []string{"sh"}, Stdin: true, TTY: true, Columns: 80, Rows: 24}
		if d := cmp.Diff(want, ring); d != "" || len(id) != 32 {
			t.Errorf("id %q; want - got +\n%s", id, d)
		}
		worker, err := s.dials(id)
		if err != nil {
			t.Fatal(err)
		}
		defer worker.Close()
		var refused *session.Refused
		if _, err := s.dials(id); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
			t.Errorf("the id was used twice: %v", err)
		}
		u.in <- session.Frame{Kind: session.Stdin, Data: []byte("x")}
		if f, err := worker.Recv(t.Context()); err != nil || string(f.Data) != "x" {
			t.Fatal(f, err)
		}
		for _, f := range []session.Frame{{Kind: session.Ready}, {Kind: session.Stdout, Data: []byte("y")}, {Kind: session.End, Exit: 3}} {
			if err := worker.Send(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		before, last := u.ended(t)
		if len(before) != 2 || before[0].Kind != session.Ready || string(before[1].Data) != "y" || last.Exit != 3 || last.Err() != nil {
			t.Errorf("%+v, %+v", before, last)
		}
	})
}

func TestASessionThatNoWorkerServes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fleet.Seat)
		none   error
		kind   string
		class  error
	}{
		"is not in this cluster":                     {none: fmt.Errorf("instance s1/2 is not in this cluster: %w", errs.NotFound), class: errs.NotFound},
		"on no worker yet":                           {change: func(s *fleet.Seat) { s.Node = "" }, class: errs.Conflict},
		"is still being created":                     {change: func(s *fleet.Seat) { s.State = instance.Creating }, class: errs.Conflict},
		"worker w1 is lost":                          {change: func(s *fleet.Seat) { s.Live = instance.Lost }, class: errs.Unavailable},
		"NodeEngine 1.0, which cannot serve logs":    {change: func(s *fleet.Seat) { s.Abilities = nil }, class: errs.Conflict},
		"instance 2 has ended: dead, exit code 137":  {change: func(s *fleet.Seat) { s.State, s.Reason = instance.Dead, "exit code 137" }, kind: "exec", class: errs.Conflict},
		"instance 2 has ended: completed":            {change: func(s *fleet.Seat) { s.State = instance.Completed }, kind: "exec", class: errs.Conflict},
		"did not open the session within 10s":        {class: errs.Unavailable},
		"original agent, which cannot run commands":  {change: func(s *fleet.Seat) { s.Original = true }, kind: "exec", class: errs.Conflict},
		"original agent: of its logs only the last ": {change: func(s *fleet.Seat) { s.Original = true }, kind: "follow", class: errs.Conflict},
	} {
		bubble(t, func(t *testing.T, s *site) {
			if s.none = c.none; c.change != nil {
				c.change(&s.seat)
			}
			a := Ask{Kind: "logs"}
			if c.kind == "exec" {
				a.Kind = c.kind
			}
			a.Follow = c.kind == "follow"
			before, last := s.asks(a).ended(t)
			if err := last.Err(); !errors.Is(err, c.class) || !strings.Contains(fmt.Sprint(err), name) || len(before) != 0 {
				t.Errorf("%s: %v after %+v", name, err, before)
			}
		})
	}
}

func TestAnOriginalAgentHasItsTail(t *testing.T) {
	for tail, want := range map[int64]string{0: "a\nb\nc\n", 2: "b\nc", 9: "a\nb\nc\n"} {
		bubble(t, func(t *testing.T, s *site) {
			s.seat.Original, s.seat.Abilities = true, nil
			before, last := s.asks(Ask{Kind: "logs", Tail: tail}).ended(t)
			if len(before) != 2 || before[0].Kind != session.Ready || string(before[1].Data) != want || last.Err() != nil {
				t.Errorf("tail %d: %+v %+v", tail, before, last)
			}
		})
	}
}

func TestASessionEndsWithEitherSide(t *testing.T) {
	for name, end := range map[string]func(s *site, u *user, worker *session.Socket){
		"worker w1 has broken the session off": func(_ *site, _ *user, worker *session.Socket) { worker.Close() },
		"worker w1 is lost": func(s *site, _ *user, _ *session.Socket) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lost, s.seat.Node = true, "w2" // the instance is replaced at once
		},
		"": func(_ *site, u *user, _ *session.Socket) { close(u.in) },
	} {
		bubble(t, func(t *testing.T, s *site) {
			u := s.asks(Ask{Kind: "logs", Follow: true})
			worker, err := s.dials((<-s.rings).ID)
			if err != nil {
				t.Fatal(err)
			}
			defer worker.Close()
			if err := worker.Send(t.Context(), session.Frame{Kind: session.Ready}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // nothing happens, and nothing ends
			synctest.Wait()
			select {
			case <-u.done:
				t.Error("it ended by itself")
			default:
			}
			end(s, u, worker)
			_, last := u.ended(t)
			if name != "" && (last.Kind != session.End || !strings.Contains(last.Message, name)) {
				t.Errorf("%q: %+v", name, last)
			}
			if name == "" {
				if f, err := worker.Recv(t.Context()); err == nil {
					t.Errorf("the worker heard %+v", f)
				}
			}
		})
	}
}

func TestNobodyElseCanDial(t *testing.T) {
	s := New(Fleet{}, nil, nil)
	for _, path := range []string{"/session/", "/session/0123", "/session/../x"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "nobody waits") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
