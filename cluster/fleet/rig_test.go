package fleet

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
)

// book is a store.Store of maps.
type book struct {
	mu    sync.Mutex
	slots map[model.InstanceID]store.Slot
	nodes map[model.NodeID]store.Node
}

func newBook() *book {
	return &book{slots: map[model.InstanceID]store.Slot{}, nodes: map[model.NodeID]store.Node{}}
}

func (b *book) Load(context.Context) (store.State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s store.State
	for _, v := range b.slots {
		v.Old, v.Pulls = slices.Clone(v.Old), slices.Clone(v.Pulls)
		s.Slots = append(s.Slots, v)
	}
	for _, v := range b.nodes {
		s.Nodes = append(s.Nodes, v)
	}
	return s, nil
}

// slot is what is written of a slot.
func (b *book) slot(id model.InstanceID) store.Slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.slots[id]
}

func (b *book) all() map[model.InstanceID]store.Slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.slots)
}

func (b *book) Commit(_ context.Context, w store.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range w.Slots {
		v.Old, v.Pulls = slices.Clone(v.Old), slices.Clone(v.Pulls)
		b.slots[v.Instance] = v
	}
	for _, id := range w.DropSlots {
		delete(b.slots, id)
	}
	for _, v := range w.Nodes {
		b.nodes[v.ID] = v
	}
	for _, id := range w.DropNodes {
		delete(b.nodes, id)
	}
	return nil
}

// quiet is a network plane that notes what leaves.
type quiet struct {
	tables.Network
	leaves chan<- instance.Attempt
}

func (quiet) Handle(nodelink.Inbound)                      {}
func (quiet) SetService(tables.Service)                    {}
func (quiet) ForgetService(model.ServiceID)                {}
func (quiet) ForgetNode(model.NodeID)                      {}
func (quiet) SetNode(tables.Node)                          {}
func (quiet) NodeLiveness(model.NodeID, instance.Liveness) {}
func (q quiet) Leave(_ context.Context, a instance.Attempt) {
	select {
	case q.leaves <- a: // nobody listens to a nil channel
	default:
	}
}
func (quiet) Gone(instance.Attempt) {}
func (quiet) Blocks([]netip.Prefix) {}

// above remembers the last facts of each slot.
type above struct {
	mu    sync.Mutex
	facts map[model.InstanceID]Facts
	nodes map[model.NodeID]NodeView
	notes []string // kinds
	sum   Aggregate
}

func (a *above) Report(list []Facts) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range list {
		a.facts[f.Instance] = f
	}
}
func (a *above) get(id model.InstanceID) Facts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.facts[id]
}
func (*above) Orphans([]Orphan) {}

// Nodes does what the root does, or did: what is removed at last must not have
// come back.
func (a *above) Nodes(changed []NodeView, removed []model.NodeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes == nil {
		a.nodes = map[model.NodeID]NodeView{}
	}
	for _, n := range changed {
		a.nodes[n.ID] = n
	}
	for _, id := range removed {
		delete(a.nodes, id)
	}
}

func (a *above) node(id model.NodeID) (v NodeView, listed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, listed = a.nodes[id]
	return v, listed
}

func (a *above) Aggregate(v Aggregate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum = v
}

func (a *above) sums() Aggregate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sum
}

func (a *above) Note(kind, _, _ string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes = append(a.notes, kind)
}

func (a *above) noted(kind string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, k := range a.notes {
		if k == kind {
			n++
		}
	}
	return n
}

// worker is a NodeEngine that obeys at once and reports every 2 s.
type worker struct {
	mu      sync.Mutex
	link    *memlink.Node
	has     map[instance.Attempt]instance.State
	started int
	seq     uint64
	boot    string         // of the agent; "" is "b"
	fails   bool           // nothing starts
	broken  instance.Grant // attempts under it fail
	mute    bool           // reports nothing
	deaf    bool           // orders to start something are lost
	first   instance.State // that what is started has; Unknown: Running
	asked   bool           // to report
	booting bool           // what runs is being started again
}

func (w *worker) run(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		w.mu.Lock()
		for _, m := range w.link.Pending() {
			if m.Deploy != nil && !w.deaf {
				if _, ok := w.has[m.Deploy.Attempt]; !ok {
					w.has[m.Deploy.Attempt] = instance.Running
					if w.first != instance.Unknown {
						w.has[m.Deploy.Attempt] = w.first
					}
					if w.fails || w.broken != 0 && m.Deploy.Attempt.Epoch.Grant == w.broken {
						w.has[m.Deploy.Attempt] = instance.Failed
					}
					w.started++
				}
			}
			if m.Delete != nil {
				delete(w.has, m.Delete.Attempt)
			}
			w.asked = w.asked || m.Probe != nil
		}
		r := w.report()
		mute := w.mute
		w.mu.Unlock()
		if !mute {
			w.link.Send(nodelink.Inbound{Report: r})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// report is what it says now, with mu held.
func (w *worker) report() *nodelink.NodeReport {
	w.seq++
	r := &nodelink.NodeReport{Boot: cmp.Or(w.boot, "b"), Seq: w.seq, Complete: true}
	for a, s := range w.has {
		r.Containers = append(r.Containers, nodelink.Container{Service: a.Instance.Service, Number: a.Instance.Number, Observed: instance.Observed{Epoch: a.Epoch, State: s}, Restarting: w.booting})
	}
	return r
}

// next is the report that is due, for the test to send.
func (w *worker) next() *nodelink.NodeReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report()
}

// probed says whether it was asked to report since the last call.
func (w *worker) probed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = false
	return asked
}

