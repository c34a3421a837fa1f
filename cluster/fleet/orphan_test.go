package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

const lonely = "x.y.z.w"

// holds makes an engine have a container that nobody ordered.
func (e *engine) holds(job string, number int) {
	name, _ := model.ParseServiceName(job)
	e.set(func(e *engine) {
		e.tasks[key(name, number)] = true
		e.specs[key(name, number)] = &nodelink.Deploy{Name: name, Attempt: instance.Attempt{Instance: model.InstanceID{Number: number}}}
	})
}

func (e *engine) has(job string, number int) bool {
	name, _ := model.ParseServiceName(job)
	e.mu.Lock()
	defer e.mu.Unlock()
	_, there := e.tasks[key(name, number)]
	return there
}

// orphan is the only one that the root is shown.
func (r *rig) orphan() Orphan {
	r.t.Helper()
	s, err := r.f.Snapshot(r.ctx)
	if err != nil || len(s.Orphans) != 1 {
		r.t.Fatalf("orphans %+v, %v", s.Orphans, err)
	}
	return s.Orphans[0]
}

func (r *rig) noOrphan() {
	r.t.Helper()
	if s, err := r.f.Snapshot(r.ctx); err != nil || len(s.Orphans) != 0 || len(r.book.nodes["w1"].Ending) != 0 {
		r.t.Fatalf("orphans %+v, %v; the book ends %+v", s.Orphans, err, r.book.nodes["w1"].Ending)
	}
}

func (r *rig) end(o Orphan, class error, text string) {
	r.t.Helper()
	err := r.f.EndOrphan(r.ctx, o)
	if class == nil && err != nil || class != nil && (!errors.Is(err, class) || !strings.Contains(err.Error(), text)) {
		r.t.Fatalf("end %+v: %v, want %v with %q", o, err, class, text)
	}
}

// Nobody but a person ends a container of an agent without epochs that no
// record explains.
func TestAnOrphanOfAnOriginalIsEnded(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.holds(lonely, 0)
		e.holds(lonely, 1)
		elapse(time.Minute)
		r.wantTold(e, 0, 0)
		o := Orphan{Node: "w1", Instance: model.InstanceID{Number: 1}, Name: lonely}
		r.end(o, nil, "")
		r.end(o, nil, "") // twice is once
		elapse(20 * time.Second)
		if e.has(lonely, 1) || !e.has(lonely, 0) || r.root.noted("node-orphan-removed") != 1 {
			t.Fatalf("it is still there, or the other one is gone")
		}
		if left := r.orphan(); left.Instance.Number != 0 || left.Ending {
			t.Errorf("%+v", left)
		}
		r.end(o, errs.NotFound, lonely)
		r.end(Orphan{Node: "w9", Name: lonely}, errs.NotFound, "w9")
	})
}

// What belongs to a live slot of that name is not ended, whoever asks.
func TestALiveSlotOfAnOriginalIsNotEnded(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10 * time.Second)
		r.end(Orphan{Node: "w1", Instance: model.InstanceID{Number: 0}, Name: "a.b.c.d"}, errs.Conflict, "instance "+slotID.String())
		r.end(Orphan{Node: "w1", Instance: slotID, Name: "a.b.c.d"}, errs.Conflict, "instance "+slotID.String())
		elapse(10 * time.Second)
		r.wantTold(e, 1, 0)
		r.wantFacts(instance.Running, 1, "w1")
	})
}

// An orphan is ordered to end, and the slot of its name is given to the same
// worker before that is done: what is deployed for the slot comes after, and
// stays.
func TestASlotComesWhereAnOrphanOfItsNameEnds(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.holds("a.b.c.d", 0)
		elapse(10 * time.Second)
		r.end(r.orphan(), nil, "")
		r.desire(false)
		elapse(40 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
		r.wantTold(e, 1, 1)
		if d := e.deploys[0].Sub(e.deletes[0]); d < originalClear {
			t.Errorf("deployed %s after the delete", d)
		}
		r.noOrphan()
	})
}

// A slot that came to the worker before the order has taken the container up.
func TestAnOrphanThatWasTakenUpIsNotEnded(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.holds("a.b.c.d", 0)
		elapse(10 * time.Second)
		o := r.orphan()
		r.desire(false)
		elapse(time.Second)
		r.end(o, errs.Conflict, "instance "+slotID.String())
		elapse(20 * time.Second)
		if _, deletes, runs := e.told(); deletes != 0 || !runs {
			t.Errorf("%d deletes, runs: %v", deletes, runs)
		}
	})
}

