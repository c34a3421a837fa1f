package assign_test

import (
	"testing"
	"testing/synctest"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// runs reports what a mute cluster was given as running.
func (f *fake) runsNow(id model.ServiceID, number int, state linkv1.State) {
	f.tell(func(f *fake) *linkv1.Up {
		fact := running(f.held[key(string(id), number)], 1)
		fact.Observed.State = state
		return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
	})
}

// TestALostClustersInstancesAreReplacedWhereAsked: after a minute, and only
// those whose service says so. What returns is stopped once its successor has
// run, or has completed.
func TestALostClustersInstancesAreReplacedWhereAsked(t *testing.T) {
	for _, end := range []linkv1.State{linkv1.State_STATE_RUNNING, linkv1.State_STATE_COMPLETED} {
		bubble(t, func(t *testing.T) {
			r := start(t, t.TempDir())
			a := newFake("a").join(r)
			keep, move := r.service("keep", wants{memory: 100}), r.service("move", wants{memory: 100})
			r.update(move.ID, `{"on_cluster_loss":"replace","one_shot":true}`)
			r.deploy(keep.ID, 1)
			r.deploy(move.ID, 1)
			b := newFake("b").set(func(f *fake) { f.mute = true }).join(r)
			a.leave()
			pass(seconds(55))
			if _, _, ok := b.has(move.ID, 0); ok {
				t.Fatal("replaced too early")
			}
			pass(seconds(20))
			grant, _, ok := b.has(move.ID, 0)
			if was, _, _ := a.has(move.ID, 0); !ok || grant <= was {
				t.Fatalf("b holds %v: %v", grant, ok)
			}
			if _, _, ok := b.has(keep.ID, 0); ok {
				t.Error("moved what was to be kept")
			}
			a.join(r)
			pass(seconds(30))
			if !a.executes(move.ID, 0) || !a.executes(keep.ID, 0) {
				t.Fatal("stopped before the successor runs")
			}
			b.runsNow(move.ID, 0, end)
			pass(seconds(5))
			if a.executes(move.ID, 0) || !a.executes(keep.ID, 0) {
				t.Errorf("a executes move: %v, keep: %v", a.executes(move.ID, 0), a.executes(keep.ID, 0))
			}
		})
	}
}

// TestLossCountsFromTheStartOfTheRoot: a root that was away cannot know since
// when a cluster is.
func TestLossCountsFromTheStartOfTheRoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		b := newFake("b").set(func(f *fake) { f.refuse = true }).join(r)
		svc := r.service("move", wants{memory: 100})
		r.update(svc.ID, `{"on_cluster_loss":"replace"}`)
		r.deploy(svc.ID, 1)
		if !a.executes(svc.ID, 0) {
			t.Fatal("not placed")
		}
		a.leave()
		pass(seconds(50))
		b.leave()
		r = r.restart()
		b.set(func(f *fake) { f.refuse = false }).join(r)
		pass(seconds(50))
		if b.executes(svc.ID, 0) {
			t.Error("replaced too early")
		}
		pass(seconds(30))
		if !b.executes(svc.ID, 0) {
			t.Error("not replaced")
		}
	})
}

// TestARolloutThatMovesStopsNothingBefore: its cluster refuses the new spec and
// goes on with the old one until another cluster runs the new.
func TestARolloutThatMovesStopsNothingBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1)
		b := newFake("b").set(func(f *fake) { f.mute = true }).join(r)
		a.set(func(f *fake) { f.refuse, f.keeps = true, true })
		r.update(svc.ID, `{"code":"docker.io/library/nginx:2"}`)
		pass(seconds(20))
		if _, _, ok := b.has(svc.ID, 0); !ok {
			t.Fatal("not given to b")
		}
		if !a.executes(svc.ID, 0) {
			t.Fatal("stopped before the successor runs")
		}
		b.runsNow(svc.ID, 0, linkv1.State_STATE_RUNNING)
		synctest.Wait()
		if a.executes(svc.ID, 0) {
			t.Error("goes on")
		}
	})
}

// TestAMoveBeforeTheClusterKnowsWhatRuns: a cluster manager that has just
// started has the order and has not heard its workers; what they run is not
// stopped for a move.
func TestAMoveBeforeTheClusterKnowsWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1)
		b := newFake("b").set(func(f *fake) { f.mute = true }).join(r)
		a.set(func(f *fake) { f.mute = true })
		r.update(svc.ID, `{"code":"docker.io/library/nginx:2"}`)
		a.tell(func(f *fake) *linkv1.Up {
			h := f.held[key(string(svc.ID), 0)]
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{{ServiceId: h.ServiceId, Number: h.Number, Grant: h.Grant}}}}}
		})
		r.update(svc.ID, `{"code":"docker.io/library/nginx:3","constraints":[{"type":"clusters","allowed":["b"]}]}`)
		pass(seconds(20))
		if _, tombstone, _ := a.has(svc.ID, 0); tombstone {
			t.Fatal("a is to stop it before the successor runs")
		}
		if _, _, ok := b.has(svc.ID, 0); !ok {
			t.Fatal("it was not moved")
		}
	})
}
