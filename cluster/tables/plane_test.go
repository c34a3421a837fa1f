package tables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// closed says whether a Leave has returned.
func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestQueryTellsTheHostFirst: the asker gets table and answer only after the
// host's NetManager has the asker's record in its kernel.
func TestQueryTellsTheHostFirst(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 1)
	r.plane.setService(s)
	host, asker := r.node(0), r.node(1)
	host.report()
	asker.report()
	host.deploy(host.ep(s, 0, 0, 1))
	r.calm()

	asker.ask(nodelink.TableQuery{Address: s.Address, Key: "10.30.1.1"})
	if len(asker.queue) != 0 {
		t.Fatalf("asker was served before the host: %+v", asker.queue)
	}
	host.deliver()
	if _, ok := host.peers["n1"]; !ok {
		t.Fatal("the host does not know the asker")
	}
	asker.deliver()
	if len(asker.answers) != 1 || !asker.answers[0].Known || asker.answers[0].Key != "10.30.1.1" {
		t.Fatalf("answers = %+v", asker.answers)
	}
	if got := asker.answers[0]; got.Version != asker.version || len(got.Service.Entries) != 1 {
		t.Fatalf("answer %+v, applied version %d", got, asker.version)
	}
	if len(asker.tables["s1"].Entries) != 1 || asker.peers["n0"].Subnet != subnet26(0) {
		t.Fatalf("asker holds %+v %+v", asker.tables, asker.peers)
	}
}

// TestQueryDoesNotWaitForEver: a host that does not acknowledge delays the
// answer by 500 ms, not more.
func TestQueryDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 1)
	r.plane.setService(s)
	host, asker := r.node(0), r.node(1)
	host.report()
	asker.report()
	host.deploy(host.ep(s, 0, 0, 1))
	r.calm()
	host.queue = nil

	asker.ask(nodelink.TableQuery{Name: s.Name.String(), Key: s.Name.String()})
	r.pass(hostsWait - time.Millisecond)
	asker.deliver()
	if len(asker.answers) != 0 {
		t.Fatal("answered without waiting for the host")
	}
	r.pass(time.Millisecond)
	asker.deliver()
	if len(asker.answers) != 1 {
		t.Fatalf("answers after 500 ms = %+v", asker.answers)
	}
}

// TestQueryByInstanceAddress: a slot's address finds its service.
func TestQueryByInstanceAddress(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	a := r.node(0)
	a.report()
	a.ask(nodelink.TableQuery{Address: s.Instances[1], Key: s.Instances[1].String()})
	a.deliver()
	if len(a.answers) != 1 || a.answers[0].Service.Service != s.ID {
		t.Fatalf("answers = %+v", a.answers)
	}
}

// TestUnknownService: the root is asked, silence is answered after 300 ms, and
// a late answer of the root is passed on.
func TestUnknownService(t *testing.T) {
	r := newRig(t, nil)
	a := r.node(0)
	a.report()
	q := nodelink.TableQuery{Address: netip.MustParseAddr("10.30.7.7"), Key: "10.30.7.7"}
	a.ask(q)
	if i, ok := r.outward["10.30.7.7"]; !ok || len(i.Peers) != 1 || i.Peers[0].Node != "n0" {
		t.Fatalf("the root was not asked: %+v", r.asked)
	}
	r.pass(unknownWait)
	a.deliver()
	if len(a.answers) != 1 || a.answers[0].Known || a.answers[0].Key != "10.30.7.7" {
		t.Fatalf("answers = %+v", a.answers)
	}
	s := service(7, 0)
	r.plane.rootTable(RootTable{
		Query: "10.30.7.7", Known: true, Service: s.ID, Name: s.Name, Address: q.Address,
		Slices: []RootSlice{{Cluster: "c9", Endpoints: []SliceEndpoint{{
			NamespaceIP: inSubnet(50, 2), InstanceAddress: netip.MustParseAddr("10.30.9.9"), Node: "far",
			HostIP: underlay(70), HostPort: 50103, Subnet: subnet26(50), Dataplane: model.DataplaneVXLAN,
		}}}},
	}, r.now)
	r.step()
	a.deliver()
	if len(a.answers) != 2 || !a.answers[1].Known {
		t.Fatalf("answers = %+v", a.answers)
	}
	if _, ok := a.peers["c9/far"]; !ok {
		t.Fatalf("peers = %+v", a.peers)
	}
}

