package sim

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"oakestra/pkg/errs"
)

// program is one daemon. It survives kills: CPU seconds of all its runs are
// added up.
type program struct {
	name, path string
	args, env  []string
	log        string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
	spent float64 // CPU seconds of earlier runs
}

// start runs the program; its output goes to the log.
func (p *program) start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		cmd := exec.Command(p.path, p.args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(cleanEnv(), p.env...), out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", p.name, err)
			return
		}
		p.mu.Lock()
		p.cmd, p.ended = cmd, ended
		p.mu.Unlock()
		started <- nil
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		if s := cmd.ProcessState; s != nil {
			p.spent += (s.UserTime() + s.SystemTime()).Seconds()
		}
		p.cmd = nil
		p.mu.Unlock()
		close(ended)
	}()
	return <-started
}

// cleanEnv is the environment without what would turn the daemons elsewhere.
func cleanEnv() []string {
	var out []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "SYSTEM_MANAGER_URL", "CLUSTER_NAME", "CLUSTER_LOCATION", "MQTT_BROKER_URL", "MQTT_BROKER_PORT", "MONGO_URL",
			"OAKESTRA_ADMIN_PASSWORD", "OAKESTRA_SECURITY", "OAKESTRA_API_QUOTED":
			continue
		}
		out = append(out, v)
	}
	return out
}

// stop sends a signal and waits for the end.
func (p *program) stop(signal syscall.Signal) {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// alive is nil while the program runs.
func (p *program) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(errs.Unavailable, p.err), tail(p.log, 8))
}

// usage is what a program has used.
type usage struct {
	cpu float64 // seconds, all runs
	rss float64 // MiB now
}

func (p *program) usage() usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := usage{cpu: p.spent}
	if p.cmd == nil {
		return u
	}
	pid := p.cmd.Process.Pid
	u.cpu += cpuSeconds(pid)
	u.rss = rollup(pid, "Rss:")
	return u
}

// clockTick is USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 100

func cpuSeconds(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / clockTick
}

// rollup reads one line of smaps_rollup, in MiB.
func rollup(pid int, line string) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == line {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}

// tail is the end of a log.
func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// descriptors is how many files a process of ours may open. What we start
// inherits that: set here and not by Go's runtime, which would take it back.
func descriptors() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, errors.Join(err, errs.Internal)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, errors.Join(err, errs.Internal)
	}
	return int(min(l.Max, 1<<20)), nil
}
