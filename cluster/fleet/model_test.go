package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// world is the model of P1: everything around the reconcile core, as values.
// What is sent waits in a bag until a step delivers it, doubles it or drops it.
type world struct {
	t     *rapid.T
	ctx   context.Context
	core  *core
	book  *book
	root  *above
	want  map[model.InstanceID]Assignment // what the root wants, tombstones included
	grant instance.Grant
	nodes map[model.NodeID]*machine
	down  []parcel // to nodes
	up    []nodelink.Inbound
	now   time.Time
	next  int                      // number
	began map[instance.Attempt]int // when it first ran, in steps
}

type parcel struct {
	to model.NodeID
	m  nodelink.Outbound
}

// machine is a worker that does what it is told and remembers deletions.
type machine struct {
	has  map[instance.Attempt]instance.State
	past map[model.InstanceID]instance.Epoch
	seq  uint64
	boot int
	cut  bool
	deaf bool // orders to start something are lost
	sick bool // nothing starts
}

// Link of the core.
func (w *world) Run(context.Context) error        { return nil }
func (w *world) Inbound() <-chan nodelink.Inbound { return nil }
func (w *world) Allow([]model.NodeID)             {}
func (w *world) Send(_ context.Context, to model.NodeID, m nodelink.Outbound) error {
	w.down = append(w.down, parcel{to, m})
	return nil
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, ctx: context.Background(), book: newBook(), root: &above{facts: map[model.InstanceID]Facts{}}, want: map[model.InstanceID]Assignment{},
		nodes: map[model.NodeID]*machine{}, now: time.Now(), grant: 1, began: map[instance.Attempt]int{}}
	w.boot()
	for i := range 3 {
		id := model.NodeID(fmt.Sprint("w", i))
		w.nodes[id] = &machine{has: map[instance.Attempt]instance.State{}, past: map[model.InstanceID]instance.Epoch{}}
		w.register(id)
	}
	return w
}

// boot starts the manager on its book; the root gives it a snapshot.
func (w *world) boot() {
	f := New(Config{}, Deps{Book: w.book, Link: w, Network: quiet{}, Root: w.root})
	state, _ := w.book.Load(w.ctx)
	w.core = newCore(w.ctx, f, state)
	w.core.now = w.now
	w.tell(Desired{Snapshot: true, Changed: slices.Collect(maps.Values(w.want))})
	for id := range w.nodes {
		w.register(id)
	}
}

func (w *world) register(id model.NodeID) {
	if m := w.nodes[id]; !m.cut {
		_, _ = w.core.register(Registration{Host: string(id), Key: string(id), Boot: fmt.Sprint(m.boot), Runtimes: []string{"container"}, Capacity: room1()})
		w.settle()
	}
}

func (w *world) tell(d Desired) { w.core.desired(d); w.settle() }

// settle lets the core act, and the waits outside of it end at once.
func (w *world) settle() {
	for {
		if err := w.core.settle(w.ctx); err != nil {
			w.t.Fatal(err)
		}
		w.core.leaves.Wait()
		select {
		case f := <-w.core.f.cmds:
			f(w.core)
		default:
			w.invariants()
			return
		}
	}
}

func (w *world) order(id model.InstanceID, tombstone bool) {
	w.grant++
	a := w.want[id]
	if !tombstone || a.Grant == 0 {
		a.Grant = w.grant
	}
	a.Instance, a.Tombstone, a.Revision = id, tombstone, uint64(w.grant)
	a.Service = model.Service{ID: id.Service, Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: "d"},
		Spec: model.ServiceSpec{Runtime: "container", Demand: model.Resources{MemoryMB: 100}}}
	w.want[id] = a
	w.tell(Desired{Changed: []Assignment{a}})
}

// pass moves the clock, in steps that the manager does not take for a sleep.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= 500 * time.Millisecond {
		w.now = w.now.Add(500 * time.Millisecond)
		w.core.wake(w.now)
		w.core.tick()
		w.settle()
	}
}

func (w *world) report(id model.NodeID) {
	m := w.nodes[id]
	m.seq++
	r := &nodelink.NodeReport{Boot: fmt.Sprint(m.boot), Seq: m.seq, Complete: true}
	for a, s := range m.has {
		r.Containers = append(r.Containers, nodelink.Container{Service: a.Instance.Service, Number: a.Instance.Number, Observed: instance.Observed{Epoch: a.Epoch, State: s}})
	}
	if !m.cut {
		w.up = append(w.up, nodelink.Inbound{Node: id, Report: r})
	}
}

