package containerd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"oakestra/pkg/errs"
)

// SystemSocket is where a machine's own containerd listens.
const SystemSocket = "/run/containerd/containerd.sock"

// Managed is a private containerd that outlives NodeEngine: a session of its
// own, a pid file under the data directory, and a socket in a short directory
// under /run (a socket's path has at most 104 bytes).
type Managed struct {
	Data string // NodeEngine's data directory, absolute
	Run  string // "" = /run/oakestra/<hash of Data>
}

func (m Managed) run() string {
	if m.Run != "" {
		return m.Run
	}
	sum := sha256.Sum256([]byte(m.Data))
	return fmt.Sprintf("/run/oakestra/%x", sum[:6])
}

// Socket is where it listens.
func (m Managed) Socket() string  { return filepath.Join(m.run(), "c.sock") }
func (m Managed) dir() string     { return filepath.Join(m.Data, "containerd") }
func (m Managed) pidFile() string { return filepath.Join(m.dir(), "pid") }

// Answers says whether something accepts connections at a socket.
func Answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Ensure starts containerd unless it answers already, and waits up to 20 s for it.
func (m Managed) Ensure(ctx context.Context) error {
	if Answers(m.Socket()) {
		return nil
	}
	path, err := exec.LookPath("containerd")
	if err != nil {
		return fmt.Errorf("no containerd found; install it: apt-get install containerd runc: %w", errs.Unavailable)
	}
	for _, d := range []string{m.dir(), m.run()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("private containerd: %w: %w", err, errs.Internal)
		}
	}
	if err := m.start(path); err != nil {
		return fmt.Errorf("private containerd: %w: %w", err, errs.Internal)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !Answers(m.Socket()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("private containerd does not answer; see %s: %w", m.logFile(), errs.Unavailable)
		case <-tick.C:
		}
	}
	return nil
}

func (m Managed) logFile() string { return filepath.Join(m.dir(), "containerd.log") }

func (m Managed) start(path string) error {
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, filepath.Join(m.dir(), "root"), filepath.Join(m.run(), "state"), m.Socket(), m.Socket()+".ttrpc")
	file := filepath.Join(m.dir(), "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(m.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, "-c", file, "-l", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(m.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	go func() { _ = cmd.Wait() }() // reaps it should it end before we do
	return nil
}

// Stop ends the private containerd and removes all its files. Without one it
// does nothing.
func (m Managed) Stop(ctx context.Context) error {
	if pid := m.pid(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		deadline := time.Now().Add(10 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for m.pid() == pid {
			if time.Now().After(deadline) || ctx.Err() != nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
			<-tick.C
		}
	}
	m.endShims()
	return errors.Join(os.RemoveAll(m.run()), os.RemoveAll(m.dir()))
}

// endShims kills what is left of the shims of this containerd. One whose task
// was deleted as containerd went is told by nobody to end, and has nothing to
// look after any more.
func (m Managed) endShims() { killShims(m.Socket(), "") }

// pid is the running private containerd, or 0. The command line is compared,
// since a number alone may by now be another process.
func (m Managed) pid() int {
	text, err := os.ReadFile(m.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), filepath.Join(m.dir(), "config.toml")) {
		return 0
	}
	return pid
}
