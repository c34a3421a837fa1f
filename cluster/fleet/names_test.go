package fleet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// namesake is an assignment of another service with the job name of order(slotID).
func namesake(id string, grant instance.Grant, image string) Assignment {
	a := order(slotID, grant, image)
	a.Instance.Service = model.ServiceID(id)
	a.Service.ID = a.Instance.Service
	a.Service.Spec.Demand = model.Resources{MemoryMB: 100}
	return a
}

var (
	first  = namesake(string(slotID.Service), 7, "old")
	second = namesake("bbbbbbbbbbbbbbbbbbbbbbbb", 9, "new")
	third  = namesake("cccccccccccccccccccccccc", 11, "newest")
)

func ends(a Assignment) Assignment {
	a.Tombstone = true
	a.Revision++
	return a
}

func (r *rig) tell(list ...Assignment) {
	r.t.Helper()
	if err := r.f.Desired(r.ctx, Desired{Revision: 1, Changed: list}); err != nil {
		r.t.Fatal(err)
	}
}

// again starts the manager anew; the root has nothing new to say.
func (r *rig) again() {
	r.t.Helper()
	r.stop()
	r.start()
	if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1}); err != nil {
		r.t.Fatal(err)
	}
}

// watch lets time pass; at no moment is a slot told of as running while its
// worker runs something else.
func (r *rig) watch(d time.Duration, engines map[string]*engine, list ...Assignment) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		elapse(100 * time.Millisecond)
		for _, a := range list {
			f := r.root.get(a.Instance)
			e := engines[string(f.Placement.Node)]
			if f.Observed.State != instance.Running || f.Gone || e == nil {
				continue
			}
			// What has just ended is noticed a moment later.
			if has := e.images(); len(has) > 0 && !slices.Contains(has, a.Service.Spec.Image) {
				r.t.Fatalf("%s is told of as running, %s runs %v", a.Instance, f.Placement.Node, has)
			}
		}
	}
}

func (r *rig) wantState(a Assignment, s instance.State, node string) {
	r.t.Helper()
	if f := r.root.get(a.Instance); f.Observed.State != s || string(f.Placement.Node) != node || f.Gone {
		r.t.Fatalf("%s: want state %d on %q, have %+v", a.Instance, s, node, f)
	}
}

// A service is deleted and another one of its name created: the new one is not
// sent to an original agent before the old one is gone there, and nothing that
// is said of the old one counts for the new one.
func TestOneNameAfterAnother(t *testing.T) {
	for _, how := range []struct {
		name string
		lost int // deletes
		tell func(r *rig)
		stop bool // the manager starts again on the way
	}{
		{"in one message", 0, func(r *rig) { r.tell(ends(first), second) }, false},
		{"the new one first", 0, func(r *rig) { r.tell(second); elapse(3 * time.Second); r.tell(ends(first)) }, false},
		{"the delete is lost", 1, func(r *rig) { r.tell(ends(first), second) }, false},
		{"many deletes are lost", 10, func(r *rig) { r.tell(ends(first), second) }, false},
		{"the manager starts again", 3, func(r *rig) { r.tell(ends(first), second) }, true},
	} {
		t.Run(how.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig, e *engine) {
				r.tell(first)
				elapse(10 * time.Second)
				r.wantState(first, instance.Running, "w1")
				e.set(func(e *engine) { e.lose = how.lost })
				how.tell(r)
				engines := map[string]*engine{"w1": e}
				if how.stop {
					r.watch(2500*time.Millisecond, engines, second)
					r.again()
				}
				r.watch(time.Minute, engines, second)
				r.wantState(second, instance.Running, "w1")
				if !r.root.get(first.Instance).Gone || !slices.Equal(e.images(), []string{"new"}) {
					t.Errorf("%+v; it runs %v", r.root.get(first.Instance), e.images())
				}
				r.wantTold(e, 2, 1)
				if gap := e.deploys[1].Sub(e.deletes[0]); gap < 6*time.Second || gap > 10*time.Second {
					t.Errorf("the new one was sent %s after the delete of the old one", gap)
				}
				r.tell(ends(second))
				elapse(30 * time.Second)
				if len(r.book.all()) != 0 || len(e.images()) != 0 {
					t.Errorf("left: %+v, %v", r.book.all(), e.images())
				}
			})
		})
	}
}

