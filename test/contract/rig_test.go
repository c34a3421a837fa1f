package contract

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"oakestra/cluster/nodelink/broker"
	"oakestra/cluster/nodelink/mqttlink"
	"oakestra/cluster/tables"
	"oakestra/netmanager"
	"oakestra/netmanager/clusterlink"
	"oakestra/netmanager/host/hostfake"
	"oakestra/netmanager/local"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/rules"
	"oakestra/netmanager/state"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/lifecycle"
	"oakestra/pkg/testkit"
)

const patience = 15 * time.Second

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// book is the durable book of subnets and, since nothing else is here, also
// the root: it leases one block and knows no other cluster.
type book struct {
	mu      sync.Mutex
	subnets map[model.NodeID]netip.Prefix
}

func (b *book) LoadSubnets(context.Context) (map[model.NodeID]netip.Prefix, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.subnets), nil
}

func (b *book) SaveSubnet(_ context.Context, id model.NodeID, p netip.Prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subnets[id] = p
	return nil
}

func (b *book) DropSubnet(_ context.Context, id model.NodeID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subnets, id)
	return nil
}

func (b *book) SendSlice(tables.Slice)       {}
func (b *book) SendInterest(tables.Interest) {}
func (b *book) SendApplied(model.ServiceID, map[model.ClusterID]uint64) {
}
func (b *book) RequestBlock([]netip.Prefix) {}

// site is one cluster: its manager's network plane and the workers.
type site struct {
	t      *testing.T
	log    *slog.Logger
	book   *book
	listen string
	nodes  []model.NodeID

	plane *tables.Loop // of the manager that runs
	stop  func()
}

func newSite(t *testing.T, nodes ...model.NodeID) *site {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, log: testkit.Logger(t), book: &book{subnets: map[model.NodeID]netip.Prefix{}}, listen: ln.Addr().String(), nodes: nodes}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs a manager over the book.
func (s *site) start() {
	b := broker.New(broker.Config{Listen: s.listen}, s.log)
	link := mqttlink.New(mqttlink.Config{Local: b}, s.log)
	s.plane = tables.New(tables.Deps{Link: link, Uplink: s.book, Subnets: s.book, Logger: s.log})
	plane := s.plane
	link.Allow(s.nodes)
	plane.Blocks([]netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")})
	for _, n := range s.nodes {
		plane.SetNode(tables.Node{ID: n, Address: addr("127.0.0.1"), Network: true})
	}
	for _, x := range []tables.Service{web, client} {
		plane.SetService(x)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- lifecycle.Run(ctx,
			lifecycle.Part{Name: "broker", Run: b.Run}, lifecycle.Part{Name: "link", Run: link.Run}, lifecycle.Part{Name: "tables", Run: plane.Run},
			lifecycle.Part{Name: "fleet", Run: func(ctx context.Context) error {
				for {
					select {
					case in := <-link.Inbound():
						plane.Handle(in)
					case <-ctx.Done():
						return nil
					}
				}
			}})
	}()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
		s.stop = func() {}
	}
}

var (
	web = tables.Service{
		ID: "5f", Name: model.ServiceName{App: "shop", AppNamespace: "p", Service: "web", ServiceNamespace: "p"}, Tenant: "t",
		Address: addr("10.30.30.30"), Instances: map[int]netip.Addr{0: addr("10.30.0.10"), 1: addr("10.30.0.11")},
	}
	client = tables.Service{
		ID: "60", Name: model.ServiceName{App: "shop", AppNamespace: "p", Service: "curl", ServiceNamespace: "p"}, Tenant: "t",
		Address: addr("10.30.0.20"), Instances: map[int]netip.Addr{0: addr("10.30.0.21")},
	}
)

// worker is one NetManager. Its kernel can be held up.
type worker struct {
	t      *testing.T
	site   *site
	id     model.NodeID
	dir    string
	kernel *kernel
	daemon *netmanager.Daemon
	stop   func()
}

// kernel is a machine in memory whose Apply waits while it is held.
type kernel struct {
	*hostfake.Host
	mu      sync.Mutex
	entered chan struct{}
	release chan struct{}
}

