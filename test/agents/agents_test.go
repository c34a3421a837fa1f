package agents

import (
	"fmt"
	"net/netip"
	"testing"

	"oakestra/cluster/fleet"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/testkit"
)

func each(t *testing.T, fn func(t *testing.T, g Generation, m *manager)) {
	t.Helper()
	t.Parallel()
	for _, g := range Generations() {
		t.Run(g.Name, func(t *testing.T) {
			t.Parallel()
			fn(t, g, newManager(t))
		})
	}
}

func (e *Engine) wants(t *testing.T, starts int) {
	t.Helper()
	if n, _ := e.Counts(); n != starts || len(e.Tasks()) != 1 {
		t.Errorf("%s: %d starts, runs %v; want %d and one", e.ID, n, e.Tasks(), starts)
	}
}

// It registers, gets its subnet, runs what it is told, is found by name and by
// address, survives a restart of the manager untouched, and stops what it is
// told.
func TestTheLifeOfAnInstance(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		e := StartEngine(t, g, m.http, "vm", "m1", true)
		if e.ID != "vm" || !netip.MustParsePrefix("10.18.0.0/22").Contains(e.Net().Subnet) {
			t.Fatalf("id %q, subnet %s", e.ID, e.Net().Subnet)
		}
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, func(f fleet.Facts) bool {
			return f.Vital.PublicIP == "192.0.2.2" && f.Vital.Usage.CPUPercent > 0 && f.Vital.LogTail != "" == g.late
		})
		e.wants(t, 1)
		if d := e.Tasks()[0]; d.ID != string(slot(0).Service) || d.Port != "8080:80" || d.VCPUs != 1 || d.Memory != 100 || d.Status != "NODE_SCHEDULED" {
			t.Errorf("deployed %+v", d)
		}
		first := e.Net().Own(service) // sent right after `deployed`, so it is in it
		if len(first.Entries) != 1 || first.Entries[0].NamespaceIP == "" || first.Entries[0].HostPort != 50103 {
			t.Fatalf("its own table: %+v", first)
		}

		other := StartEngine(t, g, m.http, "vm", "m2", true) // another machine of that name
		if other.ID != "vm-2" || other.Net().Subnet == e.Net().Subnet {
			t.Fatalf("the second is %q with subnet %s", other.ID, other.Net().Subnet)
		}
		for _, r := range []Result{other.Net().Ask(service, ""), other.Net().Ask("", "10.30.30.30"), other.Net().Ask("", "10.30.0.10")} {
			if r.AppName != service || len(r.Entries) != 1 || r.Entries[0].NamespaceIP != first.Entries[0].NamespaceIP {
				t.Errorf("%s: %+v", r.QueryKey, r)
			}
			for _, i := range r.Entries {
				if g.late && i.NamespaceIPv6 == "" || len(i.ServiceIP) != 2 || i.ServiceIP[0].Type != "RR" || i.ServiceIP[1].Address != "10.30.0.10" {
					t.Errorf("%s: entry %+v", r.QueryKey, i)
				}
			}
		}
		if r := other.Net().Ask("", "10.30.9.9"); r.AppName != "" || len(r.Entries) != 0 {
			t.Errorf("nobody has it: %+v", r)
		}

		m.stop()
		m.root.mu.Lock()
		clear(m.root.facts)
		m.root.mu.Unlock()
		m.start()
		m.reaches(0, instance.Running, nil)
		e.wants(t, 1)

		m.assign(0, 7, true)
		m.gone(0)
		if n := len(e.Tasks()) + len(other.Tasks()); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// Every deploy is taken twice: the second is answered with FAILED, which is no
// failure.
func TestDeploysTwice(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		e := StartEngine(t, g, m.http, "vm", "m1", true)
		e.Double(true)
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, nil)
		testkit.Eventually(t, long, func() error {
			if _, refused := e.Counts(); refused == 0 {
				return fmt.Errorf("nothing was refused yet")
			}
			return nil
		})
		m.assign(1, 7, false) // what comes after the refusal
		m.reaches(1, instance.Running, nil)
		if f := m.facts(0); f.Placement.Try != 1 || f.Observed.State != instance.Running {
			t.Errorf("%+v", f)
		}
		if n, _ := e.Counts(); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}

// A start of the agent removes what ran; it is the same worker, and the same
// instance is tried again on it, with nowhere else to go.
func TestAgentStartsAgain(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		e := StartEngine(t, g, m.http, "vm", "m1", true)
		subnet := e.Net().Subnet
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, nil)
		e.Kill()
		e = StartEngine(t, g, m.http, "vm", "m1", true)
		if e.ID != "vm" || e.Net().Subnet != subnet {
			t.Fatalf("it came back as %q with %s", e.ID, e.Net().Subnet)
		}
		m.reaches(0, instance.Running, func(f fleet.Facts) bool { return f.Placement.Try == 2 })
		e.wants(t, 1)
		m.assign(0, 9, false) // another revision, in the place of this one
		m.reaches(0, instance.Running, func(f fleet.Facts) bool { return f.Grant == 9 && f.Observed.Epoch.Grant == 9 })
		e.wants(t, 2)
	})
}

// What runs once and ends with 0 is done, whatever the word; with 1 it is tried
// again.
func TestRunsOnce(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		e := StartEngine(t, g, m.http, "vm", "m1", true)
		m.oneShot = true
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, nil)
		e.Exit(1)
		m.reaches(0, instance.Running, func(f fleet.Facts) bool { return f.Placement.Try == 2 })
		e.Exit(0)
		m.reaches(0, instance.Completed, nil)
		m.stop()
		m.start()
		m.assign(1, 8, false)
		m.reaches(1, instance.Running, nil) // so that it would have been started too
		m.reaches(0, instance.Completed, func(f fleet.Facts) bool { return f.Placement.Try == 2 })
		if n, _ := e.Counts(); n != 3 {
			t.Errorf("%d starts", n)
		}
	})
}

// What ends on one worker goes on on the other.
func TestEndsElsewhere(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		a := StartEngine(t, g, m.http, "a", "m1", true)
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, nil)
		b := StartEngine(t, g, m.http, "b", "m2", false)
		bNet := startNetManager(t, g, m.mqtt, b.ID)
		defer bNet.client.Disconnect(0)
		a.Exit(1)
		m.reaches(0, instance.Running, func(f fleet.Facts) bool { return f.Placement.Node == "b" && f.Placement.Try == 2 })
		b.wants(t, 1)
		if len(a.Tasks()) != 0 {
			t.Errorf("a still has %v", a.Tasks())
		}
		m.assign(0, 9, true)
		m.gone(0)
		if len(b.Tasks())+len(a.Tasks()) != 0 {
			t.Errorf("left: %v %v", a.Tasks(), b.Tasks())
		}
	})
}
