package nshost

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	prefix   = "nsh"
	mountDir = "/run/netns"
)

var serial atomic.Uint32

// Host is one network namespace.
type Host struct {
	Name string // of the namespace, as ip netns list prints it
}

// New makes a namespace with lo up and removes it, with all its links, at the
// end of t, whether t failed or not. It skips t without root or iproute2.
func New(t testing.TB) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root; run: sudo make test")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("SKIPPED: needs ip; run: apt-get install iproute2")
	}
	if serial.Load() == 0 {
		sweep(t)
	}
	h := &Host{Name: fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), serial.Add(1))}
	command(t, "ip", "netns", "add", h.Name)
	t.Cleanup(func() {
		if err := h.remove(); err != nil {
			t.Errorf("remove %s: %v", h.Name, err)
		}
	})
	h.Exec(t, "ip", "link", "set", "lo", "up")
	return h
}

// Path is a file that stands for the namespace.
func (h *Host) Path() string { return filepath.Join(mountDir, h.Name) }

// Exec runs a program inside the namespace and returns what it printed; a
// failure ends t.
func (h *Host) Exec(t testing.TB, name string, arg ...string) string {
	t.Helper()
	return command(t, "ip", append([]string{"netns", "exec", h.Name, name}, arg...)...)
}

// Command prepares a program to be started inside the namespace.
func (h *Host) Command(name string, arg ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.Name, name}, arg...)...)
}

// Join links the two namespaces: nameA inside h, nameB inside other.
func (h *Host) Join(t testing.TB, nameA string, other *Host, nameB string) {
	t.Helper()
	h.Exec(t, "ip", "link", "add", nameA, "type", "veth", "peer", "name", nameB, "netns", other.Name)
	h.Exec(t, "ip", "link", "set", nameA, "up")
	other.Exec(t, "ip", "link", "set", nameB, "up")
}

// Address adds an address in CIDR notation to a link of the namespace.
func (h *Host) Address(t testing.TB, link, cidr string) {
	t.Helper()
	h.Exec(t, "ip", "addr", "add", cidr, "dev", link)
}

// Bridge makes a bridge inside h, raises it and puts the ports on it.
func (h *Host) Bridge(t testing.TB, name string, ports ...string) {
	t.Helper()
	h.Exec(t, "ip", "link", "add", name, "type", "bridge")
	for _, port := range ports {
		h.Exec(t, "ip", "link", "set", port, "master", name)
	}
	h.Exec(t, "ip", "link", "set", name, "up")
}

// In runs fn on a thread inside the namespace and returns its error. The
// thread ends with fn: goroutines that fn starts are outside, but sockets that
// fn makes stay inside.
func (h *Host) In(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not serve others
		done <- enter(h.Path(), fn)
	}()
	return <-done
}

func enter(path string, fn func() error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return fn()
}

// Listen opens a listener inside the namespace, closed at the end of t.
func (h *Host) Listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := h.In(func() (err error) { l, err = net.Listen(network, address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Dial connects from inside the namespace.
func (h *Host) Dial(d net.Dialer, network, address string) (net.Conn, error) {
	var c net.Conn
	// One address and no name: the dialer then uses this thread alone.
	err := h.In(func() (err error) { c, err = d.Dial(network, address); return err })
	return c, err
}

func (h *Host) remove() error {
	return remove(h.Name)
}

func remove(name string) error {
	if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sweep removes namespaces of test processes that are gone.
func sweep(t testing.TB) {
	entries, _ := os.ReadDir(mountDir)
	for _, e := range entries {
		pid, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), prefix), "-")
		n, err := strconv.Atoi(pid)
		if !strings.HasPrefix(e.Name(), prefix) || err != nil || unix.Kill(n, 0) != unix.ESRCH {
			continue
		}
		if err := remove(e.Name()); err != nil {
			t.Logf("leftover %s: %v", e.Name(), err)
		}
	}
}

func command(t testing.TB, name string, arg ...string) string {
	t.Helper()
	out, err := exec.Command(name, arg...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arg, " "), err, out)
	}
	return string(out)
}
