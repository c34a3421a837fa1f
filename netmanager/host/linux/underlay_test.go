package linux_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"oakestra/netmanager/host/linux"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit/nshost"
)

// The underlay is that of the default route; a machine without one takes what
// it has, and at last itself. Each choice is logged once, with its reason.
func TestUnderlayOfAMachineWithLittleNetwork(t *testing.T) {
	needKernel(t)
	m := nshost.New(t)
	var text bytes.Buffer
	h, err := linux.New(linux.Config{Netns: m.Path()}, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	other := nshost.New(t)
	link := func(name, cidr string) {
		m.Join(t, name, other, name)
		m.Address(t, name, cidr)
	}
	for _, c := range []struct {
		name   string
		change func()
		iface  string
		want   string
		why    string
	}{
		{"nothing but loopback", func() {}, "", "127.0.0.1", "only this machine"},
		{"again", func() {}, "", "127.0.0.1", ""},
		{"link-local and our own are no networks", func() {
			link("ll0", "169.254.3.4/16")
			link(rules.Bridge, "10.18.0.1/26")
		}, "", "127.0.0.1", ""},
		{"an interface that is down", func() {
			link("down0", "192.0.2.9/24")
			m.Exec(t, "ip", "link", "set", "down0", "down")
		}, "", "127.0.0.1", ""},
		{"an interface that is up", func() { link("up0", "198.51.100.7/24") }, "", "198.51.100.7", "no default route"},
		{"the first stays", func() { link("up1", "203.0.113.7/24") }, "", "198.51.100.7", ""},
		{"a default route", func() { m.Exec(t, "ip", "route", "add", "default", "dev", "up1") }, "", "203.0.113.7", "default route"},
		{"a name that is no interface", func() {}, "nope0", "", ""},
		{"the named one with an address", func() {}, "ll0", "169.254.3.4", "-iface"},
		{"the default route is gone", func() { m.Exec(t, "ip", "link", "del", "up1") }, "", "198.51.100.7", "no default route"},
		{"the interface is gone", func() { m.Exec(t, "ip", "link", "del", "up0") }, "", "127.0.0.1", "only this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			text.Reset()
			got, mtu, err := h.Underlay(context.Background(), c.iface)
			if c.want == "" {
				if !errors.Is(err, errs.NotFound) {
					t.Fatalf("got %s, %v, want NotFound", got, err)
				}
				return
			}
			if err != nil || got.String() != c.want || mtu < 1500 {
				t.Errorf("%s with %d bytes, %v; want %s", got, mtu, err, c.want)
			}
			if lines := strings.Count(text.String(), "\n"); !strings.Contains(text.String(), c.why) || (c.why == "") != (lines == 0) || lines > 1 {
				t.Errorf("log, want one line only when it changes, with %q:\n%s", c.why, &text)
			}
		})
	}
	// A tunnel can be made on it, and moves with it.
	d := rules.Desired{Node: rules.Node{ID: "n", Subnet: subnet(1), HostIP: addr("127.0.0.1"), Port: rules.DefaultPort, MTU: 1450}}
	m.Exec(t, "ip", "link", "del", rules.Bridge)
	for _, a := range []string{"127.0.0.1", "192.0.2.9"} {
		d.Node.HostIP = addr(a)
		if err := h.Apply(context.Background(), d); err != nil {
			t.Errorf("apply on %s: %v", a, err)
		}
		m.Exec(t, "ip", "link", "set", "down0", "up")
	}
}
