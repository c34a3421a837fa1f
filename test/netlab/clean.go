package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clean removes everything of the labs with the prefix: processes inside their
// namespaces with all descendants (shims start containers in namespaces of
// their own), mounts below dir, cgroups named after dir, the namespaces.
func clean(prefix, dir string) error {
	names, err := namespaces(prefix)
	if err != nil {
		return err
	}
	errs := []error{killAll(names)}
	if dir != "" {
		errs = append(errs, unmountBelow(dir))
	}
	for _, n := range names {
		if out, err := exec.Command("ip", "netns", "delete", n).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("delete namespace %s: %w: %s", n, err, out))
		}
	}
	return errors.Join(errs...)
}

func namespaces(prefix string) ([]string, error) {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// killAll ends the processes whose network namespace is one of names, and
// their descendants, until none is left.
func killAll(names []string) error {
	inodes := inodesOf(names)
	if len(inodes) == 0 {
		return nil
	}
	var left []int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left = members(inodes)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("processes %v do not end", left)
}

// Processes lists the command names of everything that runs on the lab's
// hosts, containers included.
func (l *Lab) Processes() []string {
	names, err := namespaces(l.prefix)
	if err != nil {
		return []string{err.Error()}
	}
	var list []string
	for _, pid := range members(inodesOf(names)) {
		comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
		if err == nil {
			list = append(list, strings.TrimSpace(string(comm)))
		}
	}
	return list
}

func inodesOf(names []string) map[uint64]bool {
	inodes := map[uint64]bool{}
	for _, n := range names {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join("/run/netns", n), &st); err == nil {
			inodes[st.Ino] = true
		}
	}
	return inodes
}

// members lists the processes of the namespaces and their descendants.
func members(inodes map[uint64]bool) []int {
	entries, _ := os.ReadDir("/proc")
	parent := map[int]int{}
	in := map[int]bool{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest)
		if len(f) < 2 || f[0] == "Z" {
			continue
		}
		parent[pid], _ = strconv.Atoi(f[1])
		var st syscall.Stat_t
		if syscall.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &st) == nil && inodes[st.Ino] {
			in[pid] = true
		}
	}
	var list []int
	for pid := range parent {
		for p := pid; p > 1; p = parent[p] {
			if in[p] {
				list = append(list, pid)
				break
			}
		}
	}
	sort.Ints(list)
	return list
}

func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	var errs []error
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

var ownName = regexp.MustCompile(`^` + namePrefix + `([0-9]+)-`)

// sweep removes what runs that were killed left behind.
func sweep(t testing.TB) {
	t.Helper()
	names, err := namespaces(namePrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		m := ownName.FindStringSubmatch(n)
		if m == nil {
			continue
		}
		if _, err := os.Stat("/proc/" + m[1]); err == nil {
			continue // that run lives
		}
		if err := clean(m[0], ""); err != nil {
			t.Logf("leftover %s: %v", n, err)
		}
	}
}