// TestRootSaysUnknown: then the answer needs no 300 ms, now and for 5 s.
func TestRootSaysUnknown(t *testing.T) {
	r := newRig(t, nil)
	a := r.node(0)
	a.report()
	a.ask(nodelink.TableQuery{Name: "a.b.c.d", Key: "a.b.c.d"})
	r.plane.rootTable(RootTable{Query: "a.b.c.d"}, r.now)
	r.step()
	a.deliver()
	a.ask(nodelink.TableQuery{Name: "a.b.c.d", Key: "a.b.c.d"})
	a.deliver()
	if len(a.answers) != 2 || a.answers[0].Known || a.answers[1].Known {
		t.Fatalf("answers = %+v", a.answers)
	}
	r.pass(lateWait)
	if _, ok := r.outward["a.b.c.d"]; ok {
		t.Fatal("the root still pushes a service nobody asks for")
	}
}

// TestLeave: the endpoint leaves the tables, its peer record stays, and the
// wait ends with the acknowledgements of those who balance over it.
func TestLeave(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	host, other, client := r.node(0), r.node(1), r.node(2)
	for _, a := range []*agent{host, other, client} {
		a.report()
	}
	e := host.ep(s, 0, 0, 1)
	host.deploy(e)
	other.deploy(other.ep(s, 1, 0, 1))
	client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: "x"})
	r.calm()
	if got := len(client.tables["s1"].Entries); got != 2 {
		t.Fatalf("client balances over %d", got)
	}
	done := make(chan struct{})
	r.plane.leave(attempt(e), done, r.now)
	r.step()
	client.deliver()
	host.deliver()
	if closed(done) {
		t.Fatal("leave did not wait for the other host")
	}
	other.deliver()
	if !closed(done) {
		t.Fatal("leave waits although everybody has acknowledged")
	}
	if got := client.tables["s1"].Entries; len(got) != 1 || got[0].Number != 1 {
		t.Fatalf("client balances over %+v", got)
	}
	if _, ok := client.peers["n0"]; !ok {
		t.Fatal("the leaving host is no peer any more while flows drain")
	}
	r.plane.gone(attempt(e), r.now)
	host.endpoints = nil
	host.say(nodelink.Inbound{Deployed: &e}) // was on its way
	r.calm()
	if got := client.tables["s1"].Entries; len(got) != 1 {
		t.Fatalf("a late report brought it back: %+v", got)
	}
}

// TestLeaveEnds: with a silent client after 2 s, with an unknown attempt at once.
func TestLeaveEnds(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 1)
	r.plane.setService(s)
	host, client := r.node(0), r.node(1)
	host.report()
	client.report()
	e := host.ep(s, 0, 0, 1)
	host.deploy(e)
	client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: "x"})
	r.calm()
	done := make(chan struct{})
	r.plane.leave(attempt(e), done, r.now)
	r.step()
	host.deliver()
	r.pass(leaveWait - time.Millisecond)
	if closed(done) {
		t.Fatal("leave did not wait")
	}
	r.pass(time.Millisecond)
	if !closed(done) {
		t.Fatal("leave waits for ever")
	}
	unknown := make(chan struct{})
	r.plane.leave(instance.Attempt{Instance: model.InstanceID{Service: "nope", Number: 3}}, unknown, r.now)
	if !closed(unknown) {
		t.Fatal("leaving what is unknown waits")
	}
}

// TestGate: after a restart nothing is taken away from anybody before all who
// have a subnet have reported, or 10 s have passed.
func TestGate(t *testing.T) {
	book := map[model.NodeID]netip.Prefix{"n0": subnet26(0), "n1": subnet26(1), "n2": subnet26(2)}
	for _, c := range []struct {
		name string
		open func(r *rig, last *agent)
	}{
		{"the last one reports", func(_ *rig, last *agent) { last.report() }},
		{"the last one is lost", func(r *rig, last *agent) { r.plane.nodeLiveness(last.id, instance.Lost); r.step() }},
		{"the last one is removed", func(r *rig, last *agent) { r.plane.forgetNode(last.id); r.step() }},
		{"10 s have passed", func(r *rig, _ *agent) {
			r.pass(gateWait - 2*time.Second)
			r.agents["n0"].report()
			r.agents["n1"].report()
			r.pass(time.Second)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, book)
			s := service(1, 1)
			r.plane.setService(s)
			client, host, last := r.node(0), r.node(1), r.node(2)
			client.interests[s.Name.String()] = struct{}{}
			host.endpoints = []nodelink.Endpoint{host.ep(s, 0, 0, 1)}
			client.report()
			client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: "x"})
			host.report()
			r.pass(time.Second)
			if len(client.queue) != 0 || len(r.slices) != 0 {
				t.Fatalf("pushed before everybody reported: %+v %+v", client.queue, r.slices)
			}
			c.open(r, last)
			r.pass(0)
			client.deliver()
			host.deliver()
			client.deliver()
			if len(client.tables["s1"].Entries) != 1 || len(r.slices) != 1 {
				t.Fatalf("client holds %+v, slices %+v", client.tables, r.slices)
			}
			if len(client.answers) != 1 || !client.answers[0].Known {
				t.Fatalf("held query: %+v", client.answers)
			}
		})
	}
}

