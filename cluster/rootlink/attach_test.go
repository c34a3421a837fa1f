package rootlink

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/sessions"
	exchange "oakestra/pkg/session"
)

// echo answers a session: it is ready, sends back what is typed, and ends with
// the input.
type echo struct {
	mu    sync.Mutex
	asked []sessions.Ask
	gone  int
}

func (e *echo) Serve(ctx context.Context, a sessions.Ask, up exchange.Conn) {
	e.mu.Lock()
	e.asked = append(e.asked, a)
	e.mu.Unlock()
	if up.Send(ctx, exchange.Frame{Kind: exchange.Ready}) != nil {
		return
	}
	for {
		f, err := up.Recv(ctx)
		switch {
		case err != nil:
			e.mu.Lock()
			e.gone++
			e.mu.Unlock()
			return
		case f.Kind == exchange.StdinClosed:
			_ = up.Send(ctx, exchange.Frame{Kind: exchange.End, Exit: 5, Class: "conflict", Message: "over"})
			return
		}
		f.Kind = exchange.Stdout
		if up.Send(ctx, f) != nil {
			return
		}
	}
}

// dialog is a session that a scripted root is in.
type dialog struct {
	stream grpc.BidiStreamingServer[linkv1.SessionFrame, linkv1.SessionFrame]
	first  *linkv1.SessionFrame
	end    chan struct{}
}

func (r *root) Session(s grpc.BidiStreamingServer[linkv1.SessionFrame, linkv1.SessionFrame]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	d := dialog{s, first, make(chan struct{})}
	r.dialogs <- d
	select {
	case <-d.end:
	case <-s.Context().Done():
	}
	return nil
}

func TestASessionHasAStreamOfItsOwn(t *testing.T) {
	e := &echo{}
	bubble(t, func(r *rig) { r.sessions = e; r.root.dialogs = make(chan dialog) }, func(t *testing.T, r *rig) {
		synctest.Wait()
		hello, _, _ := r.root.of(0)
		if got := hello.GetAbilities(); !slices.Equal(got, []string{"explain", "orphans", "parts", "logs", "exec", "over"}) {
			t.Errorf("abilities %q", got)
		}
		attach := &linkv1.Attach{SessionId: "0a", Kind: "exec", ServiceId: "s1", Number: 2, Command: []string{"sh"}, Stdin: true, Tty: true, Columns: 80, Rows: 24, Follow: true, Tail: 3, SinceMs: 4}
		r.link.attach(attach)
		d := <-r.root.dialogs
		if d.first.GetSessionId() != "0a" {
			t.Errorf("first frame %v", d.first)
		}
		hears := func(want string) {
			t.Helper()
			m, err := d.stream.Recv()
			if got := strings.Join(strings.Fields(m.String()), " "); err != nil || got != want {
				t.Fatalf("%s %v, want %s", got, err, want)
			}
		}
		says := func(m *linkv1.SessionFrame) {
			t.Helper()
			if err := d.stream.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		hears("ready:true")
		says(&linkv1.SessionFrame{})                      // of tomorrow
		says(&linkv1.SessionFrame{Columns: 100, Rows: 1}) // echoed without bytes
		hears("")
		says(&linkv1.SessionFrame{Stdin: []byte("a")})
		hears(`stdout:"a"`)
		r.cut() // of the control stream: it goes on
		time.Sleep(5 * time.Second)
		says(&linkv1.SessionFrame{Stdin: []byte("b")})
		hears(`stdout:"b"`)
		says(&linkv1.SessionFrame{StdinClosed: true})
		hears(`end:true exit_code:5 error:"over" class:"conflict"`)
		close(d.end)
		want := sessions.Ask{Kind: "exec", Command: []string{"sh"}, Stdin: true, TTY: true, Columns: 80, Rows: 24, Follow: true, Tail: 3, SinceMS: 4}
		want.Instance.Service, want.Instance.Number = "s1", 2
		if len(e.asked) != 1 || e.asked[0].Kind != want.Kind || e.asked[0].Instance != want.Instance || e.asked[0].Tail != 3 || !e.asked[0].TTY || e.asked[0].Columns != 80 || e.asked[0].SinceMS != 4 {
			t.Errorf("asked %+v", e.asked)
		}

		r.link.attach(attach)
		d = <-r.root.dialogs
		hears("ready:true")
		close(d.end) // the user is gone
		time.Sleep(time.Second)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.gone != 1 {
			t.Errorf("%d sessions have noticed that nobody is there", e.gone)
		}
	})
}

// deaf takes nothing of what is typed.
type deaf struct{ gone chan struct{} }

func (d deaf) Serve(ctx context.Context, _ sessions.Ask, _ exchange.Conn) {
	<-ctx.Done()
	close(d.gone)
}

// That the user is gone is noticed while what was typed fills all the buffers.
func TestOneWhoIsGoneIsNoticedWhileNothingIsRead(t *testing.T) {
	s := deaf{make(chan struct{})}
	bubble(t, func(r *rig) { r.sessions = s; r.root.dialogs = make(chan dialog) }, func(t *testing.T, r *rig) {
		synctest.Wait()
		r.link.attach(&linkv1.Attach{SessionId: "0a", Kind: "exec", Stdin: true})
		d := <-r.root.dialogs
		sent, done := make(chan int, 1<<10), make(chan error, 1)
		go func() {
			for {
				if err := d.stream.Send(&linkv1.SessionFrame{Stdin: make([]byte, exchange.Chunk)}); err != nil {
					done <- err
					return
				}
				sent <- 1
			}
		}()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatal(err, "one that is slow was broken off")
		case <-s.gone:
			t.Fatal("one that is slow was broken off")
		default:
		}
		began := time.Now()
		r.link.attach(&linkv1.Attach{SessionId: "0b", Kind: linkv1.KindOver}) // another one's
		synctest.Wait()
		r.link.attach(&linkv1.Attach{SessionId: "0a", Kind: linkv1.KindOver})
		<-s.gone
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("noticed after %s, %d frames typed", took, len(sent))
		}
		if err := <-done; err == nil {
			t.Error("all of it was sent")
		}
	})
}

func TestMoreSessionsThanThereIsRoomForAreNotOpened(t *testing.T) {
	e := &echo{}
	bubble(t, func(r *rig) { r.sessions = e; r.root.dialogs = make(chan dialog, 2*mostSessions) }, func(t *testing.T, r *rig) {
		for range mostSessions + 3 {
			r.link.attach(&linkv1.Attach{SessionId: "0a", Kind: "logs"})
			synctest.Wait()
		}
		if n := len(r.root.dialogs); n != mostSessions {
			t.Errorf("%d sessions are open", n)
		}
		d := <-r.root.dialogs
		close(d.end)
		time.Sleep(time.Second)
		r.link.attach(&linkv1.Attach{SessionId: "0b", Kind: "logs"})
		synctest.Wait()
		if n := len(r.root.dialogs); n != mostSessions {
			t.Errorf("%d sessions are open, one after another has ended", n)
		}
	})
}

func TestAClusterWithoutSessionsSaysSo(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		if hello, _, _ := r.root.of(0); !slices.Equal(hello.GetAbilities(), []string{"explain", "orphans", "parts"}) {
			t.Errorf("abilities %q", hello.GetAbilities())
		}
	})
}
