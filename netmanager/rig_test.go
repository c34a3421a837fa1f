package netmanager

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/local"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/rules"
	"oakestra/netmanager/state"
	"oakestra/netmanager/table"
)

// kernel is a host in memory.
type kernel struct {
	mu        sync.Mutex
	applied   []rules.Desired
	attached  map[string]host.Attachment
	forgotten []netip.Addr
	closed    []host.Way
	released  map[netip.Addr][]bool
	unknown   chan netip.Addr
	echoes    chan netip.Addr
	reached   map[netip.Addr]bool
	asked     int // echoes
	dead      map[int]bool
	mute      map[int]bool // nothing listens
	refuse    error        // of Apply
	broken    error        // of Attach
	underlay  netip.Addr
}

func newKernel() *kernel {
	return &kernel{
		attached: map[string]host.Attachment{}, released: map[netip.Addr][]bool{}, underlay: addr("192.0.2.1"),
		unknown: make(chan netip.Addr), echoes: make(chan netip.Addr, 100), reached: map[netip.Addr]bool{}, dead: map[int]bool{}, mute: map[int]bool{},
	}
}

func (k *kernel) Check(context.Context, rules.Node) error { return nil }
func (k *kernel) Underlay(context.Context, string) (netip.Addr, int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underlay, 1500, nil
}
func (k *kernel) Apply(_ context.Context, d rules.Desired) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse == nil {
		k.applied = append(k.applied, d)
	}
	return k.refuse
}
func (k *kernel) Attach(_ context.Context, a host.Attachment) (host.Attached, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return host.Attached{}, k.broken
	}
	k.attached[a.Name] = a
	return host.Attached{StartTime: 7, Netns: uint64(a.Pid)}, nil
}
func (k *kernel) Detach(_ context.Context, a host.Attachment) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.attached, a.Name)
	return nil
}
func (k *kernel) Alive(_ context.Context, a host.Attachment) (bool, error) {
	return !k.dead[a.Pid], nil
}
func (k *kernel) Listens(_ context.Context, a host.Attachment) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.mute[a.Pid], nil
}
func (k *kernel) Forget(_ context.Context, a netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgotten = append(k.forgotten, a)
	return nil
}
func (k *kernel) Reroute(_ context.Context, closed []host.Way) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = append(k.closed, closed...)
	return nil
}
func (k *kernel) Idle(_ context.Context, a []netip.Addr) ([]netip.Addr, error) { return a, nil }
func (k *kernel) Unknown() <-chan netip.Addr                                   { return k.unknown }
func (k *kernel) Echoes() <-chan netip.Addr                                    { return k.echoes }
func (k *kernel) Echo(_ context.Context, to []netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range to {
		k.asked++
		if k.reached[a] {
			k.echoes <- a
		}
	}
	return nil
}
func (k *kernel) Release(a netip.Addr, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.released[a] = append(k.released[a], known)
}

// with reads or changes the kernel from a test.
func (k *kernel) with(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

func (k *kernel) answers(a netip.Addr) []bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.released[a])
}

func (k *kernel) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.attached))
}

func (k *kernel) Remove(context.Context) error { return nil }

func (k *kernel) node() rules.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.applied[len(k.applied)-1].Node
}

func (k *kernel) service(a string) ([]netip.Addr, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.applied[len(k.applied)-1].Services {
		if s.Address == addr(a) {
			return s.Backends, true
		}
	}
	return nil, false
}

// cluster is an uplink in memory.
type cluster struct {
	mu   sync.Mutex
	in   chan Inbound
	sent []Outbound
}

func (c *cluster) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (c *cluster) Inbound() <-chan Inbound       { return c.in }
func (c *cluster) Send(m Outbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, m)
}

func (c *cluster) count(match func(Outbound) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, m := range c.sent {
		if match(m) {
			n++
		}
	}
	return n
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

type rig struct {
	*testing.T
	dir     string
	kernel  *kernel
	cluster *cluster
	daemon  *Daemon
	stop    func() error
}

// start runs a daemon in a synctest bubble.
func start(t *testing.T, dir string, k *kernel) *rig {
	t.Helper()
	r := &rig{T: t, dir: dir, kernel: k, cluster: &cluster{in: make(chan Inbound)}}
	cfg := DefaultConfig()
	cfg.DataDir = dir
	r.daemon = New(cfg, Deps{Host: k, File: state.Open(dir), Dial: func(Target) Uplink { return r.cluster }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.daemon.Loop(ctx) }()
	r.stop = func() error { cancel(); return <-done }
	synctest.Wait()
	return r
}

func (r *rig) say(m Inbound) {
	r.Helper()
	r.cluster.in <- m
	synctest.Wait()
}

func (r *rig) register() {
	r.Helper()
	got := make(chan error, 1)
	go func() {
		_, err := r.daemon.Register(r.Context(), local.Registration{Node: "n1", Cluster: "c", Port: 10003})
		got <- err
	}()
	synctest.Wait()
	r.say(Inbound{Session: true})
	r.say(Inbound{Subnet: &Subnet{Prefix: netip.MustParsePrefix("10.18.0.64/26")}})
	if err := <-got; err != nil {
		r.Fatal(err)
	}
}

func request(name string, pid int, ports ...plan.Port) local.Deployment {
	return local.Deployment{Pid: pid, Grant: 5, Try: 1, Endpoint: plan.Endpoint{
		Service: "id-" + name, Name: name, Address: addr("10.30.0.9"), ServiceIP: addr("10.30.30.30"), Ports: ports,
	}}
}

func (r *rig) deploy(d local.Deployment) netip.Addr {
	r.Helper()
	out, err := r.daemon.Deploy(r.Context(), d)
	if err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
	return out.Address
}

var errKernel = errors.New("kernel says no")

func snapshot(version uint64, tables ...table.Table) Inbound {
	return Inbound{Change: &table.Change{Epoch: "e", Version: version, Snapshot: true, Tables: tables}}
}

func equal(t *testing.T, what string, got, want []netip.Addr) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func wait(d time.Duration) { time.Sleep(d); synctest.Wait() }