// TestSurvivingSession: an outside broker keeps sessions over a restart of the
// manager; the worker is made to send its snapshot.
func TestSurvivingSession(t *testing.T) {
	r := newRig(t, map[model.NodeID]netip.Prefix{"n0": subnet26(0)})
	a := r.node(0)
	a.hungry, a.epoch, a.version = false, "older", 17
	a.report()
	a.deliver()
	if !a.hungry {
		t.Fatal("nothing made the worker report in full")
	}
	a.report()
	a.deliver()
	if a.snapshots != 1 || a.epoch != r.plane.epoch {
		t.Fatalf("snapshots %d epoch %s", a.snapshots, a.epoch)
	}
}

// TestWholeReports: an endpoint whose message was lost is found in the next
// whole report; a worker that has all of ours is sent nothing for it.
func TestWholeReports(t *testing.T) {
	r := newRig(t, map[model.NodeID]netip.Prefix{"n0": subnet26(0)})
	s := service(1, 1)
	r.plane.setService(s)
	a := r.node(0)
	r.calm()
	a.endpoints = append(a.endpoints, a.ep(s, 0, 0, 1)) // nobody heard of it
	for _, changed := range []bool{true, false} {
		had := a.version
		for range 3 {
			a.hungry = true
			a.report()
			a.deliver()
			r.pass(2 * time.Second)
		}
		if got := len(a.tables[s.ID].Entries); got != 1 || (a.version != had) != changed {
			t.Fatalf("%d entries, version %d after %d, want changed=%v", got, a.version, had, changed)
		}
	}
	sent := a.snapshots
	a.hungry = true
	a.report()
	a.deliver()
	if a.snapshots != sent {
		t.Error("a worker that has everything was sent everything")
	}
	a.hungry, a.version = true, 0 // a new process without its file
	a.report()
	a.deliver()
	if a.snapshots != sent+1 {
		t.Error("a worker that has nothing was not sent everything")
	}
}

// TestLostNode is masked while another endpoint lives, and only then.
func TestLostNode(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	a, b := r.node(0), r.node(1)
	a.report()
	b.report()
	a.deploy(a.ep(s, 0, 0, 1))
	b.deploy(b.ep(s, 1, 0, 1))
	numbers := func() (out []int) {
		for _, e := range r.plane.table(s.ID, model.DataplaneVXLAN).Entries {
			out = append(out, e.Number)
		}
		return out
	}
	r.plane.nodeLiveness("n0", instance.Lost)
	if got := numbers(); len(got) != 1 || got[0] != 1 {
		t.Fatalf("with one lost: %v", got)
	}
	r.plane.nodeLiveness("n1", instance.Lost)
	if got := numbers(); len(got) != 2 {
		t.Fatalf("with all lost: %v", got)
	}
	r.plane.nodeLiveness("n0", instance.Alive)
	if got := numbers(); len(got) != 1 || got[0] != 0 {
		t.Fatalf("after one returned: %v", got)
	}
}