func (w *worker) count() (running, started int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.has {
		if s == instance.Running {
			running++
		}
	}
	return running, w.started
}

func (w *worker) silence(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = on
}

// boots says that what the worker has is being started again, or that it is done.
func (w *worker) boots(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.booting = on
}

func (w *worker) becomesEmpty() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.has)
}

func (w *worker) set(s instance.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.has {
		w.has[a] = s
	}
}

type rig struct {
	t      *testing.T
	hub    *memlink.Hub
	book   *book
	root   *above
	f      *Fleet
	nodes  map[string]*worker
	stop   func()
	wg     sync.WaitGroup
	ctx    context.Context
	leaves chan instance.Attempt // what has left the tables

	network tables.Network
	mu      sync.Mutex
	heard   func() time.Time // the root; nil: at any time
}

func (r *rig) rootHeard(f func() time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = f
}

func (r *rig) lastHeard() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		return time.Now()
	}
	return r.heard()
}

func newRig(t *testing.T, hosts ...string) *rig {
	leaves := make(chan instance.Attempt, 16)
	r := &rig{t: t, leaves: leaves, hub: memlink.New(), book: newBook(), root: &above{facts: map[model.InstanceID]Facts{}}, nodes: map[string]*worker{}, network: quiet{leaves: leaves}}
	ctx, cancel := context.WithCancel(t.Context())
	r.ctx = ctx
	r.wg.Go(func() { _ = r.hub.Run(ctx) })
	r.start()
	for _, h := range hosts {
		r.join(h)
	}
	t.Cleanup(func() { cancel(); r.wg.Wait() })
	if err := r.f.Desired(ctx, Desired{Snapshot: true}); err != nil { // a new cluster was given nothing yet
		t.Fatal(err)
	}
	return r
}

func registration(host string) Registration {
	return Registration{Host: host, Key: host, Runtimes: []string{"container"}, Architecture: "amd64", Capacity: room1()}
}

// join registers a worker and lets it run.
func (r *rig) join(host string) *worker {
	r.t.Helper()
	return r.admit(registration(host))
}

func (r *rig) admit(in Registration) *worker {
	r.t.Helper()
	id, err := r.f.Register(r.ctx, in)
	host := in.Host
	if err != nil || string(id) != host {
		r.t.Fatalf("register %s: %q, %v", host, id, err)
	}
	w := &worker{link: r.hub.Node(id), has: map[instance.Attempt]instance.State{}}
	r.nodes[host] = w
	r.wg.Go(func() { w.run(r.ctx) })
	return w
}
func room1() model.Resources { return model.Resources{MilliCPU: 4000, MemoryMB: 4000} }

func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.ctx)
	f := New(Config{}, Deps{Book: r.book, Link: r.hub, Network: r.network, Root: r.root, RootHeard: r.lastHeard, Logger: testkit.Logger(r.t)})
	done := make(chan struct{})
	r.f, r.stop = f, func() { cancel(); <-done }
	r.wg.Go(func() { defer close(done); _ = f.Run(ctx) })
}

var slotID = model.InstanceID{Service: "aaaaaaaaaaaaaaaaaaaaaaaa", Number: 0}

func (r *rig) desire(tombstone bool) {
	r.t.Helper()
	err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: []Assignment{assignment(7, tombstone)}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func assignment(g instance.Grant, tombstone bool) Assignment {
	return Assignment{
		Instance: slotID, Grant: g, Revision: 1, Tombstone: tombstone,
		Service: model.Service{ID: slotID.Service, Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: "d"},
			Spec: model.ServiceSpec{Runtime: "container", Demand: model.Resources{MemoryMB: 100}}},
	}
}

func (r *rig) total() (running, started int) {
	for _, w := range r.nodes {
		a, b := w.count()
		running, started = running+a, started+b
	}
	return running, started
}

func bubble(t *testing.T, fn func(t *testing.T)) { t.Helper(); synctest.Test(t, fn) }

// elapse lets time pass, and then everything that is due at its end.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// registers has a worker come by hand, as start "b" of its agent; the test says
// what it reports.
func (r *rig) registers(host string) *memlink.Node {
	r.t.Helper()
	if _, err := r.f.Register(r.ctx, Registration{Host: host, Key: host, Boot: "b", Runtimes: []string{"container"}, Capacity: room1()}); err != nil {
		r.t.Fatal(err)
	}
	return r.hub.Node(model.NodeID(host))
}
