package tables_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// book is Subnets in memory.
type book struct {
	mu sync.Mutex
	m  map[model.NodeID]netip.Prefix
}

func (b *book) LoadSubnets(context.Context) (map[model.NodeID]netip.Prefix, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[model.NodeID]netip.Prefix{}
	for k, v := range b.m {
		out[k] = v
	}
	return out, nil
}

func (b *book) SaveSubnet(_ context.Context, id model.NodeID, p netip.Prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[id] = p
	return nil
}

func (b *book) DropSubnet(_ context.Context, id model.NodeID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, id)
	return nil
}

// root grants one block when asked.
type root struct{ loop *tables.Loop }

func (r *root) SendSlice(tables.Slice)       {}
func (r *root) SendInterest(tables.Interest) {}
func (r *root) SendApplied(model.ServiceID, map[model.ClusterID]uint64) {
}
func (r *root) RequestBlock([]netip.Prefix) {
	r.loop.Blocks([]netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")})
}

// TestLoop runs the plane on the in-memory link in virtual time, with messages
// lost, doubled and reordered: a worker gets its subnet, one more learns of the
// service, and Leave returns.
func TestLoop(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults memlink.Faults
	}{
		{"clean", memlink.Faults{}},
		{"lossy", memlink.Faults{Drop: 0.1, Dup: 0.2, Reorder: 0.1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runLoop(t, c.faults) })
		})
	}
}

func runLoop(t *testing.T, faults memlink.Faults) {
	ctx, cancel := context.WithCancel(t.Context())
	hub, up := memlink.New(), &root{}
	loop := tables.New(tables.Deps{Link: hub, Uplink: up, Subnets: &book{m: map[model.NodeID]netip.Prefix{}}})
	up.loop = loop
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	hub.Allow([]model.NodeID{"a", "b"})
	hub.Fault(7, faults, faults)
	wg.Go(func() { _ = hub.Run(ctx) })
	wg.Go(func() {
		if err := loop.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for {
			select {
			case in := <-hub.Inbound():
				if in.Serving == nil {
					loop.Handle(in)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	s := tables.Service{
		ID: "s", Name: model.ServiceName{App: "a", AppNamespace: "n", Service: "s", ServiceNamespace: "n"},
		Address: netip.MustParseAddr("10.30.1.1"), Instances: map[int]netip.Addr{0: netip.MustParseAddr("10.30.1.2")},
	}
	loop.SetService(s)
	a := newAgent(hub.Node("a"), "192.0.2.1")
	b := newAgent(hub.Node("b"), "192.0.2.2")
	for _, n := range []*agent{a, b} {
		loop.SetNode(tables.Node{ID: n.id, Network: true})
		wg.Go(func() { n.run(ctx) })
	}
	until(t, "subnets", func() bool {
		return a.has(func() bool { return a.subnet.IsValid() }) && b.has(func() bool { return b.subnet.IsValid() })
	})
	e := nodelink.Endpoint{Service: "s", JobName: s.Name.String(), Epoch: instance.Epoch{Grant: 1, Try: 1}}
	a.has(func() bool {
		e.NamespaceIP = a.subnet.Addr().Next().Next()
		a.endpoints = []nodelink.Endpoint{e}
		a.interests, a.hungry = []string{}, true
		return true
	})
	b.has(func() bool { b.interests, b.hungry = []string{s.Name.String()}, true; return true })
	until(t, "the table of b", func() bool { return b.has(func() bool { return len(b.tables["s"].Entries) == 1 }) })
	until(t, "the peer of a", func() bool { return a.has(func() bool { _, ok := a.peers["b"]; return ok }) })
	began := time.Now()
	loop.Leave(ctx, instance.Attempt{Instance: model.InstanceID{Service: "s"}, Epoch: e.Epoch})
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("leave took %s", took)
	}
	until(t, "b without the endpoint", func() bool { return b.has(func() bool { return len(b.tables["s"].Entries) == 0 }) })
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 { // virtual time
		synctest.Wait()
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("no %s after five minutes", what)
}

// agent is a NetManager that reports every 2 s, and every 15th time in full.
type agent struct {
	id   model.NodeID
	link *memlink.Node
	ip   netip.Addr

	mu        sync.Mutex
	subnet    netip.Prefix
	endpoints []nodelink.Endpoint
	interests []string
	hungry    bool
	reports   int
	epoch     string
	version   uint64
	tables    map[model.ServiceID]nodelink.Table
	peers     map[model.NodeID]nodelink.Peer
}

func newAgent(n *memlink.Node, ip string) *agent {
	return &agent{id: n.ID(), link: n, ip: netip.MustParseAddr(ip), hungry: true}
}

func (a *agent) has(f func() bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return f()
}

func (a *agent) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.report()
		tick, cancel := context.WithTimeout(ctx, 2*time.Second)
		for {
			m, ok := a.link.Recv(tick)
			if !ok {
				break
			}
			a.take(m)
		}
		cancel()
	}
}

func (a *agent) report() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reports++
	r := &nodelink.NetReport{
		Boot: "1", Snapshot: a.hungry || a.epoch == "" || a.reports%15 == 0, Dataplane: model.DataplaneVXLAN, HostIP: a.ip, HostPort: 50103,
		Subnet: a.subnet, Applied: a.version, Endpoints: a.endpoints, Interests: a.interests,
	}
	a.hungry = false
	a.link.Send(nodelink.Inbound{Net: r})
	if !a.subnet.IsValid() {
		a.link.Send(nodelink.Inbound{Subnet: &nodelink.SubnetRequest{}})
	}
}

func (a *agent) take(m nodelink.Outbound) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case m.Subnet != nil && m.Subnet.Subnet.IsValid():
		a.subnet = m.Subnet.Subnet
	case m.Net != nil:
		a.apply(*m.Net)
	}
}

func (a *agent) apply(s nodelink.NetState) {
	if s.Snapshot {
		a.tables, a.peers = map[model.ServiceID]nodelink.Table{}, map[model.NodeID]nodelink.Peer{}
	} else if s.Epoch != a.epoch || s.Base != a.version {
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
	a.link.Send(nodelink.Inbound{Ack: &nodelink.NetAck{Boot: "1", Version: s.Version}})
}
