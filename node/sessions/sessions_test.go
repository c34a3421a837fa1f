package sessions

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oakestra/api/mqtt"
	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/pkg/session"
	"oakestra/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is where workers dial.
type cluster struct {
	t       *testing.T
	rt      *fakeruntime.Fake
	s       *Sessions
	dialled chan *session.Socket
	stop    func()
}

const spec = "0123456789abcdef01234567"

// begin serves sessions of a container that has said three lines.
func begin(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, rt: fakeruntime.New(), dialled: make(chan *session.Socket, most+1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, mqtt.SessionPath+"0a") {
			t.Errorf("dialled %s", r.URL.Path)
		}
		sock, err := session.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		c.dialled <- sock
	}))
	s := runtime.Spec{Service: spec, Number: 1, Grant: 3, Try: 2, Command: []string{"sh", "-c", "echo one; echo two; echo three"}}
	if _, err := c.rt.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := c.rt.Start(t.Context(), s.ID()); err != nil {
		t.Fatal(err)
	}
	c.s = New(strings.TrimPrefix(server.URL, "http://"), c.rt, testkit.Logger(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.s.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { c.stop(); server.Close() })
	return c
}

// rings starts a session and hands out the cluster's side.
func (c *cluster) rings(o mqtt.Session) *session.Socket {
	c.t.Helper()
	o.ID, o.ServiceID, o.InstanceNumber, o.Grant, o.Try = "0a"+session.NewID(), spec, 1, 3, 2
	c.s.Ring(o)
	select {
	case sock := <-c.dialled:
		c.t.Cleanup(sock.Close)
		return sock
	case <-time.After(20 * time.Second):
		c.t.Fatal("nobody dials")
	}
	return nil
}

// hears reads to the end: what was said on each output, and the end.
func (c *cluster) hears(sock *session.Socket) (out, stderr string, end session.Frame) {
	c.t.Helper()
	var a, b bytes.Buffer
	for {
		f, err := sock.Recv(c.t.Context())
		if err != nil {
			c.t.Fatalf("after %q: %v", a.String(), err)
		}
		switch f.Kind {
		case session.Stdout:
			a.Write(f.Data)
		case session.Stderr:
			b.Write(f.Data)
		case session.End:
			return a.String(), b.String(), f
		case session.Ready, session.Stdin, session.StdinClosed, session.Resize:
		}
	}
}

func (c *cluster) expect(sock *session.Socket, want session.Frame) {
	c.t.Helper()
	if got, err := sock.Recv(c.t.Context()); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Fatalf("%+v %v, want %+v", got, err, want)
	}
}

func (c *cluster) sends(sock *session.Socket, f session.Frame) {
	c.t.Helper()
	if err := sock.Send(c.t.Context(), f); err != nil {
		c.t.Fatal(err)
	}
}

func id() string { return runtime.Spec{Service: spec, Number: 1, Grant: 3, Try: 2}.ID() }

func TestLogsOfAnAttempt(t *testing.T) {
	c := begin(t)
	if out, _, end := c.hears(c.rings(mqtt.Session{Kind: "logs", Tail: 2})); out != "two\nthree\n" || end.Err() != nil {
		t.Errorf("%q %+v", out, end)
	}
	sock := c.rings(mqtt.Session{Kind: "logs", Follow: true, Tail: 1, SinceMS: 1000})
	c.expect(sock, session.Frame{Kind: session.Ready})
	c.expect(sock, session.Frame{Kind: session.Stdout, Data: []byte("three\n")})
	c.rt.Print(id(), "four\n")
	c.expect(sock, session.Frame{Kind: session.Stdout, Data: []byte("four\n")})
	c.rt.Exit(id(), 1)
	if out, _, end := c.hears(sock); out != "" || end.Err() != nil {
		t.Errorf("%q %+v", out, end)
	}
	if err := c.rt.Remove(t.Context(), id(), true); err != nil {
		t.Fatal(err)
	}
	if _, _, end := c.hears(c.rings(mqtt.Session{Kind: "logs"})); end.Class != "not found" {
		t.Errorf("%+v", end)
	}
}

func TestACommandWithInputAndExitCode(t *testing.T) {
	c := begin(t)
	sock := c.rings(mqtt.Session{Kind: "exec", Command: []string{"sh", "-c", "cat; echo wrong >&2; exit 9"}, Stdin: true})
	c.expect(sock, session.Frame{Kind: session.Ready})
	big := bytes.Repeat([]byte("x"), session.Chunk)
	for range 3 {
		c.sends(sock, session.Frame{Kind: session.Stdin, Data: big})
	}
	c.sends(sock, session.Frame{Kind: session.Stdin})
	c.sends(sock, session.Frame{Kind: session.StdinClosed})
	if out, stderr, end := c.hears(sock); len(out) != 3*session.Chunk || stderr != "wrong\n" || end.Exit != 9 || end.Err() != nil {
		t.Errorf("%d bytes, %q, %+v", len(out), stderr, end)
	}
	sock = c.rings(mqtt.Session{Kind: "exec", Command: []string{"sh", "-c", "read X; stty size"}, Stdin: true, TTY: true, Columns: 80, Rows: 24})
	c.sends(sock, session.Frame{Kind: session.Stdin, Data: []byte("go\n")})
	if out, _, _ := c.hears(sock); out != "24 80\n" {
		t.Errorf("%q", out)
	}
	if _, _, end := c.hears(c.rings(mqtt.Session{Kind: "exec", Command: []string{"nonsense"}})); end.Class != "not found" {
		t.Errorf("%+v", end)
	}
	if _, _, end := c.hears(c.rings(mqtt.Session{Kind: "dance"})); end.Class != "invalid" {
		t.Errorf("%+v", end)
	}
}

