package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, dir, name, script string) Child {
	t.Helper()
	return Child{Name: name, Path: "/bin/sh", Args: []string{"-c", script},
		Log: filepath.Join(dir, name+".log"), Pid: filepath.Join(dir, name+".pid")}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("did not happen within 10 s: %s", what)
}

func read(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}

func run(t *testing.T, opts Options, children ...Child) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, slog.New(slog.DiscardHandler), children, opts) }()
	return func() error { cancel(); return <-done }
}

func TestAChildThatEndsIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	stop := run(t, Options{MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond}, shell(t, dir, "flaky", "echo once; exit 3"))
	waitFor(t, "three starts", func() bool { return strings.Count(read(filepath.Join(dir, "flaky.log")), "once") >= 3 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestStoppingIsInReverseOrderAndLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	order := filepath.Join(dir, "order")
	script := func(n string) string {
		return "trap 'echo " + n + " >>" + order + "; exit 0' TERM; echo up; while :; do sleep 0.05; done"
	}
	stop := run(t, Options{}, shell(t, dir, "a", script("a")), shell(t, dir, "b", script("b")))
	waitFor(t, "both up", func() bool {
		return read(filepath.Join(dir, "a.log")) != "" && read(filepath.Join(dir, "b.log")) != ""
	})
	a, err := Load(filepath.Join(dir, "a.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := read(order); got != "b\na\n" {
		t.Errorf("order of stopping = %q, want b then a", got)
	}
	if a.Alive() {
		t.Error("child a still runs")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file is left: %v", err)
	}
}

func TestAChildThatIgnoresTermIsKilled(t *testing.T) {
	dir := t.TempDir()
	stop := run(t, Options{Grace: 50 * time.Millisecond}, shell(t, dir, "deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
	var p Process
	waitFor(t, "up", func() bool {
		var err error
		p, err = Load(filepath.Join(dir, "deaf.pid")) // written after the child was started
		return err == nil && read(filepath.Join(dir, "deaf.log")) != ""
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("child survived")
	}
}

func TestAMissingProgramIsAnErrorAtOnce(t *testing.T) {
	dir := t.TempDir()
	c := Child{Name: "ghost", Path: filepath.Join(dir, "nothing"), Log: filepath.Join(dir, "l")}
	err := Run(context.Background(), slog.New(slog.DiscardHandler), []Child{c}, Options{})
	if err == nil || !strings.Contains(err.Error(), "ghost") {
		t.Fatalf("error = %v, want one that names the child", err)
	}
}

// What a start needs goes away while the site runs, and comes back: the child
// is tried again, and no other child notices.
func TestALaterStartThatFailsIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ file string }{
		"the program is being replaced":      {"program"},
		"the pid file cannot be written":     {"pids"},
		"the directory of the log is a file": {"logs"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(n string) string { return filepath.Join(dir, n) }
			program := []byte("#!/bin/sh\necho up >>" + at("starts") + "\nwhile [ ! -e " + at("end") + " ]; do sleep 0.02; done\n")
			for _, d := range []string{"program", "pids", "logs"} {
				if err := os.Mkdir(at(d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(at("program/x"), program, 0o755); err != nil {
				t.Fatal(err)
			}
			var said lines
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			children := []Child{shell(t, dir, "other", "exec sleep 60"), {Name: "x", Path: at("program/x"), Log: at("logs/x.log"), Pid: at("pids/x.pid")}}
			go func() {
				done <- Run(ctx, slog.New(slog.NewTextHandler(&said, nil)), children, Options{MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond})
			}()
			waitFor(t, "up", func() bool {
				return read(at("starts")) == "up\n" && read(at("other.pid")) != "" && read(at("pids/x.pid")) != ""
			})
			other := read(at("other.pid"))
			// What is no directory fails for root, too; permissions do not.
			if err := errors.Join(os.Rename(at(c.file), at("away")), os.WriteFile(at(c.file), nil, 0o644), os.WriteFile(at("end"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "two failures are said", func() bool {
				return strings.Count(said.String(), "not started, will be tried again") >= 2 || len(done) > 0
			})
			if err := errors.Join(os.Remove(at("end")), os.Remove(at(c.file)), os.Rename(at("away"), at(c.file))); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "up again", func() bool {
				p, err := Load(at("pids/x.pid"))
				return len(done) > 0 || err == nil && p.Alive() && strings.Count(read(at("starts")), "up") >= 2
			})
			if read(at("other.pid")) != other {
				t.Error("the other child was stopped")
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// lines is what a logger said, safe to read meanwhile.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestAPidFileOfAnEarlierProcessWithTheSamePidIsNotBelieved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	self, err := Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Save(file); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(file); err != nil || got != self {
		t.Fatalf("Load = %v, %v; want %v", got, err, self)
	}
	self.Start++
	if err := self.Save(file); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error = %v, want not exist", err)
	}
	if err := self.Stop(time.Second); err != nil { // must not signal this process
		t.Fatal(err)
	}
}

func TestALogThatGrewTooLongIsSetAside(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "x.log")
	if err := os.WriteFile(log, []byte(strings.Repeat("x", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := run(t, Options{LogLimit: 50}, shell(t, dir, "x", "echo new; exec sleep 60"))
	waitFor(t, "new log", func() bool { return read(log) == "new\n" })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(read(log+".1")) != 100 {
		t.Error("the old log is lost")
	}
}
