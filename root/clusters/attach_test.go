package clusters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	exchange "oakestra/pkg/session"
	"oakestra/root/control"
)

// can says hello as a cluster that can serve sessions, and goes on to beat.
func (p *caller) can(name string, abilities ...string) *caller {
	p.say(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: &linkv1.Hello{ClusterName: name, Abilities: abilities}}})
	go func() {
		for seq := uint64(1); p.stream.Context().Err() == nil; seq++ {
			if p.stream.Send(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: seq}}}) != nil {
				return
			}
			select {
			case <-time.After(heartbeat):
			case <-p.stream.Context().Done():
			}
		}
	}()
	return p
}

// attach waits for the order to attach.
func (p *caller) attach() *linkv1.Attach {
	p.t.Helper()
	synctest.Wait()
	for _, m := range p.heard() {
		if a := m.GetAttach(); a != nil {
			return a
		}
	}
	p.t.Fatal("nothing to attach to")
	return nil
}

// opens dials a session stream and names an id.
func (r *rig) opens(id string) (linkv1.Link_SessionClient, context.CancelFunc) {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///root", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.wire.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(func() { cancel(); _ = conn.Close() })
	s, err := linkv1.NewLinkClient(conn).Session(ctx)
	if err == nil {
		err = s.Send(&linkv1.SessionFrame{SessionId: id})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s, cancel
}

// asks attaches as the API does.
type asks struct {
	conn exchange.Conn
	err  error
	done chan struct{}
	end  context.CancelFunc
}

func (r *rig) asks(a control.Ask) *asks {
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(cancel)
	out := &asks{done: make(chan struct{}), end: cancel}
	go func() {
		defer close(out.done)
		out.conn, out.err = r.server.Attach(ctx, "kitchen", model.InstanceID{Service: "s1", Number: 2}, a)
	}()
	return out
}

// session is one that is open.
func (r *rig) session(p *caller, a control.Ask) (*asks, linkv1.Link_SessionClient, context.CancelFunc) {
	r.t.Helper()
	u := r.asks(a)
	s, cut := r.opens(p.attach().GetSessionId())
	if err := s.Send(&linkv1.SessionFrame{Ready: true}); err != nil {
		r.t.Fatal(err)
	}
	<-u.done
	if u.err != nil {
		r.t.Fatal(u.err)
	}
	return u, s, cut
}

func TestASessionOverTheLink(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).can("kitchen", "logs", "exec")
		ask := control.Ask{Kind: control.Exec, Command: []string{"sh", "-c", "x"}, Stdin: true, TTY: true, Columns: 80, Rows: 24}
		u := r.asks(ask)
		a := p.attach()
		if a.GetKind() != "exec" || a.GetServiceId() != "s1" || a.GetNumber() != 2 || len(a.GetCommand()) != 3 || !a.GetStdin() || !a.GetTty() || a.GetColumns() != 80 || len(a.GetSessionId()) != 32 {
			t.Errorf("asked %v", a)
		}
		s, _ := r.opens(a.GetSessionId())
		synctest.Wait()
		second, _ := r.opens(a.GetSessionId())
		if _, err := second.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("the id was used twice: %v", err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(s.Send(&linkv1.SessionFrame{Ready: true}))
		<-u.done
		must(u.err)
		for _, f := range []exchange.Frame{{Kind: exchange.Stdin, Data: []byte("a")}, {Kind: exchange.Resize, Columns: 100, Rows: 30}, {Kind: exchange.StdinClosed}} {
			must(u.conn.Send(t.Context(), f))
		}
		for i, want := range []string{`stdin:"a"`, "columns:100 rows:30", "stdin_closed:true"} {
			m, err := s.Recv()
			if must(err); strings.Join(strings.Fields(m.String()), " ") != want {
				t.Errorf("frame %d is %s, want %s", i, m, want)
			}
		}
		must(s.Send(&linkv1.SessionFrame{Stdout: []byte("b")}))
		must(s.Send(&linkv1.SessionFrame{Stderr: []byte("c")}))
		must(s.Send(&linkv1.SessionFrame{End: true, ExitCode: 3}))
		for _, want := range []exchange.Frame{{Kind: exchange.Stdout, Data: []byte("b")}, {Kind: exchange.Stderr, Data: []byte("c")}, {Kind: exchange.End, Exit: 3}} {
			if got, err := u.conn.Recv(t.Context()); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%+v %v, want %+v", got, err, want)
			}
		}
		u.end()
		synctest.Wait()
		if _, err := s.Recv(); err == nil || status.Code(err) == codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
		if d := r.server.dialogs; d.all != 0 || len(d.open) != 0 || len(d.waiting) != 0 {
			t.Errorf("still counted: %+v", d)
		}
	})
}