// TestOriginal: answers in order, bells on change, no endpoints of the other
// data plane.
func TestOriginal(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	r.step()
	ours, orig := r.node(0), r.node(1)
	ours.report()
	ours.deploy(ours.ep(s, 0, 0, 1))
	e := nodelink.Endpoint{
		JobName: s.Name.String(), Number: 1, NamespaceIP: inSubnet(1, 2), HostIP: underlay(1), HostPort: 50103,
	}
	// The query right after the deployment must see it.
	orig.say(nodelink.Inbound{Deployed: &e})
	orig.ask(nodelink.TableQuery{Name: s.Name.String(), Key: s.Name.String()})
	orig.deliver()
	if len(orig.answers) != 1 || len(orig.answers[0].Service.Entries) != 1 || orig.answers[0].Service.Entries[0].Number != 1 {
		t.Fatalf("answers = %+v", orig.answers)
	}
	if orig.answers[0].Version != 0 || orig.snapshots != 0 {
		t.Fatal("an original got a NetState")
	}
	before := len(r.rings)
	r.plane.leave(instance.Attempt{
		Instance: model.InstanceID{Service: s.ID, Number: 1}, Epoch: instance.Epoch{Grant: 5, Try: 1},
	}, make(chan struct{}), r.now)
	r.step()
	if len(r.rings) != before+1 || !r.rings[before].Removed || r.rings[before].JobName != s.Name.String() {
		t.Fatalf("rings = %+v", r.rings)
	}
	r.plane.gone(instance.Attempt{
		Instance: model.InstanceID{Service: s.ID, Number: 1}, Epoch: instance.Epoch{Grant: 5, Try: 1},
	}, r.now)
	if n := len(r.plane.workers["n1"].endpoints); n != 0 {
		t.Fatalf("%d endpoints after Gone", n)
	}
	orig.say(nodelink.Inbound{Deployed: &e}) // the next try, at the same address
	if got := r.plane.table(s.ID, model.DataplaneOriginal).Entries; len(got) != 1 {
		t.Fatalf("the next try is not listed: %+v", got)
	}
	// The pseudo interest in an address ends after 10 s; that in the name stays.
	orig.say(nodelink.Inbound{Uninterest: &nodelink.Uninterest{Name: s.Address.String()}})
	if !r.plane.watchers.has(s.ID, "n1") {
		t.Fatal("interest lost")
	}
	orig.say(nodelink.Inbound{Uninterest: &nodelink.Uninterest{Name: s.Name.String()}})
	if r.plane.watchers.has(s.ID, "n1") {
		t.Fatal("interest stays")
	}
}

// TestSubnets: asked without a block says why, saved before answered, sticky,
// freed by removal, claimed by a worker that holds one.
func TestSubnets(t *testing.T) {
	r := newRig(t, nil)
	r.pass(claimingTime)
	if r.blocks == 0 {
		t.Fatal("no block was asked for")
	}
	a, b := r.node(0), r.node(1)
	bare := func(a *agent) {
		a.say(nodelink.Inbound{Net: &nodelink.NetReport{Snapshot: true, Dataplane: model.DataplaneVXLAN}})
		a.say(nodelink.Inbound{Subnet: &nodelink.SubnetRequest{}})
		a.deliver()
	}
	bare(a)
	if len(a.subnets) != 1 || a.subnets[0].Error == "" || a.subnets[0].Subnet.IsValid() {
		t.Fatalf("answers without a block: %+v", a.subnets)
	}
	r.plane.setBlocks([]netip.Prefix{netip.MustParsePrefix("10.20.4.0/22")})
	r.step()
	a.deliver()
	if len(a.subnets) != 1 || len(r.plane.subnets.jobs) != 1 {
		t.Fatalf("answered before saved: %+v", a.subnets)
	}
	save := func(err error) {
		jobs := r.plane.subnets.jobs
		r.plane.subnets.jobs = nil
		for _, j := range jobs {
			r.plane.saved(j, err, r.now)
		}
		r.step()
	}
	save(errors.New("disk full"))
	a.deliver()
	r.pass(saveRetry)
	save(nil)
	a.deliver()
	first := netip.MustParsePrefix("10.20.4.0/26")
	if got := a.subnets[len(a.subnets)-1]; got.Subnet != first {
		t.Fatalf("subnet = %+v", got)
	}
	bare(b)
	save(nil)
	b.deliver()
	if got := b.subnets[len(b.subnets)-1].Subnet; got != netip.MustParsePrefix("10.20.4.64/26") {
		t.Fatalf("second subnet = %s", got)
	}
	a.say(nodelink.Inbound{Subnet: &nodelink.SubnetRequest{}})
	a.deliver()
	if got := a.subnets[len(a.subnets)-1].Subnet; got != first {
		t.Fatalf("asked again: %s", got)
	}
	r.plane.forgetNode(a.id)
	r.step()
	c := r.node(2)
	bare(c)
	save(nil)
	c.deliver()
	if got := c.subnets[len(c.subnets)-1].Subnet; got != first {
		t.Fatalf("freed subnet not used again: %s", got)
	}
	d := r.node(9)
	d.report() // it holds a subnet that no book knows
	save(nil)
	if got := r.plane.subnets.book[d.id]; got != subnet26(9) {
		t.Fatalf("claim = %s", got)
	}
	thief := r.node(8) // it says it has what b was given
	thief.say(nodelink.Inbound{Net: &nodelink.NetReport{
		Snapshot: true, Dataplane: model.DataplaneVXLAN, Subnet: netip.MustParsePrefix("10.20.4.64/26"),
	}})
	if w := r.plane.workers[thief.id]; w.subnet.IsValid() || w.reachable() {
		t.Fatalf("a second worker is announced with %s", w.subnet)
	}
	save(nil) // it is offered one of its own, until it takes it
	for range 2 {
		thief.subnets = nil
		thief.say(nodelink.Inbound{Net: &nodelink.NetReport{Dataplane: model.DataplaneVXLAN, Subnet: netip.MustParsePrefix("10.20.4.64/26")}})
		thief.deliver()
		if len(thief.subnets) == 0 || thief.subnets[0].Subnet != netip.MustParsePrefix("10.20.4.128/26") {
			t.Fatalf("a worker that lost its subnet is offered %+v", thief.subnets)
		}
	}
}

