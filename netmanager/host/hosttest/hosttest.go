package hosttest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
)

// Machine is one fresh Host, with processes to attach.
type Machine struct {
	Host host.Host
	// Underlay is an address of the machine, which Host.Underlay answers.
	Underlay netip.Addr
	// Run serves what Host needs running, until the test ends.
	Run func(t *testing.T)
	// Process starts a process in a network namespace of its own; stop ends it
	// and waits until it is gone.
	Process func(t *testing.T) (pid int, stop func())
}

var subnet = netip.MustParsePrefix("10.18.1.0/26")

// Run holds what factory makes to the contract. The factory skips where its
// backend cannot run.
func Run(t *testing.T, factory func(t *testing.T) Machine) {
	for name, check := range map[string]func(*testing.T, Machine){
		"apply is idempotent and refuses nonsense": applies,
		"attach":                   attaches,
		"a pid is not an identity": tellsProcessesApart,
		"idle":                     idles,
		"remove":                   removes,
		"underlay":                 underlay,
		"echo":                     echoes,
	} {
		t.Run(name, func(t *testing.T) { check(t, factory(t)) })
	}
}

func desired(m Machine) rules.Desired {
	return rules.Desired{
		Node:     rules.Node{ID: "node1", Subnet: subnet, HostIP: m.Underlay, Port: rules.DefaultPort},
		Peers:    []rules.Peer{{ID: "node2", Subnet: netip.MustParsePrefix("10.18.2.0/26"), HostIP: m.Underlay.Next(), Port: 50104}},
		Services: []rules.Service{{Address: netip.MustParseAddr("10.30.0.10"), Backends: []netip.Addr{netip.MustParseAddr("10.18.1.2")}}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func applies(t *testing.T, m Machine) {
	ctx, d := context.Background(), desired(m)
	must(t, m.Host.Check(ctx, d.Node))
	// Before the cluster gave a subnet there is none.
	must(t, m.Host.Apply(ctx, rules.Desired{Node: rules.Node{ID: "node1", HostIP: m.Underlay}}))
	for range 2 {
		must(t, m.Host.Apply(ctx, d))
	}
	must(t, m.Host.Check(ctx, d.Node)) // the port is taken by ourselves
	d.Peers[0].HostIP = m.Underlay.Next().Next()
	must(t, m.Host.Apply(ctx, d))
	d.Peers, d.Services = nil, nil
	must(t, m.Host.Apply(ctx, d))
	d.Services = []rules.Service{{Address: netip.MustParseAddr("192.0.2.1")}}
	if err := m.Host.Apply(ctx, d); !errors.Is(err, errs.Invalid) {
		t.Errorf("a service address outside the range: %v, want Invalid", err)
	}
}

func attachment(pid int) host.Attachment {
	return host.Attachment{Name: "service-0-1-1", Pid: pid, Address: netip.MustParsePrefix("10.18.1.2/26"), Gateway: rules.Gateway(subnet)}
}

func attaches(t *testing.T, m Machine) {
	ctx := context.Background()
	pid, _ := m.Process(t)
	a := attachment(pid)
	if _, err := m.Host.Attach(ctx, a); !errors.Is(err, errs.Unavailable) {
		t.Errorf("attach before the first subnet: %v, want Unavailable", err)
	}
	must(t, m.Host.Apply(ctx, desired(m)))
	first, err := m.Host.Attach(ctx, a)
	must(t, err)
	if first.StartTime == 0 || first.Netns == 0 || first.Veth == "" {
		t.Errorf("attached: %+v", first)
	}
	a.StartTime, a.Netns = first.StartTime, first.Netns
	again, err := m.Host.Attach(ctx, a)
	must(t, err)
	if again != first {
		t.Errorf("attached again: %+v, was %+v", again, first)
	}
	for range 2 {
		must(t, m.Host.Detach(ctx, a))
	}
	_, err = m.Host.Attach(ctx, a)
	must(t, err)
}

func tellsProcessesApart(t *testing.T, m Machine) {
	ctx := context.Background()
	must(t, m.Host.Apply(ctx, desired(m)))
	pid, stop := m.Process(t)
	a := attachment(pid)
	got, err := m.Host.Attach(ctx, a)
	must(t, err)
	a.StartTime, a.Netns = got.StartTime, got.Netns
	alive := func(a host.Attachment, want bool) {
		t.Helper()
		is, err := m.Host.Alive(ctx, a)
		must(t, err)
		if is != want {
			t.Errorf("%+v: alive %t, want %t", a, is, want)
		}
	}
	alive(a, true)
	other := a
	other.StartTime++
	alive(other, false)
	if _, err := m.Host.Attach(ctx, other); !errors.Is(err, errs.NotFound) {
		t.Errorf("attach of another process: %v, want NotFound", err)
	}
	other = a
	other.Netns++
	alive(other, false)
	stop()
	alive(a, false)
	must(t, m.Host.Detach(ctx, a))
	if _, err := m.Host.Attach(ctx, a); !errors.Is(err, errs.NotFound) {
		t.Errorf("attach of a process that is gone: %v, want NotFound", err)
	}
}

func idles(t *testing.T, m Machine) {
	ctx := context.Background()
	must(t, m.Host.Apply(ctx, desired(m)))
	must(t, m.Host.Forget(ctx, netip.MustParseAddr("10.18.1.2")))
	services := []netip.Addr{netip.MustParseAddr("10.30.0.10"), netip.MustParseAddr("10.30.0.11")}
	idle, err := m.Host.Idle(ctx, services)
	must(t, err)
	if len(idle) != 2 {
		t.Errorf("idle: %v, want both", idle)
	}
	m.Host.Release(services[0], true) // nothing is held: no harm
	m.Host.Release(services[1], false)
}

func removes(t *testing.T, m Machine) {
	ctx := context.Background()
	must(t, m.Host.Remove(ctx)) // nothing was made
	must(t, m.Host.Apply(ctx, desired(m)))
	pid, _ := m.Process(t)
	_, err := m.Host.Attach(ctx, attachment(pid))
	must(t, err)
	for range 2 {
		must(t, m.Host.Remove(ctx))
	}
	if _, err := m.Host.Attach(ctx, attachment(pid)); !errors.Is(err, errs.Unavailable) {
		t.Errorf("attach after remove: %v, want Unavailable", err)
	}
	must(t, m.Host.Apply(ctx, desired(m)))
	_, err = m.Host.Attach(ctx, attachment(pid))
	must(t, err)
}

func underlay(t *testing.T, m Machine) {
	got, mtu, err := m.Host.Underlay(context.Background(), "")
	must(t, err)
	if got != m.Underlay || mtu != 1500 {
		t.Errorf("underlay %s, %d", got, mtu)
	}
}

// echoes: what is there answers, what is not does not.
func echoes(t *testing.T, m Machine) {
	ctx := context.Background()
	must(t, m.Host.Apply(ctx, desired(m)))
	m.Run(t)
	testkit.Eventually(t, 5*time.Second, func() error {
		if err := m.Host.Echo(ctx, []netip.Addr{rules.Gateway(netip.MustParsePrefix("10.18.2.0/26")), rules.Gateway(subnet)}); err != nil {
			return err
		}
		select {
		case a := <-m.Host.Echoes():
			if a != rules.Gateway(subnet) {
				t.Errorf("%s answered", a)
			}
			return nil
		case <-time.After(time.Second):
			return errors.New("no answer")
		}
	})
}
