package netmanager

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/netmanager/local"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/table"
	"oakestra/pkg/errs"
)

func bubble(t *testing.T, fn func(*testing.T, *rig)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, dir, newKernel())
		fn(t, r)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeployAnswersOnceTheRulesAreIn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		if a != addr("10.18.0.66") {
			t.Errorf("address = %s", a)
		}
		got, _ := r.kernel.service("10.30.30.30")
		equal(t, "backends", got, []netip.Addr{a})
		deployed := func(m Outbound) bool { return m.Deployed != nil }
		if again := r.deploy(request("a.n.s.n", 100)); again != a || r.cluster.count(deployed) != 1 {
			t.Errorf("the same attempt again: %s, told the cluster %d times", again, r.cluster.count(deployed))
		}
		_, err := r.daemon.Register(t.Context(), local.Registration{Node: "other", Cluster: "c"})
		if !errors.Is(err, errs.Invalid) {
			t.Errorf("another id: %v", err)
		}
	})
}

func TestRemovalFreesTheAddressAfterAWhile(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		if err := r.daemon.Undeploy(t.Context(), local.Removal{Name: "a.n.s.n", Grant: 4, Try: 1}); err != nil || len(r.kernel.names()) != 1 {
			t.Errorf("another attempt's removal: %v, %d attached", err, len(r.kernel.names()))
		}
		if err := r.daemon.Undeploy(t.Context(), local.Removal{Name: "a.n.s.n", Grant: 5, Try: 1}); err != nil {
			t.Fatal(err)
		}
		var forgotten []netip.Addr
		r.kernel.with(func() { forgotten = r.kernel.forgotten })
		equal(t, "forgotten", forgotten, []netip.Addr{a})
		if len(r.kernel.names()) != 0 {
			t.Errorf("attached %v", r.kernel.names())
		}
		if _, ok := r.kernel.service("10.30.30.30"); ok {
			t.Error("the service is still in the rules")
		}
		for i := range 60 { // all others of the /26
			if b := r.deploy(request("a.n.s.n", 200+i)); b == a {
				t.Fatal("a resting address was given out")
			}
			if err := r.daemon.Undeploy(t.Context(), local.Removal{Name: "a.n.s.n"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.daemon.Deploy(t.Context(), request("a.n.s.n", 999)); !errors.Is(err, errs.Exhausted) {
			t.Errorf("a full subnet: %v", err)
		}
		wait(61 * time.Second)
		r.deploy(request("a.n.s.n", 999))
	})
}

func TestHostPortsOfTwoServicesClash(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		p := plan.Port{Protocol: "tcp", Host: 6080, Container: 60}
		r.deploy(request("a.n.s.n", 100, p))
		if _, err := r.daemon.Deploy(t.Context(), request("b.n.s.n", 101, p)); !errors.Is(err, errs.Conflict) {
			t.Errorf("error = %v", err)
		}
		second := request("a.n.s.n", 102, p)
		second.Endpoint.Instance = 1
		r.deploy(second)
	})
}

func TestFailedAttachLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.kernel.with(func() { r.kernel.broken = errKernel })
		if _, err := r.daemon.Deploy(t.Context(), request("a.n.s.n", 100)); !errors.Is(err, errKernel) {
			t.Errorf("error = %v", err)
		}
		wait(2 * time.Second)
		r.kernel.with(func() { r.kernel.broken = nil })
		r.deploy(request("a.n.s.n", 100))
		if len(r.kernel.names()) != 1 {
			t.Errorf("attached: %v", r.kernel.names())
		}
	})
}

func TestARefusingKernelFailsTheDeployAndIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.kernel.with(func() { r.kernel.refuse = errKernel })
		if _, err := r.daemon.Deploy(t.Context(), request("a.n.s.n", 100)); !errors.Is(err, errKernel) {
			t.Errorf("error = %v", err)
		}
		r.kernel.with(func() { r.kernel.refuse = nil })
		wait(3 * time.Second)
		if len(r.kernel.names()) != 0 {
			t.Errorf("attached: %v", r.kernel.names())
		}
		if err := r.daemon.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRestartAdoptsAndPrunesWhatIsGone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		r := start(t, dir, k)
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		r.deploy(request("b.n.s.n", 101))
		_ = r.stop()
		k.with(func() { k.dead[101] = true })
		r = start(t, dir, k)
		defer func() { _ = r.stop() }()
		wait(2 * time.Second)
		if len(k.names()) != 1 {
			t.Errorf("attached after the restart: %v", k.names())
		}
		if b := r.deploy(request("a.n.s.n", 100)); b != a {
			t.Errorf("address after the restart %s, before %s", b, a)
		}
	})
}

func remote(version uint64) table.Table {
	return table.Table{Service: "far", Name: "f.n.s.n", Address: addr("10.30.7.7"), Entries: []table.Entry{
		{Address: addr("10.30.7.8"), Namespace: addr("10.18.4.2"), Node: "n2"},
	}}
}

