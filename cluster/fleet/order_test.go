package fleet

import (
	"errors"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func (r *rig) order(id string, v Verb) []Moving { return r.ordered(id, v).Moving }

func (r *rig) ordered(id string, v Verb) Ordered {
	r.t.Helper()
	out, err := r.f.Order(r.ctx, model.NodeID(id), v)
	if err != nil {
		r.t.Fatalf("order %d for %s: %v", v, id, err)
	}
	return out
}

// where finds the worker that executes the slot, "" for none or several.
func (r *rig) where() string {
	found := ""
	for name, w := range r.nodes {
		if n, _ := w.count(); n > 0 {
			if found != "" {
				return ""
			}
			found = name
		}
	}
	return found
}

// always checks, over a time, that something executes and that the root sees
// it run.
func (r *rig) always(d time.Duration) {
	r.t.Helper()
	for range int(d / (250 * time.Millisecond)) {
		elapse(250 * time.Millisecond)
		if n, _ := r.total(); n == 0 {
			r.t.Fatal("nothing runs")
		}
		f := r.root.get(slotID)
		word := instance.Status(instance.Facts{Grant: f.Grant, Placement: f.Placement, Observed: f.Observed, Node: f.Node})
		if word != instance.WordRunning {
			r.t.Fatalf("the root sees %s: %+v", word, f)
		}
	}
}

func other(host string) string { return map[string]string{"w1": "w2", "w2": "w1"}[host] }

func TestDrainReplacesBeforeItRemoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		from := r.where()
		moving := r.order(from, Drain)
		if len(moving) != 1 || string(moving[0].To) != other(from) {
			t.Fatalf("%+v", moving)
		}
		r.always(30 * time.Second)
		r.wantTotal(1, 2)
		if r.where() != other(from) || r.root.get(slotID).Placement.Try != 2 || len(r.book.slot(slotID).Old) != 0 {
			t.Fatalf("%+v, book %+v", r.root.get(slotID), r.book.slot(slotID))
		}
		if again := r.order(from, Drain); len(again) != 0 {
			t.Errorf("nothing is left, yet: %+v", again)
		}
	})
}

func TestDrainSurvivesARestartInTheMiddle(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Second} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "w1", "w2")
			r.desire(false)
			elapse(10 * time.Second)
			from := r.where()
			r.order(from, Drain)
			elapse(pause)
			r.stop()
			r.start()
			r.desire(false)
			for range 160 {
				elapse(250 * time.Millisecond)
				if n, _ := r.total(); n == 0 {
					t.Fatal("nothing runs")
				}
			}
			r.wantTotal(1, 2)
			if r.where() != other(from) || !r.book.nodes[model.NodeID(from)].Draining {
				t.Fatalf("runs on %q", r.where())
			}
		})
	}
}

func TestWhatFitsNowhereElseStaysAndIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		elapse(10 * time.Second)
		staying := r.order("w1", Drain)
		if len(staying) != 1 || staying[0].To != "" || staying[0].Reason == "" {
			t.Fatalf("%+v", staying)
		}
		r.always(30 * time.Second)
		r.wantTotal(1, 1)
	})
}

// A replacement that cannot start costs nothing: what it should replace runs
// on, and the root never hears of it.
func TestADrainWhoseReplacementFailsGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		from := r.where()
		to := r.nodes[other(from)]
		to.mu.Lock()
		to.fails = true
		to.mu.Unlock()
		r.order(from, Drain)
		r.always(20 * time.Second)
		r.order(other(from), Cordon) // now there is nowhere to go
		r.always(2 * time.Minute)
		if _, tries := to.count(); tries < 2 {
			t.Fatalf("the replacement was tried %d times", tries)
		}
		r.order(from, Uncordon)
		r.always(30 * time.Second)
		if r.where() != from {
			t.Errorf("runs on %q", r.where())
		}
		if n, _ := r.total(); n != 1 {
			t.Errorf("%d run", n)
		}
	})
}

func TestRemovalInTheMiddleOfADrain(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Second} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "w1", "w2")
			r.desire(false)
			elapse(10 * time.Second)
			r.order(r.where(), Drain)
			elapse(pause)
			r.desire(true)
			elapse(40 * time.Second)
			if n, _ := r.total(); n != 0 || !r.root.get(slotID).Gone || len(r.book.all()) != 0 {
				t.Fatalf("after %s: %d run, book %+v", pause, n, r.book.all())
			}
		})
	}
}

func TestCordonedTakesNothingNewOverRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.order("w1", Cordon)
		r.stop()
		r.start()
		r.desire(false)
		elapse(15 * time.Second)
		if r.where() != "w2" {
			t.Fatalf("runs on %q", r.where())
		}
		r.order("w2", Cordon)
		r.always(10 * time.Second) // what runs stays
		if !r.book.nodes["w2"].Cordoned || r.book.nodes["w2"].Draining {
			t.Errorf("%+v", r.book.nodes["w2"])
		}
	})
}

func TestOnlyALostWorkerIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		from := r.where()
		if _, err := r.f.Order(r.ctx, model.NodeID(from), Remove); !errors.Is(err, errs.Conflict) {
			t.Fatalf("%v", err)
		}
		if _, err := r.f.Order(r.ctx, "nobody", Cordon); !errors.Is(err, errs.NotFound) {
			t.Fatalf("%v", err)
		}
		r.nodes[from].link.Disconnect()
		elapse(20 * time.Second)
		r.order(from, Remove)
		elapse(10 * time.Second)
		s := r.book.slot(slotID)
		if _, there := r.book.nodes[model.NodeID(from)]; there || string(s.Placement.Node) != other(from) || len(s.Old) != 0 {
			t.Fatalf("nodes %+v, slot %+v", r.book.nodes, s)
		}
		// It comes back with what it had: that is an old attempt, and is stopped.
		if _, err := r.f.Register(r.ctx, Registration{Host: from, Key: from, Runtimes: []string{"container"}, Architecture: "amd64", Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 4000}}); err != nil {
			t.Fatal(err)
		}
		r.nodes[from].link.Connect()
		elapse(30 * time.Second)
		r.wantTotal(1, 2)
		if r.where() != other(from) {
			t.Errorf("runs on %q", r.where())
		}
	})
}

// A tombstone that waits for a lost worker is over when the worker is removed.
func TestRemovalEndsTombstones(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		from := r.where()
		r.nodes[from].link.Disconnect()
		elapse(time.Second)
		r.desire(true)
		elapse(30 * time.Second)
		r.order(from, Remove)
		elapse(10 * time.Second)
		if !r.root.get(slotID).Gone || len(r.book.all()) != 0 {
			t.Fatalf("%+v", r.book.all())
		}
	})
}