// The second was never sent, so it needs no delete, which would hit whatever
// has the name.
func TestThreeOfOneName(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.tell(first)
		elapse(10 * time.Second)
		e.set(func(e *engine) { e.lose = 2 })
		r.tell(ends(first), second)
		elapse(time.Second)
		r.tell(ends(second), third)
		r.watch(time.Minute, map[string]*engine{"w1": e}, second, third)
		r.wantState(third, instance.Running, "w1")
		r.wantTold(e, 2, 1)
		for _, a := range []Assignment{first, second} {
			if !r.root.get(a.Instance).Gone {
				t.Errorf("%+v", r.root.get(a.Instance))
			}
		}
	})
}

// The old one cannot be removed where it is: the new one runs elsewhere at once,
// and goes on to do so after a start of the manager.
func TestTheOldOneStaysBehind(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.tell(first)
		elapse(10 * time.Second)
		r.wantState(first, instance.Running, "w1")
		other := r.engine(e.gen, "w2")
		elapse(5 * time.Second)
		e.set(func(e *engine) { e.lose = 1 << 20 })
		r.tell(ends(first), second)
		engines := map[string]*engine{"w1": e, "w2": other}
		r.watch(5*time.Second, engines, second)
		r.wantState(second, instance.Running, "w2")
		for range 8 { // the book hands slots out in any order
			r.again()
			r.watch(20*time.Second, engines, second)
			r.wantState(second, instance.Running, "w2")
			r.wantTold(other, 1, 0)
			if r.root.get(first.Instance).Gone || !slices.Equal(e.images(), []string{"old"}) {
				t.Fatalf("%+v; w1 runs %v", r.root.get(first.Instance), e.images())
			}
		}
		e.word(e.specs[key(first.Service.Name, 0)], instance.Dead, "Container exited with status: 1")
		elapse(5 * time.Second)
		r.wantState(second, instance.Running, "w2")
		other.exits(1) // its node is avoided, but the other one still has the name
		r.watch(30*time.Second, engines, second)
		if f := r.root.get(second.Instance); f.Observed.State == instance.Running && f.Placement.Node != "w2" {
			t.Fatalf("%+v", f)
		}
		e.set(func(e *engine) { e.lose = 0 })
		r.watch(time.Minute, engines, second)
		if f := r.root.get(second.Instance); f.Observed.State != instance.Running || !r.root.get(first.Instance).Gone {
			t.Errorf("%+v; the old one: %+v", f, r.root.get(first.Instance))
		}
		if len(e.images())+len(other.images()) != 1 {
			t.Errorf("w1 runs %v, w2 runs %v", e.images(), other.images())
		}
	})
}

// Two users may each have a service of one name. Two of them on one original
// agent would be one container.
func TestTwoUsersWithOneName(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.tell(first, second)
		elapse(10 * time.Second)
		one, two := r.root.get(first.Instance), r.root.get(second.Instance)
		if one.Placement.Verdict == two.Placement.Verdict {
			t.Fatalf("%+v and %+v", one.Placement, two.Placement)
		}
		runs, waits := first, second
		if one.Placement.Verdict == instance.Refused {
			runs, waits = second, first
		}
		r.wantState(runs, instance.Running, "w1")
		if why := r.root.get(waits.Instance).Placement.Reasons; len(why) != 1 || why[0].Name != "name" || why[0].Detail != "w1: has another service of that name" {
			t.Errorf("it waits for %+v", why)
		}
		other := r.engine(e.gen, "w2")
		engines := map[string]*engine{"w1": e, "w2": other}
		r.watch(20*time.Second, engines, first, second)
		r.wantState(runs, instance.Running, "w1")
		r.wantState(waits, instance.Running, "w2")

		e.exits(1) // which is nothing to the other one
		r.watch(40*time.Second, engines, first, second)
		r.wantState(runs, instance.Running, "w1")
		r.wantState(waits, instance.Running, "w2")
		r.wantTold(other, 1, 0)

		if m := r.order("w2", Drain); len(m) != 1 || m[0].To != "" || m[0].Reason == "" {
			t.Errorf("the drain moves %+v", m)
		}
		r.tell(ends(runs)) // now there is room for it, after a while
		r.watch(time.Minute, engines, waits)
		r.wantState(waits, instance.Running, "w1")
		if len(other.images()) != 0 {
			t.Errorf("w2 runs %v", other.images())
		}
	})
}

// Ours tell attempts apart: nothing waits.
func TestOneNameOnOurs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.tell(first)
		elapse(5 * time.Second)
		r.tell(ends(first), second)
		elapse(5 * time.Second)
		r.wantState(second, instance.Running, "w1")
		r.tell(third)
		elapse(5 * time.Second)
		r.wantState(second, instance.Running, "w1")
		r.wantState(third, instance.Running, "w1")
	})
}

