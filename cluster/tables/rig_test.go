package tables

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// rig is a plane with nobody but the test around it: time stands still until
// the test moves it, and messages wait until the test delivers them.
type rig struct {
	t       testing.TB
	now     time.Time
	plane   *plane
	agents  map[model.NodeID]*agent
	slices  []Slice
	asked   []Interest
	blocks  int
	rings   []nodelink.UpdatesAvailable
	outward map[string]Interest
	applied []map[model.ClusterID]uint64
}

// agent is a model of a NetManager: it applies what it gets by the rules of
// api/mqtt.NetState.
type agent struct {
	id        model.NodeID
	rig       *rig
	queue     []nodelink.Outbound
	endpoints []nodelink.Endpoint
	interests set[string]
	epoch     string
	version   uint64
	hungry    bool // wants a snapshot
	tables    map[model.ServiceID]nodelink.Table
	peers     map[model.NodeID]nodelink.Peer
	answers   []nodelink.TableResult
	subnets   []nodelink.SubnetResult
	snapshots int
	seq       uint64
}

func newRig(t testing.TB, book map[model.NodeID]netip.Prefix) *rig {
	r := &rig{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), agents: map[model.NodeID]*agent{}, outward: map[string]Interest{}}
	r.plane = newPlane(context.Background(), Deps{Link: r, Uplink: r}, slog.New(slog.DiscardHandler), book, r.now)
	return r
}

// The link and the uplink of the plane.
func (r *rig) Run(context.Context) error        { return nil }
func (r *rig) Inbound() <-chan nodelink.Inbound { return nil }
func (r *rig) Allow([]model.NodeID)             {}
func (r *rig) SendSlice(s Slice)                { r.slices = append(r.slices, s) }
func (r *rig) RequestBlock([]netip.Prefix)      { r.blocks++ }

func (r *rig) SendApplied(_ model.ServiceID, v map[model.ClusterID]uint64) {
	r.applied = append(r.applied, v)
}

func (r *rig) SendInterest(i Interest) {
	r.asked = append(r.asked, i)
	if i.Remove {
		delete(r.outward, i.Query)
	} else {
		r.outward[i.Query] = i
	}
}

func (r *rig) Send(_ context.Context, n model.NodeID, m nodelink.Outbound) error {
	if m.Updates != nil {
		r.rings = append(r.rings, *m.Updates)
		return nil
	}
	if a := r.agents[n]; a != nil {
		a.queue = append(a.queue, m)
	}
	return nil
}

func (r *rig) step() { r.plane.step(r.now) }

func (r *rig) pass(d time.Duration) {
	r.now = r.now.Add(d)
	r.step()
}

// node makes a worker with our NetManager that has its subnet.
func (r *rig) node(i int) *agent {
	id := model.NodeID(fmt.Sprintf("n%d", i))
	a := &agent{
		id: id, rig: r, interests: set[string]{}, hungry: true,
		tables: map[model.ServiceID]nodelink.Table{}, peers: map[model.NodeID]nodelink.Peer{},
	}
	r.agents[id] = a
	r.plane.setNode(Node{ID: id, Address: underlay(i), Network: true})
	return a
}

func underlay(i int) netip.Addr   { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }
func subnet26(i int) netip.Prefix { return netip.PrefixFrom(inSubnet(i, 0), 26) }
func inSubnet(i, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 18, byte(i / 4), byte(i%4*64 + host)})
}

func (a *agent) index() int {
	var i int
	_, _ = fmt.Sscanf(string(a.id), "n%d", &i)
	return i
}

func (a *agent) say(in nodelink.Inbound) {
	in.Node = a.id
	a.rig.plane.handle(in, a.rig.now)
	a.rig.step()
}

// report is the sign of life; a snapshot when the agent wants one.
func (a *agent) report() {
	a.seq++
	r := &nodelink.NetReport{
		Boot: "b", Seq: a.seq, Snapshot: a.hungry, Dataplane: model.DataplaneVXLAN,
		HostIP: underlay(a.index()), HostPort: 50103, Subnet: subnet26(a.index()), Applied: a.version,
	}
	if a.hungry {
		r.Endpoints = slices.Clone(a.endpoints)
		r.Interests = slices.Sorted(maps.Keys(a.interests))
	}
	a.hungry = false
	a.say(nodelink.Inbound{Net: r})
}

