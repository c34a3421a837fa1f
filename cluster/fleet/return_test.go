package fleet

import (
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// starts says in which state a worker keeps what it is told to run; Unknown: it
// never hears of it.
func (w *worker) starts(s instance.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.first, w.deaf = s, s == instance.Unknown
}

// becomes changes the state of everything a worker has.
func (w *worker) becomes(from, to instance.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, s := range w.has {
		if s == from {
			w.has[a] = to
		}
	}
}

// A node returns while its replacement is not yet running: the replacement is
// cancelled and what the node still has goes on under a new try, for the
// worker, the cluster and the root alike. If it runs, the returned one ends.
func TestWhatAReturnedNodeStillHas(t *testing.T) {
	for _, c := range []struct {
		name        string
		replacement instance.State
		stays       string // "first" or "second"
	}{
		{"nothing was heard of the replacement", instance.Unknown, "first"},
		{"the replacement pulls its image", instance.Creating, "first"},
		{"the replacement is about to start", instance.Created, "first"},
		{"the replacement failed", instance.Failed, "first"},
		{"the replacement runs", instance.Running, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1", "w2")
				r.desire(false)
				elapse(10*time.Second + 500*time.Millisecond)
				first := r.where()
				second := other(first)
				r.nodes[second].starts(c.replacement)
				r.nodes[first].link.Disconnect()
				elapse(16 * time.Second)
				if f := r.root.get(slotID); string(f.Placement.Node) != second && f.Placement.Verdict == instance.Placed {
					t.Fatalf("not replaced: %+v", f)
				}
				r.nodes[first].link.Connect()
				elapse(20 * time.Second)

				want := map[string]string{"first": first, "second": second}[c.stays]
				f, s := r.root.get(slotID), r.book.slot(slotID)
				if string(f.Placement.Node) != want || f.Observed.State != instance.Running || f.Observed.Epoch.Try != f.Placement.Try {
					t.Errorf("the root sees %+v", f)
				}
				if c.stays == "first" && (f.Placement.Try < 3 || s.Carried.Try != 1) {
					t.Errorf("it was not taken up under a new try: %+v", s)
				}
				if len(s.Old) != 0 || len(r.nodes[want].has) != 1 || len(r.nodes[other(want)].has) != 0 {
					t.Errorf("old %v; the workers hold %v and %v", s.Old, r.nodes[first].has, r.nodes[second].has)
				}
				r.adoptedSurvives(t, want)
			})
		})
	}
}

// adoptedSurvives checks that what was taken up is an attempt like any other:
// a restart of the manager changes nothing, its end is noticed, and it can be
// removed.
func (r *rig) adoptedSurvives(t *testing.T, at string) {
	t.Helper()
	_, started := r.total()
	r.stop()
	r.start()
	r.desire(false)
	elapse(20 * time.Second)
	if n, again := r.total(); n != 1 || again != started || r.where() != at {
		t.Fatalf("after a restart %d run, %d were started (had %d), at %q", n, again, started, r.where())
	}
	for _, w := range r.nodes {
		w.starts(instance.Running)
	}
	r.nodes[at].becomes(instance.Running, instance.Dead)
	elapse(20 * time.Second)
	if n, again := r.total(); n != 1 || again != started+1 {
		t.Fatalf("after its end %d run, %d were started (had %d)", n, again, started)
	}
	r.desire(true)
	elapse(30 * time.Second)
	if n, _ := r.total(); n != 0 || len(r.book.all()) != 0 || !r.root.get(slotID).Gone {
		t.Fatalf("it cannot be removed: %d run, book %+v", n, r.book.all())
	}
}

// What was taken up is drained, too: the worker knows it by its old epoch.
func TestAnAdoptedAttemptIsDrained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		elapse(10 * time.Second)
		r.nodes["w1"].link.Disconnect()
		elapse(20 * time.Second)
		r.nodes["w1"].link.Connect()
		elapse(10 * time.Second)
		if s := r.book.slot(slotID); s.Carried.IsZero() || s.Epoch() == s.Carried {
			t.Fatalf("not adopted: %+v", s)
		}
		r.join("w2")
		r.order("w1", Drain)
		r.always(20 * time.Second)
		if s := r.book.slot(slotID); r.where() != "w2" || len(s.Old) != 0 || !s.Carried.IsZero() {
			t.Errorf("runs on %q, %+v", r.where(), s)
		}
		r.wantTotal(1, 2)
	})
}