// TestPendingEndpoints: while nothing listens in it, an instance is in no table
// of a service that another one serves, and a new attempt does not displace the
// old one.
func TestPendingEndpoints(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	host, other, client := r.node(0), r.node(1), r.node(2)
	for _, a := range []*agent{host, other, client} {
		a.report()
	}
	client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: "x"})
	listed := func(what string, want ...string) {
		t.Helper()
		r.calm()
		var got, sent []string
		for _, e := range client.tables[s.ID].Entries {
			got = append(got, fmt.Sprintf("%d on %s", e.Number, e.Node))
		}
		for _, e := range r.slices[len(r.slices)-1].Endpoints {
			if !e.Unlisted {
				sent = append(sent, fmt.Sprintf("%d on %s", e.Number, e.Node))
			}
		}
		if !slices.Equal(got, want) || !slices.Equal(sent, want) {
			t.Errorf("%s: table %v, slice %v, want %v", what, got, sent, want)
		}
	}
	say := func(a *agent, number int, try uint32, pending bool) {
		e := a.ep(s, number, number, try)
		e.Pending = pending
		a.deploy(e)
	}
	say(host, 0, 1, true)
	listed("the first has nobody to wait for", "0 on n0")
	say(host, 0, 1, false)
	say(other, 1, 1, true)
	listed("the second waits", "0 on n0")
	if len(client.peers["n1"].Identities) == 0 && len(host.peers["n1"].Identities) == 0 {
		t.Error("nobody knows who it is, should it be a client")
	}
	say(other, 1, 1, false)
	listed("it listens", "0 on n0", "1 on n1")
	say(other, 0, 2, true)
	listed("the next attempt of the first starts", "0 on n0", "1 on n1")
	say(other, 0, 2, false)
	listed("and takes over", "0 on n1", "1 on n1")
}

// TestResend: a state that was lost is sent again, in full, when reports go on
// without it.
func TestResend(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 1)
	r.plane.setService(s)
	a := r.node(0)
	a.report()
	r.calm()
	a.deploy(a.ep(s, 0, 0, 1))
	a.queue = nil
	before := a.snapshots
	r.pass(resendMin)
	a.report()
	a.deliver()
	if a.snapshots != before+1 || len(a.tables["s1"].Entries) != 1 {
		t.Fatalf("snapshots %d, holds %+v", a.snapshots-before, a.tables)
	}
}

// TestInterestBeforeService: an interest in a name that nobody knows yet is
// kept at the root, becomes one in the service when that appears, and ends with
// the worker's.
func TestInterestBeforeService(t *testing.T) {
	r := newRig(t, nil)
	a := r.node(0)
	early, never := service(1, 0), "no.such.service.here"
	a.interests[early.Name.String()], a.interests[never] = struct{}{}, struct{}{}
	a.report()
	if len(r.outward) != 2 {
		t.Fatalf("the root was asked for %v", r.outward)
	}
	r.plane.setService(early)
	r.calm()
	if _, ok := a.tables[early.ID]; !ok {
		t.Fatal("the interest was forgotten")
	}
	delete(a.interests, never)
	a.hungry = true
	a.report()
	if _, ok := r.outward[never]; ok || len(r.outward) != 1 {
		t.Fatalf("left at the root: %v", r.outward)
	}
	a.say(nodelink.Inbound{Uninterest: &nodelink.Uninterest{Name: early.Name.String()}})
	a.deliver()
	if len(r.outward) != 0 || len(a.tables) != 0 {
		t.Fatalf("after the interest ended: root %v, worker %v", r.outward, a.tables)
	}
}

