package linux_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"oakestra/netmanager/rules"
)

// 300 new flows meet 3 backends exactly 100 times each, for every service,
// also when two services are asked in turn.
func TestSpreadIsExact(t *testing.T) {
	s := newSite(t, 1)
	client := s.run(1, 2, addr("10.30.1.1"))
	var backends []netip.Addr
	for i := range 3 {
		b := s.run(1, 3+i, addr(fmt.Sprintf("10.30.1.%d", 2+i)))
		serve(t, b.Host, fmt.Sprint(i))
		backends = append(backends, b.addr)
	}
	services := []string{"10.30.0.10", "10.30.0.11"}
	for _, a := range services {
		s.service(a, backends...)
	}
	got := map[string]int{}
	for range 300 {
		for _, a := range services {
			name, _, err := ask(client.Host, a+":80")
			if err != nil {
				t.Fatal(err)
			}
			got[a+" "+name]++
		}
	}
	for key, n := range got {
		if n != 100 {
			t.Errorf("%s: %d flows, want 100", key, n)
		}
	}
}

// Every change of the table leaves established flows alone: other backends,
// the last service gone, identities gone, the Host replaced by a new one.
func TestFlowsSurviveChanges(t *testing.T) {
	s := newSite(t, 2)
	client, far, near := s.run(1, 2, addr("10.30.1.1")), s.run(2, 2, addr("10.30.1.2")), s.run(1, 3, addr("10.30.1.3"))
	serve(t, far.Host, "far")
	serve(t, near.Host, "near")
	s.service(service, far.addr)
	c, r, _, _, err := open(client.Host, service+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	alive := func(after string) {
		t.Helper()
		if err := echo(c, r); err != nil {
			t.Fatalf("after %s: %v", after, err)
		}
	}
	s.service(service, far.addr, near.addr)
	alive("a second backend")
	s.service(service, near.addr)
	alive("its backend left the table")
	for _, w := range s.workers {
		w.want.Services, w.want.Identities = nil, nil
		w.apply()
	}
	alive("the last service")
	w := s.workers[0]
	w.stop()
	alive("the end of the Host")
	w.open()
	w.apply()
	alive("a new Host")
	s.service(service, far.addr)
	alive("the service is back")
}

// A new Host over the kernel's state writes nothing when it is told the same.
func TestRestartWritesNothing(t *testing.T) {
	s := newSite(t, 2)
	w := s.workers[0]
	b := s.run(1, 2, addr("10.30.1.1"))
	for i := range 5 {
		w.service(fmt.Sprintf("10.30.0.%d", 10+i), b.addr, container(2, 2), container(2, 3))
	}
	w.want.HostPorts = []rules.HostPort{{Protocol: "tcp", Port: 8080, Backends: []netip.AddrPort{netip.AddrPortFrom(b.addr, 80)}},
		{Protocol: "udp", Port: 8080, Backends: []netip.AddrPort{netip.AddrPortFrom(b.addr, 80), netip.AddrPortFrom(b.addr, 81)}}}
	w.apply()
	w.stop()
	before := w.state()
	w.open()
	w.apply()
	if got, err := w.h.Attach(context.Background(), b.attachment); err != nil || got.Netns != b.attachment.Netns {
		t.Fatalf("attach again: %+v, %v", got, err)
	}
	if after := w.state(); after != before {
		t.Errorf("the kernel changed:\n%s\nwas\n%s", after, before)
	}
}

// state is what the kernel holds, handles included, so that a rule made anew shows.
func (w *worker) state() string {
	w.t.Helper()
	return w.Exec(w.t, "nft", "-a", "list", "table", "ip", "oakestra") + w.Exec(w.t, "ip", "-o", "addr") +
		w.Exec(w.t, "ip", "route") + w.Exec(w.t, "iptables", "-S") + w.Exec(w.t, "iptables", "-t", "mangle", "-S") +
		w.Exec(w.t, "bridge", "fdb", "show", "dev", "oakvx0")
}

// Forget cuts the flows of one backend at both ends and leaves the others.
func TestForgetCutsOneBackend(t *testing.T) {
	s := newSite(t, 2)
	client := s.run(1, 2, addr("10.30.1.1"))
	a, b := s.run(2, 2, addr("10.30.1.2")), s.run(2, 3, addr("10.30.1.3"))
	serve(t, a.Host, "a")
	serve(t, b.Host, "b")
	s.service(service, a.addr, b.addr)
	flows := map[string]func() error{}
	for range 2 {
		c, r, name, _, err := open(client.Host, service+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flows[name] = func() error { return echo(c, r) }
	}
	if len(flows) != 2 {
		t.Fatalf("both flows went to one backend")
	}
	s.service(service, b.addr)
	for _, w := range s.workers {
		if err := w.h.Forget(context.Background(), a.addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := flows["b"](); err != nil {
		t.Errorf("flow to the backend that stays: %v", err)
	}
	if err := flows["a"](); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("flow to the backend that is gone: %v, want a reset", err)
	}
	idle, err := s.workers[0].h.Idle(context.Background(), []netip.Addr{addr(service), addr("10.30.0.99")})
	if err != nil || len(idle) != 1 || idle[0] != addr("10.30.0.99") {
		t.Errorf("idle: %v, %v", idle, err)
	}
}

// Remove leaves the machine as it was found.
func TestRemoveLeavesNothing(t *testing.T) {
	needKernel(t)
	s := newSite(t, 2)
	w := s.workers[0]
	s.run(1, 2, addr("10.30.1.1"))
	s.service(service, container(1, 2))
	w.stop()
	w.open()
	for range 2 { // again is no error
		if err := w.h.Remove(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][]string{{"nft", "list", "ruleset"}, {"ip", "-o", "link"}, {"ip", "route"}, {"iptables-save"}, {"iptables-legacy-save"}} {
		if out := w.Exec(t, c[0], c[1:]...); strings.Contains(strings.ToLower(out), "oak") || strings.Contains(out, "10.18.") {
			t.Errorf("%s still shows\n%s", strings.Join(c, " "), out)
		}
	}
}