func (w *world) obey(p parcel) {
	m := w.nodes[p.to]
	if m == nil || m.cut {
		return
	}
	switch {
	case p.m.Deploy != nil:
		a := p.m.Deploy.Attempt
		if _, has := m.has[a]; !has && m.sick && !m.deaf && m.past[a.Instance].Less(a.Epoch) {
			m.has[a] = instance.Failed
		} else if !has && !m.deaf && m.past[a.Instance].Less(a.Epoch) {
			m.has[a] = instance.Running
			if w.began[a] == 0 {
				w.began[a] = len(w.began) + 1
			}
		}
	case p.m.Delete != nil:
		a := p.m.Delete.Attempt
		if m.has[a] == instance.Running && !w.want[a.Instance].Tombstone && !w.succeeded(a) {
			w.t.Fatalf("%v on %s is stopped, it is wanted and nothing of it has run since", a, p.to)
		}
		delete(m.has, a)
		if m.past[a.Instance].Less(a.Epoch) {
			m.past[a.Instance] = a.Epoch
		}
	}
}

// succeeded says that another attempt of a slot lives, or began later.
func (w *world) succeeded(a instance.Attempt) bool {
	for b, at := range w.began {
		if b.Instance == a.Instance && b != a && at > w.began[a] {
			return true
		}
	}
	for _, m := range w.nodes {
		for b, s := range m.has {
			if b.Instance == a.Instance && b != a && s == instance.Running {
				return true
			}
		}
	}
	return false
}

func (w *world) hear(in nodelink.Inbound) {
	w.core.wake(w.now)
	w.core.handle(in)
	w.settle()
}

// invariants hold at every instant: no attempt lives twice (I1), and the book
// knows of every one that does, or could end it (I2).
func (w *world) invariants() {
	at := map[instance.Attempt]model.NodeID{}
	for id, m := range w.nodes {
		for a, s := range m.has {
			if other, twice := at[a]; twice && s == instance.Running {
				w.t.Fatalf("%v lives on %s and on %s", a, other, id)
			}
			at[a] = id
		}
	}
}

// rest delivers everything until the levels agree, then compares with what is
// wanted.
func (w *world) rest() {
	for id, m := range w.nodes {
		m.cut, m.deaf, m.sick = false, false, false
		w.register(id)
	}
	for round := range 90 {
		for id := range w.nodes {
			w.report(id)
		}
		if round == 45 {
			w.sweep()
		}
		ups, downs := w.up, w.down
		w.up, w.down = nil, nil
		for _, in := range ups {
			w.hear(in)
		}
		for _, p := range downs {
			w.obey(p)
		}
		w.pass(2 * time.Second)
	}
	live := map[model.InstanceID]int{}
	for id, m := range w.nodes {
		for a, s := range m.has {
			if live[a.Instance]++; s != instance.Running || a.Epoch != w.book.slot(a.Instance).Started() || w.book.slot(a.Instance).Placement.Node != id {
				w.t.Fatalf("%s has %v (%d), the book says %+v", id, a, s, w.book.slot(a.Instance))
			}
		}
	}
	for id, a := range w.want {
		if n := 1; live[id] != n && !a.Tombstone || a.Tombstone && live[id] != 0 {
			w.t.Fatalf("%s lives %d times, tombstone %v; book %+v facts %+v", id, live[id], a.Tombstone, w.book.slot(id), w.root.get(id))
		}
		if a.Tombstone && !w.root.get(id).Gone {
			w.t.Fatalf("the tombstone of %s is not carried out: %+v", id, w.book.slot(id))
		}
	}
}

// sweep is root/assign's: an order that came after the end of its slot, whose
// deletion was lost, has started something that nobody has a record of.
func (w *world) sweep() {
	for _, m := range w.nodes {
		for a := range m.has {
			if _, held := w.book.all()[a.Instance]; !held && w.want[a.Instance].Tombstone {
				gone := w.want[a.Instance]
				gone.Grant = a.Epoch.Grant
				w.tell(Desired{Changed: []Assignment{gone}})
			}
		}
	}
}

func pick[T any](t *rapid.T, list []T) (v T, i int, ok bool) {
	if len(list) == 0 {
		return v, 0, false
	}
	i = rapid.IntRange(0, len(list)-1).Draw(t, "which")
	return list[i], i, true
}

func (w *world) node(t *rapid.T) (model.NodeID, *machine) {
	id := model.NodeID(fmt.Sprint("w", rapid.IntRange(0, 2).Draw(t, "node")))
	return id, w.nodes[id]
}

// slot picks one that is wanted.
func (w *world) slot(t *rapid.T) (id model.InstanceID, ok bool) {
	var list []model.InstanceID
	for k, a := range w.want {
		if !a.Tombstone {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b model.InstanceID) int { return a.Number - b.Number })
	id, _, ok = pick(t, list)
	return id, ok
}