// TestSlicesOfServicesThatAreGone: nothing is kept of a slice without
// endpoints, and its versions still never go back.
func TestSlicesOfServicesThatAreGone(t *testing.T) {
	r := newRig(t, nil)
	a := r.node(0)
	a.report()
	newest := map[model.ServiceID]uint64{}
	for round := range 3 {
		for i := range 20 {
			s := service(i, 1)
			r.plane.setService(s)
			e := a.ep(s, 0, i, uint32(round+1))
			a.deploy(e)
			r.calm()
			a.undeploy(e)
			r.calm()
			r.plane.forgetService(s.ID)
			r.calm()
		}
	}
	for _, sl := range r.slices {
		if sl.Version <= newest[sl.Service] {
			t.Fatalf("service %s went from version %d to %d", sl.Service, newest[sl.Service], sl.Version)
		}
		newest[sl.Service] = sl.Version
	}
	if len(r.slices) != 120 || len(newest) != 20 || len(r.plane.slices) != 0 {
		t.Errorf("%d slices of %d services were sent, want 120 of 20; %d are kept", len(r.slices), len(newest), len(r.plane.slices))
	}
}

// TestOddMessages: messages of nodes without a record, empty ones and doubled
// ones change nothing and break nothing.
func TestOddMessages(t *testing.T) {
	r := newRig(t, nil)
	for _, in := range []nodelink.Inbound{
		{}, {Serving: &nodelink.Serving{}}, {Node: "ghost"},
		{Node: "ghost", Ack: &nodelink.NetAck{Version: 1 << 60}},
		{Node: "ghost", Undeployed: &nodelink.Endpoint{JobName: "x"}},
		{Node: "ghost", Uninterest: &nodelink.Uninterest{Name: "x"}},
		{Node: "ghost", Net: &nodelink.NetReport{Applied: 1 << 60, Subnet: netip.MustParsePrefix("10.18.0.0/8")}},
		{Node: "ghost", Subnet: &nodelink.SubnetRequest{}},
	} {
		r.plane.handle(in, r.now)
		r.step()
	}
	r.plane.forgetNode("nobody")
	r.plane.nodeLiveness("nobody", instance.Lost)
	r.plane.gone(instance.Attempt{}, r.now)
	r.plane.forgetNode("ghost")
	r.pass(time.Minute)
	if len(r.plane.workers) != 0 || len(r.plane.subnets.used) != 0 {
		t.Fatalf("left behind: %v %v", r.plane.workers, r.plane.subnets.used)
	}
}

// TestAbroad: a second worker that asks for a service of another cluster is
// answered once the root has told that cluster of it.
func TestAbroad(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 0)
	first, second := r.node(0), r.node(1)
	first.report()
	second.report()
	table := RootTable{
		Query: s.Name.String(), Known: true, Service: s.ID, Name: s.Name, Address: s.Address,
		Slices: []RootSlice{{Cluster: "c2", Endpoints: []SliceEndpoint{{
			NamespaceIP: inSubnet(50, 2), InstanceAddress: netip.MustParseAddr("10.30.9.9"), Node: "far",
			HostIP: underlay(70), HostPort: 50103, Subnet: subnet26(50), Dataplane: model.DataplaneVXLAN,
		}}}},
	}
	q := nodelink.TableQuery{Name: s.Name.String(), Key: s.Name.String()}
	first.ask(q)
	r.plane.rootTable(table, r.now)
	r.step()
	first.deliver()
	if len(first.answers) != 1 {
		t.Fatalf("first: %+v", first.answers)
	}
	second.ask(q)
	second.deliver()
	if peers := r.outward[q.Name].Peers; len(second.answers) != 0 || len(peers) != 2 {
		t.Fatalf("answered %v, root knows %d", second.answers, len(peers))
	}
	r.plane.rootTable(table, r.now)
	r.step()
	second.deliver()
	if len(second.answers) != 1 || !second.answers[0].Known {
		t.Fatalf("second: %+v", second.answers)
	}
}