// A name without slots is forgotten.
func TestNamesAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.engine(generations[2], "w1")
		elapse(5 * time.Second)
		for i := range 20 {
			a := namesake(fmt.Sprintf("%024d", i), instance.Grant(100+i), "x")
			a.Service.Name.Service = fmt.Sprint("s", i%7)
			r.tell(a)
			elapse(5 * time.Second)
			if i%2 == 0 {
				r.again()
				elapse(5 * time.Second)
			}
			r.tell(ends(a))
			elapse(25 * time.Second)
		}
		names, err := ask(r.ctx, r.f, func(c *core) int { return len(c.where.names) })
		if err != nil || names != 0 || len(r.book.all()) != 0 {
			t.Errorf("%d names of %d slots, %v", names, len(r.book.all()), err)
		}
	})
}

// What the NetManager of an original says of a name is about the service that
// its worker has.
func TestEndpointsOfOneName(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		heard := make(chan nodelink.Inbound, 64)
		r.stop()
		r.network = heeded{r.network, heard}
		r.start()
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1}); err != nil {
			t.Fatal(err)
		}
		other := r.engine(e.gen, "w2")
		elapse(5 * time.Second)
		r.tell(first, second)
		elapse(10 * time.Second)
		for node, e := range map[string]*engine{"w1": e, "w2": other} {
			want := first
			if string(r.root.get(second.Instance).Placement.Node) == node {
				want = second
			}
			said := nodelink.Endpoint{JobName: want.Service.Name.String()}
			e.link.Send(nodelink.Inbound{Deployed: &said})
			elapse(time.Millisecond)
			if in := <-heard; in.Deployed == nil || in.Deployed.Service != want.Instance.Service || said.Service != "" {
				t.Errorf("%s: %+v", node, in.Deployed)
			}
			e.link.Send(nodelink.Inbound{Deployed: &nodelink.Endpoint{JobName: "x.x.x.x"}})
			elapse(time.Millisecond)
			if in := <-heard; in.Deployed == nil || in.Deployed.Service != "" {
				t.Errorf("%s, of a name that nobody has: %+v", node, in.Deployed)
			}
		}
	})
}

// The root has lost the record of a slot, and sends a tombstone that names
// nothing: an original agent is told the name nevertheless.
func TestNamelessTombstone(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.tell(first)
		elapse(10 * time.Second)
		a := ends(first)
		a.Service = model.Service{ID: first.Service.ID}
		r.tell(a)
		elapse(30 * time.Second)
		if !r.root.get(first.Instance).Gone || len(e.images()) != 0 {
			t.Errorf("%+v; it runs %v", r.root.get(first.Instance), e.images())
		}
	})
}

// The network plane hears which of two services of a name ends, and of every
// attempt that nothing is left of it, the one that was never sent too.
func TestTheNetworkHearsWhichOneEnds(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		heard := &hearing{Network: r.network, ends: map[model.ServiceID]bool{}, gone: map[instance.Attempt]bool{}}
		r.network = heard
		r.again()
		r.tell(first)
		elapse(10 * time.Second)
		e.set(func(e *engine) { e.lose = 2 })
		r.tell(ends(first), second)
		elapse(time.Second)
		if a, b := heard.of(first), heard.of(second); !a || b {
			t.Errorf("the old one ends: %v, the new one: %v", a, b)
		}
		r.tell(ends(second), third)
		elapse(time.Minute)
		for _, a := range []Assignment{first, second} {
			if !heard.isGone(instance.Attempt{Instance: a.Instance, Epoch: instance.Epoch{Grant: a.Grant, Try: 1}}) {
				t.Errorf("it has not heard that %s is gone", a.Instance)
			}
		}
	})
}

type hearing struct {
	tables.Network
	mu   sync.Mutex
	ends map[model.ServiceID]bool
	gone map[instance.Attempt]bool
}

func (h *hearing) SetService(s tables.Service) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends[s.ID] = s.Ends
}

func (h *hearing) Gone(a instance.Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone[a] = true
}

func (h *hearing) of(a Assignment) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[a.Instance.Service]
}

func (h *hearing) isGone(a instance.Attempt) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone[a]
}

// heeded passes on what NetManagers say.
type heeded struct {
	tables.Network
	heard chan<- nodelink.Inbound
}

func (h heeded) Handle(in nodelink.Inbound) { h.heard <- in }
