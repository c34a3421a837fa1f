package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