func (k *kernel) hold() (entered <-chan struct{}, release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entered, k.release = make(chan struct{}, 1), make(chan struct{})
	once := sync.OnceFunc(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		close(k.release)
		k.entered, k.release = nil, nil
	})
	return k.entered, once
}

func (k *kernel) Apply(ctx context.Context, d rules.Desired) error {
	k.mu.Lock()
	entered, release := k.entered, k.release
	k.mu.Unlock()
	if release != nil {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-release
	}
	return k.Host.Apply(ctx, d)
}

func (s *site) worker(id model.NodeID, underlay string) *worker {
	s.t.Helper()
	w := &worker{t: s.t, site: s, id: id, dir: s.t.TempDir(), kernel: &kernel{Host: hostfake.New()}}
	w.kernel.SetUnderlay(addr(underlay), 1500)
	w.start()
	s.t.Cleanup(func() { w.stop() })
	w.register()
	return w
}

func (w *worker) start() {
	log := w.site.log.With("worker", w.id)
	w.daemon = netmanager.New(netmanager.DefaultConfig(), netmanager.Deps{
		Host: w.kernel, File: state.Open(w.dir), Logger: log,
		Dial: func(t netmanager.Target) netmanager.Uplink { return clusterlink.New(t, log) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	d := w.daemon
	go func() { done <- d.Loop(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *worker) register() {
	w.t.Helper()
	at, err := netip.ParseAddrPort(w.site.listen)
	if err != nil {
		w.t.Fatal(err)
	}
	in := local.Registration{Node: string(w.id), Cluster: at.Addr().String(), Port: int(at.Port())}
	if _, err := w.daemon.Register(context.Background(), in); err != nil {
		w.t.Fatal(err)
	}
}

// deploy attaches an instance and returns its container address.
func (w *worker) deploy(s tables.Service, number, pid int) netip.Addr {
	w.t.Helper()
	got, err := w.daemon.Deploy(context.Background(), local.Deployment{Pid: pid, Grant: 1, Try: 1, Endpoint: plan.Endpoint{
		Service: string(s.ID), Name: s.Name.String(), Instance: number, Tenant: s.Tenant, Address: s.Instances[number], ServiceIP: s.Address,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Address
}

func attempt(s tables.Service, number int) instance.Attempt {
	return instance.Attempt{Instance: model.InstanceID{Service: s.ID, Number: number}, Epoch: instance.Epoch{Grant: 1, Try: 1}}
}

// ask is a first packet to the address; it waits for the answer.
func (w *worker) ask(a netip.Addr) (known bool) {
	w.t.Helper()
	before := len(w.kernel.Released())
	if !w.kernel.Ask(a) {
		return true
	}
	eventually(w.t, func() error {
		if all := w.kernel.Released(); len(all) > before {
			known = all[len(all)-1].Known
			return nil
		}
		return fmt.Errorf("%s: nothing released", w.id)
	})
	return known
}

func (w *worker) backends(a netip.Addr) (list []netip.Addr, known bool) {
	for _, s := range w.kernel.Desired().Services {
		if s.Address == a {
			return s.Backends, true
		}
	}
	return nil, false
}

// balances waits until flows to the address go to these containers.
func (w *worker) balances(a netip.Addr, want ...netip.Addr) {
	w.t.Helper()
	eventually(w.t, func() error {
		if got, known := w.backends(a); !known || !slices.Equal(got, want) {
			return fmt.Errorf("%s balances %s over %v, want %v", w.id, a, got, want)
		}
		return nil
	})
}

// knows waits until the kernel says that the container is that instance.
func (w *worker) knows(container, instance netip.Addr) {
	w.t.Helper()
	want := rules.Identity{Container: container, Instance: instance, Tenant: "t"}
	eventually(w.t, func() error {
		if got := w.kernel.Desired().Identities; !slices.Contains(got, want) {
			return fmt.Errorf("%s knows %v, not %v", w.id, got, want)
		}
		return nil
	})
}

func (w *worker) writes() int {
	_, writes := w.kernel.Applied()
	return writes
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	testkit.Eventually(t, patience, check)
}
