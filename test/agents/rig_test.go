package agents

import (
	"context"
	"fmt"
	"net"
	nethttp "net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"oakestra/cluster/fleet"
	"oakestra/cluster/http"
	"oakestra/cluster/nodelink/broker"
	"oakestra/cluster/nodelink/mqttlink"
	"oakestra/cluster/store/boltstore"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/ports"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
	"oakestra/pkg/testkit"
)

// long bounds every wait: the slowest rule is 6 s, the slowest agent 5 s more.
const long = time.Minute

// root takes what the cluster reports and leases it one block.
type root struct {
	mu    sync.Mutex
	facts map[model.InstanceID]fleet.Facts
}

func (r *root) SendApplied(model.ServiceID, map[model.ClusterID]uint64) {}

func (r *root) Report(list []fleet.Facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range list {
		r.facts[f.Instance] = f
	}
}
func (*root) Orphans([]fleet.Orphan)                 {}
func (*root) Nodes([]fleet.NodeView, []model.NodeID) {}
func (*root) Aggregate(fleet.Aggregate)              {}
func (*root) Note(string, string, string)            {}
func (*root) SendSlice(tables.Slice)                 {}
func (*root) SendInterest(tables.Interest)           {}
func (*root) RequestBlock([]netip.Prefix)            {}
func (*root) Connected() bool                        { return true }
func (*root) ClusterID() string                      { return "c1" }

// manager is the real parts of a cluster manager, over one book.
type manager struct {
	t           *testing.T
	dir         string
	http, mqtt  string
	root        *root
	fleet       *fleet.Fleet
	assignments []fleet.Assignment
	oneShot     bool // what is assigned from now on
	stop        func()
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, dir: t.TempDir(), http: "127.0.0.1:0", mqtt: "127.0.0.1:0", root: &root{facts: map[model.InstanceID]fleet.Facts{}}}
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

// start runs a manager; a second one takes the ports of the first.
func (m *manager) start() {
	m.t.Helper()
	log := testkit.Logger(m.t)
	book, err := boltstore.Open(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", m.http)
	if err != nil {
		m.t.Fatal(err)
	}
	m.http = ln.Addr().String()
	b := broker.New(broker.Config{Listen: m.mqtt}, log)
	link := mqttlink.New(mqttlink.Config{Local: b}, log)
	plane := tables.New(tables.Deps{Link: link, Uplink: m.root, Subnets: book, Logger: log})
	m.fleet = fleet.New(fleet.Config{}, fleet.Deps{Book: book, Link: link, Network: plane, Root: m.root, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	workers := m.fleet
	run := func(parts ...lifecycle.Part) { done <- lifecycle.Run(ctx, parts...) }
	served := make(chan struct{})
	go run(lifecycle.Part{Name: "fleet", Run: workers.Run}, lifecycle.Part{Name: "tables", Run: plane.Run}, lifecycle.Part{Name: "node link", Run: link.Run},
		lifecycle.Part{Name: "broker", Run: b.Run}, lifecycle.Part{Name: "http", Run: func(ctx context.Context) error {
			<-b.Ready()
			m.mqtt = b.Addr().String()
			_, port, _ := net.SplitHostPort(m.mqtt)
			close(served)
			return httpx.Serve(ctx, ln, http.Handler(http.Config{Name: "c", MQTTPort: port}, workers, m.root, nethttp.NotFoundHandler()), nil)
		}})
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		if err := book.Close(); err != nil {
			m.t.Error(err)
		}
		m.stop = func() {}
	}
	select {
	case <-served:
	case err := <-done:
		m.t.Fatal(err)
	}
	if err := m.fleet.Blocks(ctx, []netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")}); err != nil {
		m.t.Fatal(err)
	}
	m.desire()
}

// desire tells the manager everything that was ever assigned.
func (m *manager) desire() {
	m.t.Helper()
	if err := m.fleet.Desired(context.Background(), fleet.Desired{Snapshot: true, Revision: 1, Changed: m.assignments}); err != nil {
		m.t.Fatal(err)
	}
}

const service = "app.test.web.test"

func slot(n int) model.InstanceID {
	return model.InstanceID{Service: "aaaaaaaaaaaaaaaaaaaaaaaa", Number: n}
}

// assign orders an instance that needs the network.
func (m *manager) assign(n int, grant instance.Grant, tombstone bool) {
	m.t.Helper()
	p, err := ports.Parse("8080:80")
	if err != nil {
		m.t.Fatal(err)
	}
	name, _ := model.ParseServiceName(service)
	m.assignments = append(m.assignments, fleet.Assignment{
		Instance: slot(n), Grant: grant, Revision: uint64(grant), Tombstone: tombstone, Address: netip.MustParseAddr(fmt.Sprintf("10.30.0.%d", 10+n)),
		Service: model.Service{ID: slot(n).Service, Name: name, Owner: "Admin", Address: netip.MustParseAddr("10.30.30.30"), Chosen: true, Spec: model.ServiceSpec{
			Image: "docker.io/library/nginx:latest", Runtime: "container", PortText: "8080:80", Ports: p, OneShot: m.oneShot, Demand: model.Resources{MilliCPU: 500, MemoryMB: 100},
		}},
	})
	m.desire()
}

func (m *manager) facts(n int) fleet.Facts {
	m.root.mu.Lock()
	defer m.root.mu.Unlock()
	return m.root.facts[slot(n)]
}

// reaches waits for a state of an instance.
func (m *manager) reaches(n int, s instance.State, check func(fleet.Facts) bool) {
	m.t.Helper()
	testkit.Eventually(m.t, long, func() error {
		if f := m.facts(n); f.Observed.State != s || check != nil && !check(f) {
			return fmt.Errorf("want state %d: %+v", s, f)
		}
		return nil
	})
}

func (m *manager) gone(n int) {
	m.t.Helper()
	testkit.Eventually(m.t, long, func() error {
		if f := m.facts(n); !f.Gone {
			return fmt.Errorf("not gone: %+v", f)
		}
		return nil
	})
}