func TestASessionThatCannotBegin(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		fails := func(u *asks, class error, words string) {
			t.Helper()
			<-u.done
			if !errors.Is(u.err, class) || !strings.Contains(u.err.Error(), words) {
				t.Errorf("%v, want %q", u.err, words)
			}
		}
		fails(r.asks(control.Ask{Kind: control.Logs}), errs.Unavailable, "not connected")
		p := r.dial(false).can("kitchen", "explain", "logs")
		fails(r.asks(control.Ask{Kind: control.Exec}), errs.Conflict, "cannot serve exec: upgrade")
		began := time.Now()
		fails(r.asks(control.Ask{Kind: control.Logs}), errs.Unavailable, "cluster kitchen did not open the session within 10s")
		if took := time.Since(began); took != openWithin {
			t.Errorf("after %s", took)
		}
		late, _ := r.opens(p.attach().GetSessionId())
		if _, err := late.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("too late: %v", err)
		}
		u := r.asks(control.Ask{Kind: control.Logs})
		_, _ = r.opens(p.attach().GetSessionId())
		fails(u, errs.Unavailable, "the worker did not answer within 15s")
		u = r.asks(control.Ask{Kind: control.Logs})
		s, _ := r.opens(p.attach().GetSessionId())
		if err := s.Send(&linkv1.SessionFrame{End: true, Class: "conflict", Error: "worker w1 is an original agent"}); err != nil {
			t.Fatal(err)
		}
		fails(u, errs.Conflict, "worker w1 is an original agent")
		u = r.asks(control.Ask{Kind: control.Logs})
		_, cut := r.opens(p.attach().GetSessionId())
		cut()
		fails(u, errs.Unavailable, "kitchen")
		nobody, _ := r.opens("")
		if _, err := nobody.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("without an id: %v", err)
		}
	})
}

func TestASessionEndsWithItsCluster(t *testing.T) {
	for name, end := range map[string]func(p *caller, cut func()){
		"broke off":              func(_ *caller, cut func()) { cut() },
		"not connected any more": func(p *caller, _ func()) { p.cancel() },
	} {
		bubble(t, func(t *testing.T, r *rig) {
			p := r.dial(false).can("kitchen", "logs")
			u, s, cut := r.session(p, control.Ask{Kind: control.Logs, Follow: true})
			if err := s.Send(&linkv1.SessionFrame{Stdout: []byte("last")}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			end(p, cut)
			f, err := u.conn.Recv(t.Context())
			if f.Kind == exchange.Stdout { // what had come is not lost
				f, err = u.conn.Recv(t.Context())
			}
			if err != nil || f.Kind != exchange.End || !strings.Contains(f.Message, "cluster kitchen") || !strings.Contains(f.Message, name) {
				t.Errorf("%+v %v", f, err)
			}
		})
	}
}

// One who reads nothing holds the one who writes, and the control stream goes on.
func TestAReaderThatStopsHoldsTheWriter(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).can("kitchen", "logs")
		_, s, _ := r.session(p, control.Ask{Kind: control.Logs, Follow: true})
		sent := make(chan int, 1<<16)
		go func() {
			for s.Send(&linkv1.SessionFrame{Stdout: make([]byte, exchange.Chunk)}) == nil {
				sent <- exchange.Chunk
			}
		}()
		synctest.Wait()
		if n := len(sent) * exchange.Chunk; n == 0 || n > 2*window {
			t.Errorf("%d bytes are on the way", n)
		}
		before := len(sent)
		time.Sleep(time.Minute)
		if len(sent) != before || p.why() != nil || !r.book.Active("kitchen") {
			t.Errorf("%d frames, then %d; the control stream: %v", before, len(sent), p.why())
		}
	})
}

// A cluster that knows it is told on the control stream that a session is over.
func TestTheEndOfASessionIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).can("kitchen", "exec", linkv1.KindOver)
		u := r.asks(control.Ask{Kind: control.Exec, Command: []string{"sh"}})
		id := p.attach().GetSessionId()
		s, _ := r.opens(id)
		if err := s.Send(&linkv1.SessionFrame{Ready: true}); err != nil {
			t.Fatal(err)
		}
		if <-u.done; u.err != nil {
			t.Fatal(u.err)
		}
		u.end()
		if a := p.attach(); a.GetKind() != linkv1.KindOver || a.GetSessionId() != id {
			t.Errorf("told %v", a)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).can("kitchen", "logs", "exec")
		var all []*asks
		for range mostOfCluster - keptForExec {
			u, _, _ := r.session(p, control.Ask{Kind: control.Logs})
			all = append(all, u)
		}
		full := r.asks(control.Ask{Kind: control.Logs})
		if <-full.done; !errors.Is(full.err, errs.Unavailable) || !strings.Contains(full.err.Error(), "sends 48 logs") {
			t.Error(full.err)
		}
		for range keptForExec { // which logs cannot take
			_, _, _ = r.session(p, control.Ask{Kind: control.Exec, Command: []string{"x"}})
		}
		u := r.asks(control.Ask{Kind: control.Logs})
		if <-u.done; !errors.Is(u.err, errs.Unavailable) || !strings.Contains(u.err.Error(), "64") {
			t.Error(u.err)
		}
		all[0].end()
		synctest.Wait()
		_, _, _ = r.session(p, control.Ask{Kind: control.Logs})
	})
	d := newDialogs()
	for i := range mostOfRoot {
		kind := control.Logs
		if i < keptForExec {
			kind = control.Exec
		}
		if _, err := d.enter(model.ClusterID(fmt.Sprint(i%8)), "x", kind); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.enter("new", "x", control.Exec); !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "the root serves 256") {
		t.Error(err)
	}
	d = newDialogs()
	var leave func()
	for i := range mostOfRoot - keptForExec {
		var err error
		if leave, err = d.enter(model.ClusterID(fmt.Sprint(i%8)), "x", control.Logs); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.enter("new", "x", control.Logs); !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "the root sends 240 logs") {
		t.Error(err)
	}
	leave()
	if _, err := d.enter("new", "x", control.Logs); err != nil {
		t.Error(err)
	}
}
