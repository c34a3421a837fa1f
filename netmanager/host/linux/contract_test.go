package linux_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"oakestra/netmanager/host/hosttest"
	"oakestra/netmanager/host/linux"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/pkg/testkit/nshost"
)

func TestContract(t *testing.T) {
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		needKernel(t)
		h := machine(t)
		return hosttest.Machine{Host: h, Underlay: underlay(1), Run: func(t *testing.T) { running(t, h) }, Process: func(t *testing.T) (int, func()) {
			return process(t, nshost.New(t))
		}}
	})
}

// machine is a worker alone, with an uplink.
func machine(t testing.TB) *linux.Host {
	t.Helper()
	n := nshost.New(t)
	n.Bridge(t, "up0")
	n.Address(t, "up0", "192.0.2.1/24")
	n.Exec(t, "ip", "route", "add", "default", "via", "192.0.2.250")
	h, err := linux.New(linux.Config{Netns: n.Path()}, testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// running serves h until the end of t.
func running(t testing.TB, h *linux.Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// process keeps the namespace until stop or the end of t.
func process(t testing.TB, n *nshost.Host) (pid int, stop func()) {
	t.Helper()
	cmd := n.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill the process: %v", err)
		}
		_ = cmd.Wait() // says that it was killed
	})
	t.Cleanup(stop)
	// ip enters the namespace before it becomes sleep.
	testkit.Eventually(t, patience, func() error {
		got, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
		if err == nil && strings.HasSuffix(got, "/ip") {
			err = fmt.Errorf("still %s", got)
		}
		return err
	})
	return cmd.Process.Pid, stop
}

// Check names the port that another program holds, and what to do.
func TestCheckFindsATakenPort(t *testing.T) {
	needKernel(t)
	n := nshost.New(t)
	h, err := linux.New(linux.Config{Netns: n.Path()}, testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	node := rules.Node{ID: "node1"}
	if err := h.Check(context.Background(), node); err != nil {
		t.Fatalf("free port: %v", err)
	}
	c := listenPacket(t, n, ":50103")
	defer c.Close()
	err = h.Check(context.Background(), node)
	if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "ss -lunp sport = :50103") {
		t.Errorf("got %v", err)
	}
	// Without a network a worker serves itself. Only a name that leads to no
	// address is an error: whoever gave it meant that interface.
	n.Bridge(t, "bare0")
	if a, mtu, err := h.Underlay(context.Background(), ""); a != addr("127.0.0.1") || mtu != 65536 || err != nil {
		t.Errorf("no network: %s with %d bytes, %v; want loopback", a, mtu, err)
	}
	for _, iface := range []string{"none0", "bare0"} {
		a, _, err := h.Underlay(context.Background(), iface)
		if !errors.Is(err, errs.NotFound) || !strings.Contains(err.Error(), iface) {
			t.Errorf("-iface %s: %s, %v; want NotFound", iface, a, err)
		}
	}
}

// Peers come, move to another address or port, and go.
func TestPeersMove(t *testing.T) {
	s := newSite(t, 2)
	w := s.workers[0]
	s.run(1, 2, netip.Addr{})
	w.want.Peers[0].HostIP, w.want.Peers[0].Port = underlay(9), 50200
	w.apply()
	out := w.Exec(t, "bridge", "fdb", "show", "dev", "oakvx0")
	if !strings.Contains(out, "dst 192.0.2.9 port 50200") || strings.Contains(out, "192.0.2.2") {
		t.Errorf("forwarding entries:\n%s", out)
	}
	w.want.Peers = nil
	w.apply()
	for _, c := range []string{"bridge fdb show dev oakvx0", "ip neigh show dev oakvx0", "ip route"} {
		if out := w.Exec(t, "sh", "-c", c); strings.Contains(out, "10.18.2.") || strings.Contains(out, "192.0.2.9") {
			t.Errorf("%s still shows\n%s", c, out)
		}
	}
}