// The order outlives the worker's absence and a restart of the manager.
func TestAnOrderToEndAnOrphanIsKept(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.holds(lonely, 0)
		elapse(10 * time.Second)
		e.link.Disconnect()
		elapse(20 * time.Second)
		r.end(r.orphan(), nil, "")
		if o := r.orphan(); !o.Ending {
			t.Errorf("it is not shown that it ends: %+v", o)
		}
		r.stop()
		elapse(time.Second)
		r.start()
		elapse(10 * time.Second)
		e.link.Connect()
		elapse(10 * time.Second)
		r.wantTold(e, 0, 0) // the root has not said everything yet
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true}); err != nil {
			t.Fatal(err)
		}
		r.register(Registration{Host: "w1", Runtimes: []string{"docker", "container"}, Architecture: "amd64", Capacity: room1()})
		elapse(20 * time.Second)
		if e.has(lonely, 0) {
			t.Error("it is still there")
		}
		r.noOrphan()
	})
}

// Of our agents exactly the attempt that was named ends.
func TestOneOfTwoOrphansIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		id := model.InstanceID{Service: "bbbbbbbbbbbbbbbbbbbbbbbb", Number: 4}
		older, newer := instance.Epoch{Grant: 5, Try: 1}, instance.Epoch{Grant: 6, Try: 1}
		w := r.nodes["w1"]
		w.mu.Lock()
		w.has[instance.Attempt{Instance: id, Epoch: older}], w.has[instance.Attempt{Instance: id, Epoch: newer}] = instance.Running, instance.Running
		w.mu.Unlock()
		elapse(time.Minute)
		r.end(Orphan{Node: "w1", Instance: id, Epoch: instance.Epoch{Grant: 4, Try: 1}}, errs.Conflict, "list again")
		r.end(Orphan{Node: "w1", Instance: id, Epoch: older}, nil, "")
		elapse(10 * time.Second)
		if o := r.orphan(); o.Epoch != newer || o.Instance != id {
			t.Errorf("%+v", o)
		}
		r.end(Orphan{Node: "w1", Instance: id, Epoch: newer}, nil, "")
		elapse(10 * time.Second)
		r.noOrphan()
		if n, _ := w.count(); n != 0 {
			t.Error("it runs")
		}
		r.desire(false)
		elapse(10 * time.Second)
		f := r.root.get(slotID)
		r.end(Orphan{Node: "w1", Instance: slotID, Epoch: f.Observed.Epoch}, errs.Conflict, "instance "+slotID.String())
		if n, _ := w.count(); n != 1 {
			t.Error("a live slot was ended")
		}
	})
}

// Messages to a worker are lost, doubled and late; the order is carried out all
// the same, and no second time.
func TestAnOrphanOverALossyBus(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.holds(lonely, 0)
		elapse(10 * time.Second)
		e.set(func(e *engine) { e.quiet = true })
		r.end(r.orphan(), nil, "")
		elapse(30 * time.Second)
		if _, deletes, _ := e.told(); deletes != 1 {
			t.Errorf("told %d times while nothing is heard", deletes)
		}
		e.set(func(e *engine) { e.quiet = false })
		elapse(20 * time.Second)
		r.noOrphan()
		e.holds(lonely, 0) // somebody started it again by hand
		elapse(20 * time.Second)
		if _, deletes, _ := e.told(); deletes != 1 {
			t.Errorf("told %d times", deletes)
		}
	})
}

// The tombstone of a slot that the root has no record of does not name its
// service. An original agent knows nothing but that name.
func TestATombstoneWithoutANameEndsAnOriginals(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10 * time.Second)
		bare := Assignment{Instance: slotID, Grant: 7, Tombstone: true, Service: model.Service{ID: slotID.Service}}
		if err := r.f.Desired(r.ctx, Desired{Revision: 2, Changed: []Assignment{bare}}); err != nil {
			t.Fatal(err)
		}
		elapse(40 * time.Second)
		if e.has("a.b.c.d", 0) || len(r.book.all()) != 0 || !r.root.get(slotID).Gone {
			t.Errorf("it is still there: %+v", r.book.all())
		}
	})
}