// After a restart of the manager nothing is known of the replacement until its
// worker has reported; what the returned worker has waits that long.
func TestPlanOfAReturnAfterARestart(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name     string
		loaded   bool
		reported bool
		lost     bool
		full     bool
		state    instance.State
		want     Kind
		nothing  bool
	}{
		{name: "nothing heard of the replacement", loaded: true, nothing: true},
		{name: "its worker reported, without it", loaded: true, reported: true, want: Revert},
		{name: "its worker is lost", loaded: true, lost: true, want: Revert},
		{name: "placed by this manager", want: Revert},
		{name: "its room was given away", full: true, want: Deploy},
		{name: "it runs", loaded: true, reported: true, state: instance.Running, want: Delete},
	} {
		old := store.Old{Epoch: instance.Epoch{Grant: 7, Try: 1}, Node: "w1"}
		w := Want{Loaded: c.loaded, DeletedAt: map[store.Old]time.Time{}, Observed: instance.Observed{State: c.state}, Slot: store.Slot{
			Instance: slotID, Grant: 7, LastTry: 2, Old: []store.Old{old}, Placement: instance.Placement{Try: 2, Node: "w2", Verdict: instance.Placed},
		}}
		second := NodeHave{Liveness: instance.Alive}
		if c.reported {
			second.CompleteAt = now
		}
		if c.lost {
			second.Liveness = instance.Lost
		}
		acts, _ := Plan(w, Have{
			Synced: true, Nodes: map[model.NodeID]NodeHave{"w1": {Liveness: instance.Alive, CompleteAt: now, Full: c.full}, "w2": second},
			Seen: []Seen{{Node: "w1", Epoch: old.Epoch, State: instance.Running}},
		}, now)
		if c.nothing && len(acts) != 0 || !c.nothing && (len(acts) == 0 || acts[0].Kind != c.want) {
			t.Errorf("%s: %v", c.name, acts)
		}
	}
}

// A machine that lost power knows what it is to run, and says so before it has
// started it again: until then its replacement is not given up.
func TestAReturnCountsOnceItRuns(t *testing.T) {
	for _, c := range []struct {
		name  string
		runs  bool // the replacement, before what returned
		where string
		tries uint32
	}{
		{"the replacement runs first", true, "second", 2},
		{"what returned runs first", false, "first", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1", "w2")
				r.desire(false)
				elapse(10*time.Second + 500*time.Millisecond)
				first := r.where()
				second := other(first)
				r.nodes[second].starts(instance.Creating)
				r.nodes[first].link.Disconnect()
				elapse(16 * time.Second)
				r.nodes[first].boots(true)
				r.nodes[first].link.Connect()
				elapse(10 * time.Second)
				if len(r.nodes[second].has) != 1 || len(r.nodes[first].has) != 1 {
					t.Fatalf("while it boots the workers hold %v and %v", r.nodes[first].has, r.nodes[second].has)
				}
				if c.runs {
					r.nodes[second].becomes(instance.Creating, instance.Running)
					elapse(10 * time.Second)
				}
				r.nodes[first].boots(false)
				elapse(10 * time.Second)
				want := map[string]string{"first": first, "second": second}[c.where]
				if f := r.root.get(slotID); string(f.Placement.Node) != want || f.Placement.Try != c.tries || len(r.nodes[other(want)].has) != 0 {
					t.Errorf("%+v; the workers hold %v and %v", f, r.nodes[first].has, r.nodes[second].has)
				}
			})
		})
	}
}

// What was taken up is handed over to a new grant like anything else: it leaves
// the tables before it ends.
func TestAnAdoptedAttemptIsHandedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		elapse(10 * time.Second)
		r.nodes["w1"].link.Disconnect()
		elapse(20 * time.Second)
		r.nodes["w1"].link.Connect()
		elapse(10 * time.Second)
		carried := r.book.slot(slotID).Carried
		if carried.IsZero() {
			t.Fatalf("not adopted: %+v", r.book.slot(slotID))
		}
		for len(r.leaves) > 0 {
			<-r.leaves
		}
		r.nodes["w1"].starts(instance.Creating)
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 2, Changed: []Assignment{assignment(9, false)}}); err != nil {
			t.Fatal(err)
		}
		elapse(10 * time.Second)
		if s := r.book.slot(slotID); s.Handoff != (store.Old{Epoch: carried, Node: "w1"}) || len(r.leaves) != 0 {
			t.Fatalf("it does not serve until its successor runs: %+v", s)
		}
		r.nodes["w1"].becomes(instance.Creating, instance.Running)
		elapse(10 * time.Second)
		if len(r.leaves) != 1 || (<-r.leaves).Epoch != carried {
			t.Error("its endpoint has not left the tables")
		}
		r.wantTotal(1, 2)
	})
}

// What a worker sent before it was lost may come first when it returns: it
// tells nothing of what runs now.
func TestALateReportTakesNothingBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10*time.Second + 500*time.Millisecond)
		first := r.where()
		w, second := r.nodes[first], r.nodes[other(first)]
		second.starts(instance.Creating)
		w.silence(true)
		late := w.next()
		elapse(16 * time.Second)
		w.probed() // while it was silent
		w.link.Send(nodelink.Inbound{Report: late})
		w.link.Send(nodelink.Inbound{Change: &nodelink.StateChange{
			Service: slotID.Service, Number: slotID.Number, Observed: instance.Observed{Epoch: instance.Epoch{Grant: 7, Try: 1}, State: instance.Running},
		}})
		elapse(3 * time.Second)
		if n, started := r.total(); len(second.has) != 1 || started != 2 {
			t.Fatalf("%d run, %d were started; the replacement's worker holds %v", n, started, second.has)
		}
		if !w.probed() {
			t.Error("nobody asked it what it holds")
		}
		w.silence(false)
		elapse(10 * time.Second)
		if r.where() != first || len(second.has) != 0 || len(w.has) != 1 {
			t.Errorf("at %q; the workers hold %v and %v", r.where(), w.has, second.has)
		}
	})
}
