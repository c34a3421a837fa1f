package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func (r *rig) word() instance.Word {
	f := r.root.get(slotID)
	return instance.Status(instance.Facts{Grant: f.Grant, Placement: f.Placement, Observed: f.Observed, Node: f.Node})
}

func (r *rig) change(host string, f func(w *worker)) {
	w := r.nodes[host]
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// reason is what the root reads of one reason.
func (r *rig) reason(name string) instance.Reason {
	for _, v := range r.root.get(slotID).Placement.Reasons {
		if v.Name == name {
			return v
		}
	}
	return instance.Reason{}
}

// A worker that lives and never starts what it is told does not keep it.
func TestAWorkerThatDoesNotHeed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.change("w1", func(w *worker) { w.deaf = true })
		r.desire(false)
		elapse(2 * time.Second)
		r.join("w2")
		elapse(18 * time.Second)
		if got := r.reason(instance.ReasonSent); r.word() != instance.WordNodeScheduled || got.Count < 4 {
			t.Errorf("after 20 s: %s, %+v", r.word(), got)
		}
		elapse(25 * time.Second)
		r.wantFacts(instance.Running, 2, "w2")
		if got := r.reason(instance.ReasonSent); got.Count != 0 || r.root.noted("node-unheeding") != 1 {
			t.Errorf("afterwards %+v, noted %d times", got, r.root.noted("node-unheeding"))
		}
		r.change("w1", func(w *worker) { w.deaf = false })
		elapse(30 * time.Second)
		r.wantTotal(1, 1)
	})
}

// An original agent has ten minutes: it says nothing while it pulls.
func TestAnOriginalThatDoesNotHeed(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.set(func(e *engine) { e.deaf = true })
		r.desire(false)
		elapse(2 * time.Second)
		r.engine(e.gen, "w2")
		elapse(9 * time.Minute)
		r.wantFacts(instance.Unknown, 1, "w1")
		elapse(2 * time.Minute)
		r.wantFacts(instance.Running, 2, "w2")
	})
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.set(func(e *engine) { e.pull = 9 * time.Minute })
		r.desire(false)
		elapse(2 * time.Second)
		r.engine(e.gen, "w2")
		elapse(10 * time.Minute)
		r.wantFacts(instance.Running, 1, "w1")
	})
}

// What is made for ever is given up; each change gives it its time again.
func TestWhatIsNeverMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.change("w1", func(w *worker) { w.first = instance.Creating })
		r.desire(false)
		elapse(2 * time.Second)
		r.join("w2")
		elapse(19 * time.Minute)
		r.wantFacts(instance.Creating, 1, "w1")
		r.nodes["w1"].set(instance.Created)
		elapse(9 * time.Minute)
		r.wantFacts(instance.Created, 1, "w1")
		elapse(2 * time.Minute)
		r.wantFacts(instance.Running, 2, "w2")
		r.wantTotal(1, 2)
	})
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.change("w1", func(w *worker) { w.first = instance.Creating })
		r.desire(false)
		elapse(2 * time.Second)
		r.join("w2")
		elapse(21 * time.Minute)
		r.wantFacts(instance.Running, 2, "w2")
	})
}

// Two workers that cannot start it do not keep it from the third.
func TestEveryWorkerIsTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2", "w3")
		r.change("w1", func(w *worker) { w.fails = true })
		r.change("w2", func(w *worker) { w.fails = true })
		ballast := order(model.InstanceID{Service: "bbbbbbbbbbbbbbbbbbbbbbbb"}, 5, "x")
		ballast.Service.Spec.Demand = model.Resources{MemoryMB: 1000}
		r.order("w1", Cordon)
		r.order("w2", Cordon)
		if err := r.f.Desired(r.ctx, Desired{Revision: 1, Changed: []Assignment{ballast}}); err != nil { // w3 ranks last
			t.Fatal(err)
		}
		elapse(5 * time.Second)
		r.order("w1", Uncordon)
		r.order("w2", Uncordon)
		if err := r.f.Desired(r.ctx, Desired{Revision: 2, Changed: []Assignment{assignment(7, false)}}); err != nil {
			t.Fatal(err)
		}
		elapse(time.Minute)
		r.wantFacts(instance.Running, 3, "w3")
		for _, host := range []string{"w1", "w2"} {
			if _, started := r.nodes[host].count(); started != 1 {
				t.Errorf("%s was tried %d times", host, started)
			}
		}
	})
}

