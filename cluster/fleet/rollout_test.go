package fleet

import (
	"context"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// give orders the slot under a grant, with an image and a host port, as large
// as a whole node.
func (r *rig) give(grant instance.Grant, image string) {
	r.t.Helper()
	err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: uint64(grant), Changed: []Assignment{order(slotID, grant, image)}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func order(id model.InstanceID, grant instance.Grant, image string) Assignment {
	return Assignment{
		Instance: id, Grant: grant, Revision: uint64(grant),
		Service: model.Service{ID: id.Service, Name: model.ServiceName{App: "a", AppNamespace: "b", Service: string(id.Service[:1]), ServiceNamespace: "d"},
			Spec: model.ServiceSpec{Image: image, Runtime: "container", Demand: model.Resources{MilliCPU: 4000, MemoryMB: 4000}}},
	}
}

// holds lists the grants of the attempts that run on a node.
func (w *worker) holds() map[instance.Grant]instance.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[instance.Grant]instance.State{}
	for a, s := range w.has {
		out[a.Epoch.Grant] = s
	}
	return out
}

// A node that is full takes the next revision in place: the old attempt's room
// is the slot's own, and the old one runs until the new one does.
func TestANewGrantIsPlacedInItsOwnRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.give(7, "v1")
		time.Sleep(10 * time.Second)
		other := model.InstanceID{Service: "bbbbbbbbbbbbbbbbbbbbbbbb"} // waits for the same room
		if err := r.f.Desired(r.ctx, Desired{Revision: 8, Changed: []Assignment{order(other, 8, "x")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		if f := r.root.get(other); f.Placement.Verdict != instance.Refused {
			t.Fatalf("the other: %+v", f)
		}
		down := make(chan bool)
		ctx, stop := context.WithCancel(r.ctx)
		go func() { // watches whether there is ever nothing
			gap := false
			for ctx.Err() == nil {
				running, _ := r.nodes["w1"].count()
				gap = gap || running == 0
				time.Sleep(100 * time.Millisecond)
			}
			down <- gap
		}()
		r.give(9, "v2")
		time.Sleep(20 * time.Second)
		stop()
		if <-down {
			t.Error("for a moment nothing ran")
		}
		if h := r.nodes["w1"].holds(); len(h) != 1 || h[9] != instance.Running {
			t.Fatalf("the node holds %v", h)
		}
		if f := r.root.get(slotID); f.Grant != 9 || f.Observed.State != instance.Running {
			t.Errorf("facts %+v", f)
		}
		if f := r.root.get(other); f.Placement.Verdict != instance.Refused {
			t.Errorf("the other took the room: %+v", f)
		}
	})
}

// What a new grant replaces leaves the tables before it ends, and not before
// the new one has run for a moment. One that never ran has nothing to leave;
// what it was to replace does so instead.
func TestANewGrantHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		w := r.nodes["w1"]
		held := make(chan map[instance.Grant]instance.State, 16)
		r.stop()
		r.network = watched{quiet{leaves: r.leaves}, func() { held <- w.holds() }}
		r.start()
		r.give(7, "v1")
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.broken = 8
		w.mu.Unlock()
		r.give(8, "broken")
		time.Sleep(10 * time.Second)
		if left := r.left(); len(left) != 0 {
			t.Fatalf("%v left for one that does not run", left)
		}
		r.give(9, "v2")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			h := w.holds()
			if left := r.left(); len(left) > 0 {
				if h := <-held; len(left) != 1 || left[0] != 7 || h[7] != instance.Running || h[9] != instance.Running {
					t.Errorf("%v left while the node held %v", left, h)
				}
				break
			}
			if _, there := h[7]; !there {
				t.Fatalf("the node holds %v, and nothing has left the tables", h)
			}
		}
		time.Sleep(10 * time.Second)
		if h := w.holds(); len(h) != 1 || h[9] != instance.Running {
			t.Errorf("the node holds %v", h)
		}
	})
}

// watched is a network plane that calls at before an attempt leaves the tables.
type watched struct {
	quiet
	at func()
}

func (w watched) Leave(ctx context.Context, a instance.Attempt) {
	w.at()
	w.quiet.Leave(ctx, a)
}

// left takes the grants of attempts that have left the tables.
func (r *rig) left() (list []instance.Grant) {
	for {
		select {
		case a := <-r.leaves:
			list = append(list, a.Epoch.Grant)
		default:
			return list
		}
	}
}

// The new revision does not start: the old attempt stays, and a third grant
// ends both.
func TestTheOldAttemptOutlivesABrokenOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		w := r.nodes["w1"]
		r.give(7, "v1")
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.broken = 9
		w.mu.Unlock()
		r.give(9, "v2")
		time.Sleep(2 * time.Minute)
		if h := w.holds(); h[7] != instance.Running {
			t.Fatalf("the node holds %v", h)
		}
		// What it had before runs on, and is not taken for what it was told.
		f := r.root.get(slotID)
		word := instance.Status(instance.Facts{Grant: f.Grant, Placement: f.Placement, Observed: f.Observed, Node: f.Node})
		if f.Observed.State == instance.Running && f.Observed.Epoch.Grant != 7 || f.Grant != 9 || word == instance.WordRunning {
			t.Fatalf("%s, facts %+v", word, f)
		}
		r.give(10, "v1")
		time.Sleep(20 * time.Second)
		if h := w.holds(); len(h) != 1 || h[10] != instance.Running {
			t.Errorf("the node holds %v", h)
		}
	})
}

