package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const (
	// createLimit bounds one creation or start. It is shorter than what
	// systemd gives a unit to stop: NodeEngine waits for it.
	createLimit = time.Minute
	// What an earlier process left is in the way for as long as containerd
	// takes to give up on it.
	remakeTries = 10
	remakePause = 300 * time.Millisecond
)

// uncut is a context for steps that must not be cut off, with the namespace
// and a limit of their own.
func uncut(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(namespaces.WithNamespace(context.WithoutCancel(ctx), Namespace), createLimit)
}

// sweep removes what a creation that failed or was cut off can leave of a
// container without a task: processes in its cgroup, the shim, the bundle with
// the root file system mounted in it.
func (e *Engine) sweep(id, cgroup string) {
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		groups, _ := filepath.Glob(pattern + cgroup) // the pattern is right
		for _, g := range groups {
			if err := removeCgroup(g); err != nil && !errors.Is(err, fs.ErrNotExist) {
				e.log.Warn("cgroup of a container that was not made", "container", id, "error", err)
			}
		}
	}
	killShims(e.cfg.Socket, id)
	for _, state := range []string{"state", ""} { // of a private containerd, of the system's
		bundle := filepath.Join(filepath.Dir(e.cfg.Socket), state, "io.containerd.runtime.v2.task", Namespace, id)
		if _, err := os.Stat(bundle); err != nil {
			continue
		}
		_ = syscall.Unmount(filepath.Join(bundle, "rootfs"), syscall.MNT_DETACH) // it may not be mounted
		if err := os.RemoveAll(bundle); err != nil {
			e.log.Warn("bundle of a container that was not made", "container", id, "error", err)
		}
	}
}

// sweepOf is sweep for a container as containerd has it; one without an
// assignment is not ours.
func (e *Engine) sweepOf(ctx context.Context, c client.Container) {
	info, err := c.Info(ctx)
	if err != nil {
		return
	}
	if s, err := assignment(info); err == nil {
		e.sweep(c.ID(), cgroupPath(s))
	}
}

// killShims kills the shims of one containerd, known by its socket: all of
// them, or those of one container.
func killShims(socket, id string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, file := range lines {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00")
		after := func(flag string) string {
			if at := slices.Index(args, flag); at >= 0 && at+1 < len(args) {
				return args[at+1]
			}
			return ""
		}
		if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") || after("-address") != socket || id != "" && after("-id") != id {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}
