package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// runs starts a container that has said three lines and goes on.
func runs(t *testing.T, factory Factory) (context.Context, Whole, runtime.Spec) {
	t.Helper()
	rt, image := factory(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s := runtime.Spec{Node: "suite", Service: "0123456789abcdef01234567", Number: 2, Grant: 1<<32 + 1, Try: 1,
		JobName: "a.b.c.d", Image: image, Command: []string{"sh", "-c", "echo one; echo two; echo three; exec sleep 1000"}, MemoryMB: 32}
	must(t, rt.Pull(ctx, image, nil))
	_, err := rt.Create(ctx, s)
	must(t, err)
	must(t, rt.Start(ctx, s.ID()))
	t.Cleanup(func() { _ = rt.Remove(context.WithoutCancel(ctx), s.ID(), true) })
	r, err := rt.OpenLog(ctx, s.ID(), runtime.LogQuery{Follow: true})
	must(t, err)
	expect(t, r, "one\ntwo\nthree\n")
	must(t, r.Close())
	return ctx, rt, s
}

// expect reads exactly that.
func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); string(b) != want {
		t.Fatalf("read %q, %v, want %q", b[:n], err, want)
	}
}

func testOutput(t *testing.T, factory Factory) {
	ctx, rt, s := runs(t, factory)
	open := func(q runtime.LogQuery) io.ReadCloser {
		t.Helper()
		r, err := rt.OpenLog(ctx, s.ID(), q)
		must(t, err)
		return r
	}
	for tail, want := range map[int64]string{0: "one\ntwo\nthree\n", 1: "three\n", 2: "two\nthree\n", 9: "one\ntwo\nthree\n"} {
		if got, err := io.ReadAll(open(runtime.LogQuery{Tail: tail})); err != nil || string(got) != want {
			t.Errorf("tail %d is %q, %v", tail, got, err)
		}
	}
	follow := open(runtime.LogQuery{Follow: true, Tail: 1})
	expect(t, follow, "three\n")
	run(t, ctx, rt, s, 0, "sh", "-c", "echo four > /proc/1/fd/1")
	expect(t, follow, "four\n")
	cut := open(runtime.LogQuery{Follow: true, Tail: 1})
	expect(t, cut, "four\n")
	time.AfterFunc(10*time.Millisecond, func() { _ = cut.Close() })
	if _, err := cut.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after Close: %v", err)
	}
	must(t, rt.Stop(ctx, s.ID(), 0))
	if rest, err := io.ReadAll(follow); err != nil || len(rest) != 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
	must(t, rt.Remove(ctx, s.ID(), false))
	if got, err := io.ReadAll(open(runtime.LogQuery{Follow: true, Tail: 2})); err != nil || string(got) != "three\nfour\n" {
		t.Errorf("after its end: %q %v", got, err)
	}
	must(t, rt.Remove(ctx, s.ID(), true))
	if _, err := rt.OpenLog(ctx, s.ID(), runtime.LogQuery{}); !errors.Is(err, errs.NotFound) {
		t.Errorf("removed with its output: %v", err)
	}
}

// run runs a command without input.
func run(t *testing.T, ctx context.Context, rt Whole, s runtime.Spec, code int, args ...string) (out, stderr string) {
	t.Helper()
	var a, b bytes.Buffer
	got, err := rt.Exec(ctx, s.ID(), runtime.Command{Args: args, Stdout: &a, Stderr: &b})
	if err != nil || got != code {
		t.Errorf("%q: exit %d, %v, want %d; %q %q", args, got, err, code, a.String(), b.String())
	}
	return a.String(), b.String()
}

func testCommands(t *testing.T, factory Factory) {
	ctx, rt, s := runs(t, factory)
	if out, stderr := run(t, ctx, rt, s, 3, "sh", "-c", "echo out; echo wrong >&2; exit 3"); out != "out\n" || stderr != "wrong\n" {
		t.Errorf("%q and %q", out, stderr)
	}
	t.Run("input", func(t *testing.T) {
		var out bytes.Buffer
		started := make(chan struct{})
		code, err := rt.Exec(ctx, s.ID(), runtime.Command{Args: []string{"cat"}, Stdin: strings.NewReader("a\nb"), Stdout: &out, Stderr: &out, Started: func() { close(started) }})
		if err != nil || code != 0 || out.String() != "a\nb" {
			t.Errorf("%d %v %q", code, err, out.String())
		}
		<-started
	})
	t.Run("terminal", func(t *testing.T) { testTerminal(t, ctx, rt, s) })
	t.Run("cut off", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := rt.Exec(ctx, s.ID(), runtime.Command{Args: []string{"sleep", "777"}, Stdout: io.Discard, Stderr: io.Discard, Started: cancel})
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(patience):
			t.Error("the command runs on")
		}
	})
	for _, c := range []struct {
		id    string
		args  []string
		class error
	}{{s.ID(), []string{"nonsense"}, errs.NotFound}, {s.ID(), nil, errs.Invalid}, {s.ID() + "0", []string{"echo"}, errs.NotFound}} {
		if code, err := rt.Exec(ctx, c.id, runtime.Command{Args: c.args, Stdout: io.Discard, Stderr: io.Discard}); !errors.Is(err, c.class) {
			t.Errorf("%q: %d %v", c.args, code, err)
		}
	}
	must(t, rt.Stop(ctx, s.ID(), 0))
	if code, err := rt.Exec(ctx, s.ID(), runtime.Command{Args: []string{"echo"}, Stdout: io.Discard, Stderr: io.Discard}); !errors.Is(err, errs.Conflict) {
		t.Errorf("in one that has ended: %d %v", code, err)
	}
}

// testTerminal has a size, and another one later.
func testTerminal(t *testing.T, ctx context.Context, rt Whole, s runtime.Spec) {
	in, keys := io.Pipe()
	defer func() { _ = in.Close() }()
	var out screen
	resize := make(chan runtime.Size)
	go func() {
		resize <- runtime.Size{Columns: 90, Rows: 20}
		resize <- runtime.Size{Columns: 100, Rows: 30} // taken once the one before is done
		resize <- runtime.Size{Columns: 100, Rows: 30}
		_, _ = keys.Write([]byte("go\n"))
	}()
	// A terminal is made with a size in newer versions of runc only.
	code, err := rt.Exec(ctx, s.ID(), runtime.Command{Args: []string{"sh", "-c", "read X; stty size; exit 5"}, TTY: true, Size: runtime.Size{Columns: 80, Rows: 24},
		Resize: resize, Stdin: in, Stdout: &out})
	if err != nil || code != 5 || !strings.Contains(out.String(), "30 100") {
		t.Errorf("%d %v %q", code, err, out.String())
	}
}

type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to it.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

// String is all of it.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
