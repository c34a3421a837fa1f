package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program is what to run on a host.
type Program struct {
	Name string // of the log file; default: base name of Path
	Path string
	Args []string
	Env  []string
}

// Process is a program that runs on a host until Stop, Kill or the end of the
// test. A process that ends by itself is reported as a failure of the test.
type Process struct {
	Program
	host *Host
	t    testing.TB

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
	wanted  bool // we asked it to end
	logPath string
}

// Start runs the program.
func (h *Host) Start(t testing.TB, p Program) *Process {
	t.Helper()
	if p.Name == "" {
		p.Name = filepath.Base(p.Path)
	}
	proc := &Process{Program: p, host: h, t: t, logPath: h.lab.Path("logs", h.Name+"-"+p.Name+".log")}
	proc.Again()
	return proc
}

// Again starts the program anew, with the same arguments; its log goes on.
func (p *Process) Again() {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.logPath), 0o755); err != nil {
		p.t.Fatal(err)
	}
	out, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd := p.host.Command(context.Background(), p.Path, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	// A session of its own, as a service has one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s on %s: %v", p.Name, p.host.Name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.wanted = cmd, done, false
	p.mu.Unlock()
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		if !p.wanted {
			p.t.Errorf("%s on %s ended by itself: %v; its log: %s", p.Name, p.host.Name, err, p.Tail(5))
		}
		p.mu.Unlock()
		close(done)
	}()
}

// Pid of the running process. nsenter execs the program, so it is its own.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Kill ends the process with -9 and waits.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the process with TERM and waits, at most 30 s.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Expect says that the end of the process, by whomever, is no failure.
func (p *Process) Expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
}

// Log is all that the program has printed, over all its starts.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Signal sends a signal without waiting.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.Pid(), s); err != nil {
		p.t.Fatalf("signal %s: %v", p.Name, err)
	}
}

func (p *Process) end(s syscall.Signal) {
	p.t.Helper()
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.wanted = true
	p.mu.Unlock()
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal %s: %v", p.Name, err)
	}
	if s != syscall.SIGKILL {
		_ = cmd.Process.Signal(syscall.SIGCONT) // a frozen one would never see it
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		p.t.Errorf("%s on %s did not end within 30 s of %v", p.Name, p.host.Name, s)
	}
}

// Tail is the end of the program's log.
func (p *Process) Tail(lines int) string {
	data, err := os.ReadFile(p.logPath)
	if err != nil {
		return fmt.Sprint(err)
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "\n  " + strings.Join(all, "\n  ")
}