// deliver applies and acknowledges what waits for the agent.
func (a *agent) deliver() {
	for len(a.queue) > 0 {
		m := a.queue[0]
		a.queue = a.queue[1:]
		switch {
		case m.Net != nil:
			a.apply(*m.Net)
		case m.Table != nil:
			a.answers = append(a.answers, *m.Table)
			if m.Table.Known {
				a.interests[m.Table.Service.Name.String()] = struct{}{}
			}
		case m.Subnet != nil:
			a.subnets = append(a.subnets, *m.Subnet)
		}
	}
}

func (a *agent) apply(s nodelink.NetState) {
	switch {
	case s.Snapshot:
		a.snapshots++
		a.tables, a.peers = map[model.ServiceID]nodelink.Table{}, map[model.NodeID]nodelink.Peer{}
	case s.Epoch != a.epoch || s.Base != a.version:
		a.hungry = true
		return
	}
	a.epoch, a.version = s.Epoch, s.Version
	for _, t := range s.Tables {
		a.tables[t.Service] = t
	}
	for _, p := range s.Peers {
		a.peers[p.Node] = p
	}
	for _, g := range s.GoneTables {
		delete(a.tables, g)
	}
	for _, g := range s.GonePeers {
		delete(a.peers, g)
	}
	a.say(nodelink.Inbound{Ack: &nodelink.NetAck{Boot: "b", Version: s.Version}})
}

// calm lets everybody report and apply until nothing moves.
func (r *rig) calm() {
	for range 12 {
		for _, id := range sorted(r.agents) {
			r.agents[id].report()
		}
		for range 3 {
			for _, id := range sorted(r.agents) {
				r.agents[id].deliver()
			}
		}
		r.pass(2 * time.Second)
	}
}

func service(i, slots int) Service {
	s := Service{
		ID:      model.ServiceID(fmt.Sprintf("s%d", i)),
		Name:    model.ServiceName{App: "app", AppNamespace: "ns", Service: fmt.Sprintf("svc%d", i), ServiceNamespace: "ns"},
		Address: netip.AddrFrom4([4]byte{10, 30, 1, byte(i)}), Tenant: "t", Instances: map[int]netip.Addr{},
	}
	for n := range slots {
		s.Instances[n] = netip.AddrFrom4([4]byte{10, 30, byte(2 + i), byte(n + 1)})
	}
	return s
}

func (a *agent) ep(s Service, number, host int, try uint32) nodelink.Endpoint {
	return nodelink.Endpoint{
		Service: s.ID, JobName: s.Name.String(), Number: number,
		Epoch:       instance.Epoch{Grant: instance.MakeGrant(1, 1), Try: try},
		NamespaceIP: inSubnet(a.index(), host+2), HostIP: underlay(a.index()), HostPort: 50103,
	}
}

func (a *agent) deploy(e nodelink.Endpoint) {
	a.endpoints = slices.DeleteFunc(a.endpoints, func(o nodelink.Endpoint) bool {
		return o.NamespaceIP == e.NamespaceIP || attempt(o) == attempt(e)
	})
	a.endpoints = append(a.endpoints, e)
	a.say(nodelink.Inbound{Deployed: &e})
}

func (a *agent) undeploy(e nodelink.Endpoint) {
	a.endpoints = slices.DeleteFunc(a.endpoints, func(o nodelink.Endpoint) bool { return o == e })
	a.say(nodelink.Inbound{Undeployed: &e})
}

func (a *agent) ask(q nodelink.TableQuery) {
	a.say(nodelink.Inbound{Query: &q})
}

func attempt(e nodelink.Endpoint) instance.Attempt {
	return instance.Attempt{Instance: model.InstanceID{Service: e.Service, Number: e.Number}, Epoch: e.Epoch}
}

// same compares what an agent applied with what it should hold.
func same(t testing.TB, a *agent, want view) string {
	t.Helper()
	tables, peers := map[model.ServiceID]nodelink.Table{}, map[model.NodeID]nodelink.Peer{}
	for k, v := range want.tables {
		tables[k] = *v
	}
	for k, v := range want.peers {
		peers[k] = *v
	}
	opts := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
	return cmp.Diff(tables, a.tables, opts...) + cmp.Diff(peers, a.peers, opts...)
}
