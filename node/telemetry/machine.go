package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"oakestra/pkg/errs"
)

// Machine reads one machine. Safe for concurrent use.
type Machine struct {
	proc string
	disk string

	mu          sync.Mutex
	busy, total uint64
	percent     float64
}

// New reads /proc, and the file system that holds the directory disk.
func New(disk string) *Machine { return &Machine{proc: "/proc", disk: disk} }

// Facts are what does not change while the machine runs.
type Facts struct {
	Host         string
	Architecture string // amd64, arm64, arm
	Kernel       string
	Boot         string // boot id of the kernel
	Cores        int
	MemoryMB     int64
	DiskMB       int64
	GPUs         []string // PCI addresses or device names
}

// Load is how busy the machine is.
type Load struct {
	CPUPercent    float64 // since the last call
	Load5         float64 // load average over 5 minutes
	MemoryPercent float64 // used
	MemoryFreeMB  int64   // available
	DiskPercent   float64
	UptimeSeconds int64
}

// Facts of the machine. Error: /proc cannot be read.
func (m *Machine) Facts() (Facts, error) {
	host, err := os.Hostname()
	if err != nil {
		return Facts{}, fmt.Errorf("host name: %w: %w", err, errs.Internal)
	}
	memory, err := m.memory()
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Host: host, Architecture: runtime.GOARCH, Cores: runtime.NumCPU(), MemoryMB: memory["MemTotal"] >> 10,
		Kernel: m.line("sys/kernel/osrelease"), Boot: m.line("sys/kernel/random/boot_id")}
	f.DiskMB, _ = m.space()
	f.GPUs = gpus(m.proc)
	return f, nil
}

// Load of the machine now. What cannot be read stays 0.
func (m *Machine) Load() Load {
	var l Load
	l.CPUPercent = m.cpu()
	if f := strings.Fields(m.line("loadavg")); len(f) > 1 {
		l.Load5, _ = strconv.ParseFloat(f[1], 64)
	}
	if memory, err := m.memory(); err == nil && memory["MemTotal"] > 0 {
		l.MemoryFreeMB = memory["MemAvailable"] >> 10
		l.MemoryPercent = 100 * float64(memory["MemTotal"]-memory["MemAvailable"]) / float64(memory["MemTotal"])
	}
	_, l.DiskPercent = m.space()
	if f := strings.Fields(m.line("uptime")); len(f) > 0 {
		up, _ := strconv.ParseFloat(f[0], 64)
		l.UptimeSeconds = int64(up)
	}
	return l
}

func (m *Machine) line(path string) string {
	text, err := os.ReadFile(filepath.Join(m.proc, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// memory is /proc/meminfo in KiB.
func (m *Machine) memory() (map[string]int64, error) {
	text, err := os.ReadFile(filepath.Join(m.proc, "meminfo"))
	if err != nil {
		return nil, fmt.Errorf("memory: %w: %w", err, errs.Internal)
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			out[name], _ = strconv.ParseInt(f[0], 10, 64)
		}
	}
	return out, nil
}

// cpu is the share of time not idle since the last call.
func (m *Machine) cpu() float64 {
	first, _, _ := strings.Cut(m.line("stat"), "\n")
	f := strings.Fields(first)
	if len(f) < 6 {
		return 0
	}
	var total, idle uint64
	for i, text := range f[1:min(len(f), 9)] { // guest time is part of user time
		n, _ := strconv.ParseUint(text, 10, 64)
		total += n
		if i == 3 || i == 4 { // idle, iowait
			idle += n
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	busy := total - idle
	if m.total > 0 && total > m.total && busy >= m.busy {
		m.percent = 100 * float64(busy-m.busy) / float64(total-m.total)
	}
	m.busy, m.total = busy, total
	return m.percent
}

func (m *Machine) space() (totalMB int64, usedPercent float64) {
	var s syscall.Statfs_t
	if syscall.Statfs(m.disk, &s) != nil || s.Blocks == 0 {
		return 0, 0
	}
	return int64(s.Blocks) * s.Bsize >> 20, 100 * float64(s.Blocks-s.Bavail) / float64(s.Blocks)
}

// gpus lists the cards the NVIDIA driver knows.
func gpus(proc string) []string {
	entries, err := os.ReadDir(filepath.Join(proc, "driver/nvidia/gpus"))
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
