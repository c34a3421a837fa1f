package netlab

import (
	"context"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from the host's network, so that a test's own HTTP client can
// be one more machine of the lab. The address must be an IP and a port: names
// would be resolved on another thread.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return DialIn(ctx, "/run/netns/"+h.netns, network, address)
}

// DialIn connects from a network namespace named by a file, such as
// /proc/<pid>/ns/net. The thread dies with the call, since one that entered a
// namespace must not serve others.
func DialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := os.Open(namespace)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, os.NewSyscallError("setns", err)}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// Pod makes a further network namespace behind a bridge of the host, joined to
// it by a veth pair, with the given address (CIDR). It is the plain Linux way
// to connect a container, for comparisons. Close of the lab removes it.
func (h *Host) Pod(name, bridge, address string) (*Host, error) {
	p := &Host{Name: h.Name + "-" + name, lab: h.lab, netns: h.lab.prefix + h.Name + "-" + name}
	for _, s := range [][]string{
		{"netns", "add", p.netns},
		{"-n", p.netns, "link", "set", "lo", "up"},
		{"-n", p.netns, "link", "add", "eth0", "mtu", "1450", "type", "veth", "peer", "name", "v" + name, "netns", h.netns},
		{"-n", p.netns, "addr", "add", address, "dev", "eth0"},
		{"-n", p.netns, "link", "set", "eth0", "up"},
		{"-n", h.netns, "link", "set", "v" + name, "mtu", "1450", "master", bridge, "up"},
	} {
		if err := ip(s...); err != nil {
			return nil, err
		}
	}
	return p, nil
}
