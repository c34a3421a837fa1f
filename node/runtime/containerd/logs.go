package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

const tailBytes = 1024

func (e *Engine) logDir() string { return filepath.Join(e.cfg.Data, "logs") }

// LogPath is the file with the output of a container; ".1" is the older part.
func (e *Engine) LogPath(id string) string { return filepath.Join(e.logDir(), id+".log") }

func (e *Engine) removeLogs(id string) error {
	var all []error
	e.logs.forget(id)
	for _, p := range []string{e.LogPath(id), e.LogPath(id) + ".1"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, min(info.Size(), tailBytes))
	n, _ := f.ReadAt(buf, info.Size()-int64(len(buf)))
	return strings.ToValidUTF8(string(buf[:n]), "")
}

// Stats reads the container's cgroup (v1 or v2) and its log, which it rotates
// when it is too large.
func (e *Engine) Stats(_ context.Context, s runtime.Spec) (runtime.Stats, error) {
	path := e.LogPath(s.ID())
	if err := e.logs.of(s.ID(), path).keep(e.cfg.LogBytes, time.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Warn("log not rotated", "container", s.ID(), "error", err)
	}
	out := runtime.Stats{LogTail: tail(path)}
	cpu, memory, err := usage("/sys/fs/cgroup", cgroupPath(s))
	if err != nil {
		return out, fmt.Errorf("usage of %s: %w: %w", s.ID(), err, errs.NotFound)
	}
	out.CPUSeconds, out.MemoryBytes = cpu, memory
	return out, nil
}

// usage reads CPU seconds and resident bytes of a group.
func usage(root, group string) (float64, int64, error) {
	if text, err := os.ReadFile(filepath.Join(root, group, "cpu.stat")); err == nil {
		memory, err := number(filepath.Join(root, group, "memory.current"))
		return float64(field(string(text), "usage_usec")) / 1e6, memory, err
	}
	cpu, err := number(filepath.Join(root, "cpuacct", group, "cpuacct.usage"))
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(filepath.Join(root, "memory", group, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	return float64(cpu) / 1e9, field(string(text), "total_rss") + field(string(text), "total_mapped_file"), nil
}

func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}
