package fleet

import (
	"testing"
	"time"

	"oakestra/pkg/core/instance"
)

// emptied is a manager that starts anew with a book of nothing.
func (r *rig) emptied() {
	r.stop()
	r.book = newBook()
	r.start()
}

// place is where the only slot runs, and which is the other worker.
func (r *rig) place() (here, other string) {
	r.t.Helper()
	here, other = r.root.get(slotID).Placement.Host, "w1"
	if here == "w1" {
		other = "w2"
	}
	return here, other
}

// TestAnEmptiedBookKillsNothing: whatever comes first, the root's orders or
// the workers' reports, what runs is taken up where it runs.
func TestAnEmptiedBookKillsNothing(t *testing.T) {
	for name, order := range map[string]func(r *rig, here, other string){
		"the root first": func(r *rig, here, other string) {
			r.desire(false)
			r.register(registration(other))
			time.Sleep(15 * time.Second)
			r.register(registration(here))
		},
		"the root first, in parts": func(r *rig, here, other string) {
			if err := r.f.Desired(r.ctx, Desired{Snapshot: true, More: true}); err != nil {
				r.t.Fatal(err)
			}
			r.desire(false)
			r.register(registration(other))
			time.Sleep(15 * time.Second)
			r.register(registration(here))
		},
		"a restart between two parts": func(r *rig, here, other string) {
			huge := assignment(7, false) // fits nowhere
			huge.Instance.Number, huge.Service.Spec.Demand.MemoryMB = 1, 1<<30
			if err := r.f.Desired(r.ctx, Desired{Snapshot: true, More: true, Changed: []Assignment{huge}}); err != nil {
				r.t.Fatal(err)
			}
			r.stop()
			r.start()
			r.desire(false)
			r.register(registration(other))
			time.Sleep(15 * time.Second)
			r.register(registration(here))
		},
		"the workers first": func(r *rig, here, other string) {
			r.register(registration(other))
			r.register(registration(here))
			time.Sleep(15 * time.Second)
			r.desire(false)
		},
		"the root minutes later": func(r *rig, here, other string) {
			r.register(registration(here))
			r.register(registration(other))
			time.Sleep(5 * time.Minute)
			r.desire(false)
		},
		"a restart in the middle": func(r *rig, here, other string) {
			r.desire(false)
			r.register(registration(other))
			time.Sleep(5 * time.Second)
			r.stop()
			r.start()
			r.desire(false)
			time.Sleep(15 * time.Second)
			r.register(registration(here))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1", "w2")
				r.desire(false)
				time.Sleep(10 * time.Second)
				before := r.root.get(slotID)
				here, other := r.place()
				r.emptied()
				order(r, here, other)
				time.Sleep(time.Minute)
				r.wantTotal(1, 1)
				if f := r.root.get(slotID); f.Placement.Node != before.Placement.Node || f.Placement.Try != before.Placement.Try || f.Observed.State != instance.Running {
					t.Errorf("was %+v, is %+v", before, f)
				}
				if held := r.f.held(r); held != 100 {
					t.Errorf("%d MiB are reserved, want 100", held)
				}
				r.desire(true)
				time.Sleep(time.Minute)
				r.wantTotal(0, 1)
				if !r.root.get(slotID).Gone {
					t.Error("the tombstone is not carried out")
				}
			})
		})
	}
}

// held is what is reserved on all workers.
func (f *Fleet) held(r *rig) int64 {
	r.t.Helper()
	a, err := ask(r.ctx, f, (*core).aggregate)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.Reserved.MemoryMB
}

// TestAnEmptiedBookWithoutTheWorker: it does not come, so that the instance
// starts elsewhere, under an epoch that was never used; when it comes after
// all, the one instance that was wanted is left.
func TestAnEmptiedBookWithoutTheWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10 * time.Second)
		before := r.root.get(slotID)
		here, other := r.place()
		r.emptied()
		r.register(registration(other))
		r.desire(false)
		time.Sleep(15 * time.Second)
		r.wantTotal(1, 1) // not yet
		time.Sleep(30 * time.Second)
		r.wantTotal(2, 2)
		if f := r.root.get(slotID); f.Placement.Host != other || f.Placement.Try <= before.Placement.Try {
			t.Errorf("was %+v, is %+v", before, f)
		}
		r.register(registration(here))
		time.Sleep(30 * time.Second)
		r.wantTotal(1, 2)
	})
}

// TestAnEmptiedBookAndATombstone: the order to remove outlives the book, too.
func TestAnEmptiedBookAndATombstone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10 * time.Second)
		here, other := r.place()
		r.emptied()
		r.register(registration(other))
		r.desire(true)
		time.Sleep(15 * time.Second)
		if r.root.get(slotID).Gone {
			t.Fatal("said to be gone before the worker came that has it")
		}
		r.register(registration(here))
		time.Sleep(time.Minute)
		r.wantTotal(0, 1)
		if !r.root.get(slotID).Gone {
			t.Error("the tombstone is not carried out")
		}
	})
}

// TestAnOlderBook: an attempt that the book does not know yet is taken up
// where it runs.
func TestAnOlderBook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10 * time.Second)
		older := r.book.copied()
		r.nodes[r.root.get(slotID).Placement.Host].set(instance.Dead)
		time.Sleep(30 * time.Second)
		now := r.root.get(slotID)
		r.wantTotal(1, 2)
		r.stop()
		r.book = older
		r.start()
		r.desire(false)
		time.Sleep(time.Minute)
		r.wantTotal(1, 2)
		if f := r.root.get(slotID); f.Placement.Try != now.Placement.Try || f.Placement.Node != now.Placement.Node || f.Observed.State != instance.Running {
			t.Errorf("was %+v, is %+v", now, f)
		}
	})
}

func (b *book) copied() *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := newBook()
	for k, v := range b.slots {
		out.slots[k] = v
	}
	for k, v := range b.nodes {
		out.nodes[k] = v
	}
	return out
}