// An original agent cannot hold two attempts of a slot: the old one ends
// first. Were it to wait for the new one, neither would ever move.
func TestAnOriginalAgentReplacesInPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		id, err := r.f.Register(r.ctx, Registration{Host: "old", Runtimes: []string{"docker", "container"}, Architecture: "amd64", Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 4000}})
		if err != nil {
			t.Fatal(err)
		}
		w := &original{worker: worker{link: r.hub.Node(id), has: map[instance.Attempt]instance.State{}}}
		r.wg.Go(func() { w.run(r.ctx) })
		r.give(7, "v1")
		time.Sleep(20 * time.Second)
		if f := r.root.get(slotID); f.Observed.State != instance.Running {
			t.Fatalf("facts %+v", f)
		}
		r.give(9, "v2")
		time.Sleep(time.Minute)
		if f := r.root.get(slotID); f.Grant != 9 || f.Observed.State != instance.Running || f.Observed.Epoch.Grant != 9 {
			t.Fatalf("facts %+v", f)
		}
		if running, started := w.count(); running != 1 || started != 2 {
			t.Errorf("%d run, %d were started", running, started)
		}
	})
}

// original is a worker whose agent knows no epochs: one container per slot.
type original struct{ worker }

func (w *original) run(ctx context.Context) {
	for {
		w.mu.Lock()
		for _, m := range w.link.Pending() {
			switch {
			case m.Deploy != nil:
				k := instance.Attempt{Instance: m.Deploy.Attempt.Instance}
				if _, there := w.has[k]; !there {
					w.has[k] = instance.Running
					w.started++
				}
			case m.Delete != nil:
				delete(w.has, instance.Attempt{Instance: m.Delete.Attempt.Instance})
			}
		}
		w.seq++
		r := &nodelink.NodeReport{Boot: "b", Seq: w.seq, Complete: true}
		for a := range w.has {
			r.Containers = append(r.Containers, nodelink.Container{JobName: "a.b.a.d", Number: a.Instance.Number})
		}
		w.mu.Unlock()
		w.link.Send(nodelink.Inbound{Report: r})
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

func TestPlanOfASupersededAttempt(t *testing.T) {
	now := time.Unix(1000, 0)
	w := Want{Slot: store.Slot{
		Instance: slotID, Grant: 9, LastTry: 1, Placement: instance.Placement{Try: 1, Node: "w1", Verdict: instance.Placed},
		Old: []store.Old{{Epoch: instance.Epoch{Grant: 7, Try: 1}, Node: "w1"}},
	}, DeletedAt: map[store.Old]time.Time{}}
	for _, c := range []struct {
		name     string
		original bool
		node     model.NodeID
		state    instance.State
		want     string
	}{
		{"ours waits for the new one", false, "w1", instance.Unknown, "deploy"},
		{"ours ends when it runs", false, "w1", instance.Running, "delete"},
		{"an original ends first", true, "w1", instance.Unknown, "delete"},
		{"an original elsewhere waits", true, "w2", instance.Unknown, ""},
	} {
		w.Old[0].Node, w.Observed = c.node, instance.Observed{State: c.state}
		h := Have{Synced: true, Nodes: map[model.NodeID]NodeHave{
			"w1": {Liveness: instance.Alive, CompleteAt: now, Original: c.original}, "w2": {Liveness: instance.Alive, CompleteAt: now, Original: c.original},
		}}
		acts, _ := Plan(w, h, now)
		got := ""
		for _, a := range acts {
			if a.Kind == Delete || a.Kind == Deploy && c.node == "w1" {
				got += kinds[a.Kind]
			}
		}
		if got != c.want {
			t.Errorf("%s: %v", c.name, acts)
		}
	}
}

// What runs once may end before it has taken over: what it replaces ends, too.
func TestWhatRunsOnceIsReplacedByWhatHasCompleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		once := func(g instance.Grant) {
			a := order(slotID, g, "v")
			a.Service.Spec.OneShot, a.Service.Spec.Demand = true, model.Resources{MemoryMB: 100}
			if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: uint64(g), Changed: []Assignment{a}}); err != nil {
				t.Fatal(err)
			}
		}
		once(7)
		elapse(5 * time.Second)
		for _, w := range r.nodes {
			w.starts(instance.Completed)
		}
		once(9)
		elapse(10 * time.Second)
		if n, started := r.total(); n != 0 || started != 2 {
			t.Errorf("%d run, %d were started", n, started)
		}
		if s := r.book.slot(slotID); s.Handoff != (store.Old{}) || len(s.Old) != 0 || r.root.get(slotID).Observed.State != instance.Completed {
			t.Errorf("%+v, the root sees %+v", s, r.root.get(slotID))
		}
	})
}