// TestModel: P1. Whatever is asked, lost, doubled and reordered, whoever
// crashes: no attempt ever lives twice, and when the levels can talk again each
// wanted slot lives once, where the book says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"deploy": func(*rapid.T) {
				if w.next < 6 {
					w.order(model.InstanceID{Service: "aaaaaaaaaaaaaaaaaaaaaaaa", Number: w.next}, false)
					w.next++
				}
			},
			"grant again": func(t *rapid.T) {
				if id, ok := w.slot(t); ok {
					w.order(id, false)
				}
			},
			"delete": func(t *rapid.T) {
				if id, ok := w.slot(t); ok {
					w.order(id, true)
				}
			},
			"report": func(t *rapid.T) { id, _ := w.node(t); w.report(id) },
			"deliver up": func(t *rapid.T) {
				if in, i, ok := pick(t, w.up); ok {
					w.up = slices.Delete(w.up, i, i+1)
					w.hear(in)
				}
			},
			"double up": func(t *rapid.T) {
				if in, _, ok := pick(t, w.up); ok {
					w.hear(in)
				}
			},
			"deliver down": func(t *rapid.T) {
				if p, i, ok := pick(t, w.down); ok {
					w.down = slices.Delete(w.down, i, i+1)
					w.obey(p)
				}
			},
			"double down": func(t *rapid.T) {
				if p, _, ok := pick(t, w.down); ok {
					w.obey(p)
				}
			},
			"drop": func(t *rapid.T) {
				if _, i, ok := pick(t, w.down); ok {
					w.down = slices.Delete(w.down, i, i+1)
				}
			},
			"cut":  func(t *rapid.T) { _, m := w.node(t); m.cut = true },
			"deaf": func(t *rapid.T) { _, m := w.node(t); m.deaf = !m.deaf },
			"sick": func(t *rapid.T) { _, m := w.node(t); m.sick = !m.sick },
			"mend": func(t *rapid.T) {
				id, m := w.node(t)
				m.cut = false
				w.register(id)
			},
			"node crash": func(t *rapid.T) {
				id, m := w.node(t)
				m.boot++
				m.past, m.seq = map[model.InstanceID]instance.Epoch{}, 0
				w.down = slices.DeleteFunc(w.down, func(p parcel) bool { return p.to == id }) // a clean session
				w.register(id)
			},
			"container ends": func(t *rapid.T) {
				_, m := w.node(t)
				for a, s := range m.has {
					if s == instance.Running {
						m.has[a] = instance.Dead
						break
					}
				}
			},
			"disk lost": func(t *rapid.T) {
				id, m := w.node(t)
				m.boot++
				m.has, m.past, m.seq = map[instance.Attempt]instance.State{}, map[model.InstanceID]instance.Epoch{}, 0
				w.down = slices.DeleteFunc(w.down, func(p parcel) bool { return p.to == id })
				w.register(id)
			},
			"cluster crash": func(*rapid.T) { w.down, w.up = nil, nil; w.boot() },
			"root crash": func(*rapid.T) {
				w.tell(Desired{Snapshot: true, Changed: slices.Collect(maps.Values(w.want))})
			},
			"time": func(t *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 30).Draw(t, "s")) * time.Second / 2) },
		})
		w.rest()
	})
}

// TestDisorderChangesNothing: while workers live, messages that are lost,
// doubled and late cost time and nothing else: no second try is ever made. An
// order comes within 20 s; else the worker is taken for one that does not heed.
func TestDisorderChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for n := range 3 {
			w.order(model.InstanceID{Service: "aaaaaaaaaaaaaaaaaaaaaaaa", Number: n}, false)
		}
		for round := range rapid.IntRange(5, 40).Draw(t, "rounds") {
			for id := range w.nodes {
				w.report(id)
				w.hear(w.up[len(w.up)-1]) // one of each worker arrives, and stays for later copies
			}
			for range rapid.IntRange(0, 6).Draw(t, "ups") {
				in, i, _ := pick(t, w.up)
				w.hear(in)
				if rapid.Bool().Draw(t, "once") && len(w.up) > 1 {
					w.up = slices.Delete(w.up, i, i+1)
				}
			}
			for range rapid.IntRange(0, 4).Draw(t, "downs") {
				if p, i, ok := pick(t, w.down); ok {
					if rapid.IntRange(0, 9).Draw(t, "fate") > 0 {
						w.obey(p)
					}
					if rapid.Bool().Draw(t, "once") {
						w.down = slices.Delete(w.down, i, i+1)
					}
				}
			}
			if round%10 == 9 {
				for _, p := range w.down {
					w.obey(p)
				}
			}
			w.pass(2 * time.Second)
		}
		w.rest()
		for id, s := range w.book.all() {
			if s.Placement.Try != 1 || len(s.Old) != 0 {
				t.Fatalf("%s: %+v", id, s)
			}
		}
	})
}
