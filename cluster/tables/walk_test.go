package tables

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// walk is the model of the random walk: what is true in the world, kept apart
// from what the plane believes.
type walk struct {
	*rig
	services map[int]Service
	foreign  map[int]RootTable
	lost     map[model.NodeID]bool
	left     []instance.Attempt
}

// TestWalk: after any sequence of events, messages lost on the way included,
// once everybody has reported and applied, each worker holds exactly what a
// manager that starts from nothing but the reports would tell it, and
// the root knows exactly the slices that follow.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &walk{
			rig: newRig(t, nil), services: map[int]Service{}, foreign: map[int]RootTable{},
			lost: map[model.NodeID]bool{},
		}
		for i := range 4 {
			w.node(i).report()
		}
		steps := rapid.IntRange(1, 60).Draw(rt, "steps")
		for range steps {
			w.act(rt)
		}
		w.calm()
		fresh := w.fromScratch()
		for _, id := range sorted(w.agents) {
			if d := same(t, w.agents[id], fresh.desired(id)); d != "" {
				rt.Fatalf("%s does not hold what it should (-want +got):\n%s", id, d)
			}
		}
		for i := range 4 {
			s := service(i, 3).ID
			if got, want := w.lastSlice(s), fresh.slice(s); !slices.Equal(got, want) {
				rt.Fatalf("slice of %s at the root: got %v want %v", s, got, want)
			}
		}
	})
}

func (w *walk) lastSlice(s model.ServiceID) []SliceEndpoint {
	for _, v := range slices.Backward(w.slices) {
		if v.Service == s {
			return v.Endpoints
		}
	}
	return nil
}

func (w *walk) act(rt *rapid.T) {
	a := w.agents[model.NodeID(fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(rt, "node")))]
	i := rapid.IntRange(0, 3).Draw(rt, "service")
	n := rapid.IntRange(0, 2).Draw(rt, "number")
	switch rapid.SampledFrom([]string{
		"service", "forget", "deploy", "deploy", "undeploy", "leave", "gone", "query", "query", "uninterest",
		"deliver", "lose", "report", "restart", "lost", "alive", "root", "unroot", "peers", "time",
	}).Draw(rt, "act") {
	case "service":
		s := service(i, rapid.IntRange(0, 3).Draw(rt, "slots"))
		w.services[i] = s
		w.plane.setService(s)
	case "forget":
		delete(w.services, i)
		w.left = slices.DeleteFunc(w.left, func(a instance.Attempt) bool { return a.Instance.Service == service(i, 0).ID })
		w.plane.forgetService(service(i, 0).ID)
	case "deploy":
		a.deploy(a.ep(service(i, 3), n, rapid.IntRange(0, 4).Draw(rt, "host"), uint32(rapid.IntRange(1, 3).Draw(rt, "try"))))
	case "undeploy":
		if len(a.endpoints) > 0 {
			a.undeploy(a.endpoints[0])
		}
	case "leave":
		if len(a.endpoints) > 0 {
			at := attempt(a.endpoints[0])
			w.left = append(w.left, at)
			w.plane.leave(at, make(chan struct{}), w.now)
		}
	case "gone":
		if len(a.endpoints) > 0 {
			e := a.endpoints[0]
			for _, o := range w.agents { // nothing is left of it anywhere
				o.endpoints = slices.DeleteFunc(o.endpoints, func(x nodelink.Endpoint) bool { return attempt(x) == attempt(e) })
			}
			w.plane.gone(attempt(e), w.now)
		}
	case "query":
		s := service(i, 3)
		a.ask(nodelink.TableQuery{Address: s.Address, Key: s.Address.String()})
	case "uninterest":
		name := service(i, 0).Name.String()
		delete(a.interests, name)
		a.say(nodelink.Inbound{Uninterest: &nodelink.Uninterest{Name: name}})
	case "deliver":
		a.deliver()
	case "lose":
		a.queue = nil
	case "report":
		a.report()
	case "restart":
		a.hungry = true
		a.report()
	case "lost", "alive":
		v := rapid.SampledFrom([]instance.Liveness{instance.Lost, instance.Alive, instance.Suspect}).Draw(rt, "liveness")
		w.lost[a.id] = v == instance.Lost
		w.plane.nodeLiveness(a.id, v)
	case "root":
		w.root(i, n)
	case "unroot":
		delete(w.foreign, i)
		w.plane.rootTable(RootTable{Query: service(i, 0).Name.String()}, w.now)
	case "peers":
		w.plane.rootPeers(service(i, 0).ID, []nodelink.Peer{{
			Node: "c2/x", HostIP: underlay(99), HostPort: 50103, Subnet: subnet26(40), Dataplane: model.DataplaneVXLAN,
			Identities: []nodelink.Identity{{NamespaceIP: inSubnet(40, n+2), InstanceAddress: netip.AddrFrom4([4]byte{10, 30, 9, byte(n + 1)})}},
		}})
	case "time":
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(rt, "ms")) * time.Millisecond)
	}
	w.step()
}

func (w *walk) root(i, n int) {
	s := service(i, 0)
	t := RootTable{
		Query: s.Name.String(), Known: true, Service: s.ID, Name: s.Name, Address: s.Address, Tenant: s.Tenant,
		Slices: []RootSlice{{Cluster: "c2", Version: 1, Endpoints: []SliceEndpoint{{
			Number: n, InstanceAddress: netip.AddrFrom4([4]byte{10, 30, byte(2 + i), byte(n + 1)}), NamespaceIP: inSubnet(41, n+2),
			Node: "y", HostIP: underlay(98), HostPort: 50103, Subnet: subnet26(41), Dataplane: model.DataplaneVXLAN,
		}}}},
	}
	w.foreign[i] = t
	w.plane.rootTable(t, w.now)
}

// fromScratch is the planner of a manager that has just started and heard
// everybody.
func (w *walk) fromScratch() *planner {
	fresh := newRig(w.t, nil)
	p := fresh.plane
	for _, s := range w.services {
		p.setService(s)
	}
	for id, peers := range w.plane.talkers {
		p.talkers[id] = peers
	}
	for _, id := range sorted(w.agents) {
		a := w.agents[id]
		twin := fresh.node(a.index())
		twin.endpoints = a.endpoints
		if w.lost[id] {
			p.nodeLiveness(id, instance.Lost)
		}
	}
	for _, at := range w.left {
		p.leaving[at.Instance] = append(p.leaving[at.Instance], mark{epoch: at.Epoch})
	}
	for _, id := range sorted(fresh.agents) {
		fresh.agents[id].report()
		// Who is interested is agreed by messages, and tested apart.
		for s := range w.plane.watchers.of[id] {
			p.watch(s, id)
		}
	}
	for id, t := range w.plane.foreign { // after the reports: what nobody needs is not kept
		p.foreign[id] = t
		p.staleForeign()
		p.named(id)
	}
	return p.planner
}