func TestUnknownAddressIsAskedOnceAndReleasedWithItsVersion(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.say(snapshot(1))
		a := addr("10.30.7.7")
		asked := func(m Outbound) bool { return m.Query != nil && m.Query.Address == a }
		r.kernel.unknown <- a
		r.kernel.unknown <- a
		synctest.Wait()
		if n := r.cluster.count(asked); n != 1 {
			t.Errorf("asked %d times", n)
		}
		r.say(Inbound{Result: &Result{Key: "10.30.7.7", Known: true, Version: 2, Table: table.Table{Name: "f.n.s.n"}}})
		if len(r.kernel.answers(a)) != 0 {
			t.Error("released before the version is in the kernel")
		}
		r.say(Inbound{Change: &table.Change{Epoch: "e", Base: 1, Version: 2, Tables: []table.Table{remote(2)}}})
		if got := r.kernel.answers(a); len(got) != 1 || !got[0] {
			t.Errorf("released %v", got)
		}
		if n := r.cluster.count(func(m Outbound) bool { return m.Ack != nil && m.Ack.Version == 2 }); n != 1 {
			t.Errorf("acknowledged %d times", n)
		}
		wait(6 * time.Minute)
		if n := r.cluster.count(func(m Outbound) bool { return m.Uninterest == "f.n.s.n" }); n != 1 {
			t.Errorf("interest ended %d times", n)
		}
	})
}

func TestUnknownAddressesAreDeniedForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		a := addr("10.30.99.99")
		asked := func(m Outbound) bool { return m.Query != nil && m.Query.Address == a }
		r.kernel.unknown <- a
		r.say(Inbound{Result: &Result{Key: "10.30.99.99"}})
		r.kernel.unknown <- a
		synctest.Wait()
		if got := r.kernel.answers(a); len(got) != 2 || got[0] || got[1] || r.cluster.count(asked) != 1 {
			t.Errorf("released %v, asked %d times", got, r.cluster.count(asked))
		}
		wait(6 * time.Second)
		r.kernel.unknown <- a // nobody answers
		wait(4 * time.Second)
		if got := r.kernel.answers(a); len(got) != 3 || got[2] || r.cluster.count(asked) != 2 {
			t.Errorf("released %v, asked %d times", got, r.cluster.count(asked))
		}
	})
}

func TestAGapAsksForASnapshotAndKeepsTheTables(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.say(snapshot(1, remote(1)))
		full := func(m Outbound) bool { return m.Report != nil && m.Report.Snapshot }
		before := r.cluster.count(full)
		r.say(Inbound{Change: &table.Change{Epoch: "e", Base: 4, Version: 5, GoneTables: []string{"far"}}})
		if r.cluster.count(full) != before+1 {
			t.Error("no snapshot was asked for")
		}
		if got, _ := r.kernel.service("10.30.7.7"); len(got) != 1 {
			t.Errorf("backends = %v", got)
		}
	})
}

// A broker may lose what was said in the middle of a session: everything is
// said again from time to time.
func TestEverythingIsSaidAgainFromTimeToTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		whole := func(m Outbound) bool {
			return m.Report != nil && m.Report.Snapshot && len(m.Report.Endpoints) == 1 && m.Report.Endpoints[0].Namespace == a
		}
		before := r.cluster.count(whole)
		wait(2 * time.Minute)
		if got := r.cluster.count(whole) - before; got < 3 || got > 5 {
			t.Errorf("%d whole reports in two minutes, want one each 30 s", got)
		}
	})
}

func TestAnEndpointTheClusterTakesOutGetsNoNewFlows(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		own := table.Table{Service: "id-a.n.s.n", Name: "a.n.s.n", Address: addr("10.30.30.30")}
		r.say(snapshot(1, own))
		got, _ := r.kernel.service("10.30.30.30")
		equal(t, "before the cluster lists it", got, []netip.Addr{a})
		listed := own
		listed.Entries = []table.Entry{{Address: addr("10.30.0.9"), Namespace: a, Node: "n1"}}
		r.say(snapshot(2, listed))
		r.say(snapshot(3, own))
		got, _ = r.kernel.service("10.30.30.30")
		equal(t, "after it was taken out", got, nil)
	})
}

func TestTheUnderlayMovesUnderRunningContainers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.kernel.with(func() { r.kernel.underlay = addr("127.0.0.1") })
		wait(16 * time.Second)
		r.register()
		a := r.deploy(request("a.n.s.n", 100))
		before := r.kernel.names()
		r.kernel.with(func() { r.kernel.underlay = addr("198.51.100.7") })
		wait(16 * time.Second)
		if got := r.kernel.node().HostIP; got != addr("198.51.100.7") {
			t.Errorf("underlay in the rules: %s", got)
		}
		told := func(m Outbound) bool { return m.Report != nil && m.Report.HostIP == addr("198.51.100.7") }
		if r.cluster.count(told) == 0 {
			t.Error("the cluster was not told")
		}
		if !slices.Equal(before, r.kernel.names()) || r.deploy(request("a.n.s.n", 100)) != a {
			t.Errorf("attached %v, before %v", r.kernel.names(), before)
		}
	})
}
