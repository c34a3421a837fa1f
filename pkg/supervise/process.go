package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process names a process beyond its pid: pids are reused, start times are not.
type Process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, /proc/<pid>/stat field 22
}

// Find looks a running process up. os.ErrNotExist when there is none; a
// zombie counts as gone.
func Find(pid int) (Process, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	// The name in parentheses may hold blanks: fields are counted after it.
	_, rest, ok := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return Process{}, fmt.Errorf("process %d: unexpected stat line %q", pid, data)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Process{}, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return Process{Pid: pid, Start: start}, nil
}

// Alive says whether this very process still runs.
func (p Process) Alive() bool {
	now, err := Find(p.Pid)
	return err == nil && now.Start == p.Start
}

// Save writes the process to a file, readable by Load.
func (p Process) Save(file string) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// Load reads what Save wrote. os.ErrNotExist when the file is not there or its
// process does not run any more.
func Load(file string) (Process, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Process{}, err
	}
	var p Process
	if err := json.Unmarshal(data, &p); err != nil {
		return Process{}, fmt.Errorf("%s: %w", file, err)
	}
	if !p.Alive() {
		return Process{}, fmt.Errorf("%s: process %d: %w", file, p.Pid, os.ErrNotExist)
	}
	return p, nil
}

// Stop sends TERM, waits up to grace, then sends KILL and waits up to 5 s more.
// A process that is gone is no error.
func (p Process) Stop(grace time.Duration) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 5 * time.Second}} {
		if !p.Alive() {
			return nil
		}
		if err := syscall.Kill(p.Pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal process %d: %w", p.Pid, err)
		}
		for end := time.Now().Add(step.wait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if !p.Alive() {
				return nil
			}
		}
	}
	if p.Alive() {
		return fmt.Errorf("process %d does not end, not even by KILL", p.Pid)
	}
	return nil
}