// A command is killed when the cluster is gone, and when the agent stops.
func TestACommandEndsWithItsSession(t *testing.T) {
	for _, end := range []func(*cluster, *session.Socket){
		func(_ *cluster, sock *session.Socket) { sock.Close() },
		func(c *cluster, _ *session.Socket) { c.stop(); c.stop = func() {} },
	} {
		c := begin(t)
		sock := c.rings(mqtt.Session{Kind: "exec", Command: []string{"sleep", "1000"}})
		c.expect(sock, session.Frame{Kind: session.Ready})
		end(c, sock)
		// Room is given back once the command has ended.
		testkit.Eventually(t, 20*time.Second, func() error {
			if n := len(c.s.room); n != 0 {
				return fmt.Errorf("%d commands run", n)
			}
			return nil
		})
	}
}

// So is one that does not read what is typed, where the close stands behind it.
func TestACommandThatDoesNotReadEndsWithItsSession(t *testing.T) {
	c := begin(t)
	sock := c.rings(mqtt.Session{Kind: "exec", Command: []string{"sleep", "1000"}, Stdin: true})
	c.expect(sock, session.Frame{Kind: session.Ready})
	sent, done := make(chan int, 1<<16), make(chan error, 1)
	go func() {
		for {
			if err := sock.Send(context.Background(), session.Frame{Kind: session.Stdin, Data: make([]byte, session.Chunk)}); err != nil {
				done <- err
				return
			}
			sent <- 1
		}
	}()
	before := 0
	testkit.Eventually(t, 20*time.Second, func() error {
		n := len(sent)
		if n == 0 || n != before {
			before = n
			return fmt.Errorf("%d frames are taken", n)
		}
		return nil
	})
	sock.Close()
	if err := <-done; err == nil {
		t.Error("all of it was sent")
	}
	testkit.Eventually(t, 12*time.Second, func() error {
		if n := len(c.s.room); n != 0 {
			return fmt.Errorf("%d commands run", n)
		}
		return nil
	})
}

func TestSessionsOfAWorkerAreBounded(t *testing.T) {
	c := begin(t)
	for range mostLogs {
		c.expect(c.rings(mqtt.Session{Kind: "logs", Follow: true, Tail: 1}), session.Frame{Kind: session.Ready})
	}
	if _, _, end := c.hears(c.rings(mqtt.Session{Kind: "logs"})); end.Class != "unavailable" || !strings.Contains(end.Message, "24 logs") {
		t.Errorf("%+v", end)
	}
	var last *session.Socket
	for range most - mostLogs { // what logs leave
		last = c.rings(mqtt.Session{Kind: "exec", Command: []string{"sleep", "1000"}})
		c.expect(last, session.Frame{Kind: session.Ready})
	}
	if _, _, end := c.hears(c.rings(mqtt.Session{Kind: "exec", Command: []string{"sleep", "1000"}})); end.Class != "unavailable" || !strings.Contains(end.Message, "32") {
		t.Errorf("%+v", end)
	}
	last.Close()
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := len(c.s.room); n != most-1 {
			return fmt.Errorf("%d places are taken", n)
		}
		return nil
	})
	c.expect(c.rings(mqtt.Session{Kind: "exec", Command: []string{"sleep", "1000"}}), session.Frame{Kind: session.Ready})
}

// hasty is a console whose commands have written before they are known to run.
type hasty struct{ runtime.Console }

// Exec says Started last.
func (hasty) Exec(_ context.Context, _ string, c runtime.Command) (int, error) {
	if _, err := c.Stderr.Write([]byte("quick")); err != nil {
		return 0, err
	}
	c.Started()
	return 0, nil
}

func TestReadyComesFirst(t *testing.T) {
	c := begin(t)
	c.s.console = hasty{}
	sock := c.rings(mqtt.Session{Kind: "exec", Command: []string{"x"}})
	c.expect(sock, session.Frame{Kind: session.Ready})
	c.expect(sock, session.Frame{Kind: session.Stderr, Data: []byte("quick")})
	if _, _, end := c.hears(sock); end.Err() != nil {
		t.Errorf("%+v", end)
	}
}