// Once every worker has failed the root is told, with the last reason; after
// pauses that grow they are tried again, and one that is new at once.
func TestWhenEveryWorkerFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.change("w1", func(w *worker) { w.fails = true })
		r.change("w2", func(w *worker) { w.fails = true })
		r.desire(false)
		elapse(10 * time.Second)
		f, why := r.root.get(slotID), r.reason(instance.ReasonFailed)
		if f.Placement.Verdict != instance.Refused || why.Count != 2 || !strings.HasPrefix(why.Detail, "w2: ") || r.word() != instance.WordFailed {
			t.Fatalf("%s, %+v", r.word(), f.Placement)
		}
		elapse(30 * time.Minute)
		if _, n := r.total(); n < 20 || n > 60 {
			t.Errorf("they were tried %d times in 30 min", n)
		}
		for r.root.get(slotID).Placement.Verdict != instance.Refused {
			elapse(time.Second)
		}
		r.join("w3")
		elapse(5 * time.Second)
		if f := r.root.get(slotID); f.Observed.State != instance.Running || f.Placement.Node != "w3" {
			t.Errorf("%+v", f)
		}
	})
	bubble(t, func(t *testing.T) { // the only worker is mended
		r := newRig(t, "w1")
		r.change("w1", func(w *worker) { w.fails = true })
		r.desire(false)
		elapse(5 * time.Minute)
		r.change("w1", func(w *worker) { w.fails = false })
		elapse(2*time.Minute + 10*time.Second)
		if r.word() != instance.WordRunning {
			t.Errorf("%s, %+v", r.word(), r.root.get(slotID))
		}
	})
}

// What ends by itself is not the fault of a worker: it stays in the cluster,
// and may stay on the worker.
func TestWhatCrashesBlamesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		for _, host := range []string{"w1", "w2"} {
			r.change(host, func(w *worker) { w.first = instance.Dead })
		}
		r.desire(false)
		var words []instance.Word
		for range 600 {
			elapse(time.Second)
			if w := r.word(); !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		if slices.Contains(words, instance.WordFailed) || slices.Contains(words, instance.WordNoWorkerCapacity) || !slices.Contains(words, instance.WordDead) {
			t.Errorf("words %v", words)
		}
		if r.root.noted("node-unheeding") != 0 {
			t.Error("a worker is blamed")
		}
	})
}

// A healthy minute makes up for what a worker failed before.
func TestAHealthyMinuteForgives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.change("w1", func(w *worker) { w.fails = true })
		r.desire(false)
		elapse(10 * time.Second)
		r.wantFacts(instance.Running, 2, "w2")
		r.change("w1", func(w *worker) { w.fails = false })
		elapse(2 * time.Minute)
		r.nodes["w2"].link.Disconnect()
		elapse(15 * time.Second)
		r.wantFacts(instance.Running, 3, "w1")
	})
}

// What cannot even be sent, since an original agent still has something else in
// the place, has its deadline, too.
func TestWhatCannotBeSentIsGivenUp(t *testing.T) {
	now := time.Unix(10_000, 0)
	s := store.Slot{Instance: slotID, Grant: 7, LastTry: 1, Placement: instance.Placement{Try: 1, Node: "w1", Verdict: instance.Placed}}
	have := func(original bool) Have {
		return Have{Synced: true, Nodes: map[model.NodeID]NodeHave{"w1": {Liveness: instance.Alive, CompleteAt: now, Original: original}}}
	}
	for _, c := range []struct {
		name string
		want Want
		have Have
		kind Kind
	}{
		{"an orphan, for a while", Want{Slot: s, Since: now.Add(-14 * time.Minute)}, have(true), Deploy},
		{"an orphan, for too long", Want{Slot: s, Since: now.Add(-16 * time.Minute)}, have(true), Back},
		{"ours needs no place", Want{Slot: s, Since: now.Add(-16 * time.Minute)}, have(false), Deploy},
		{"it was told enough", Want{Slot: s, Since: now.Add(-31 * time.Second), DeployAt: now.Add(-5 * time.Second), Sends: 5}, have(false), Back},
		{"it was told too little", Want{Slot: s, Since: now.Add(-31 * time.Second), DeployAt: now.Add(-5 * time.Second), Sends: 4}, have(false), Deploy},
	} {
		acts, _ := Plan(c.want, c.have, now)
		if len(acts) != 1 || acts[0].Kind != c.kind {
			t.Errorf("%s: %v, want %s", c.name, acts, kinds[c.kind])
		}
	}
}
