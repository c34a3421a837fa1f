package fleet

import (
	"testing"
	"time"

	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/instance"
)

func (r *rig) wantTotal(running, started int) {
	r.t.Helper()
	if a, b := r.total(); a != running || b != started {
		r.t.Fatalf("running %d, started %d; want %d, %d (facts %+v)", a, b, running, started, r.root.get(slotID))
	}
}

func TestRunAndRemove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		r.wantTotal(1, 1)
		if f := r.root.get(slotID); f.Observed.State != instance.Running || f.Placement.Try != 1 {
			t.Fatalf("facts %+v", f)
		}
		r.desire(true)
		elapse(20 * time.Second)
		r.wantTotal(0, 1)
		if !r.root.get(slotID).Gone || len(r.book.slots) != 0 {
			t.Fatal("the tombstone is not carried out")
		}
	})
}

func TestRestartOfManagerRestartsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		elapse(10 * time.Second)
		for range 3 {
			r.stop()
			elapse(time.Minute)
			r.start()
			elapse(15 * time.Second)
			r.wantTotal(1, 1)
		}
	})
}

func TestLostWorkerIsReplacedAndReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		// Reports come every two seconds: cut the worker off between two, so
		// that it was heard half a second ago.
		elapse(10*time.Second + 500*time.Millisecond)
		first := r.nodes[r.root.get(slotID).Placement.Host]
		first.link.Disconnect()
		elapse(9 * time.Second)
		r.wantTotal(1, 1) // not yet
		elapse(8 * time.Second)
		r.wantTotal(2, 2)
		first.link.Connect()
		elapse(20 * time.Second)
		r.wantTotal(1, 2)
	})
}

func TestReturnBeforeReplacementRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1") // nowhere else to go
		r.desire(false)
		elapse(10 * time.Second)
		r.nodes["w1"].link.Disconnect()
		elapse(30 * time.Second)
		if f := r.root.get(slotID); f.Placement.Verdict != instance.Refused {
			t.Fatalf("facts %+v", f)
		}
		r.nodes["w1"].link.Connect()
		elapse(20 * time.Second)
		r.wantTotal(1, 1)
	})
}

func TestDeadIsTriedAgainWithPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		elapse(10 * time.Second)
		for want := 2; want <= 4; want++ {
			r.nodes["w1"].set(instance.Dead)
			elapse(30 * time.Second)
			r.wantTotal(1, want)
		}
	})
}

func TestDisturbedReportsConverge(t *testing.T) {
	for seed := range uint64(100) {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "w1", "w2", "w3")
			f := memlink.Faults{Drop: 0.2, Dup: 0.2, Reorder: 0.2}
			r.hub.Fault(seed, f, f)
			r.desire(false)
			elapse(5 * time.Minute)
			r.hub.Fault(seed, memlink.Faults{}, memlink.Faults{})
			elapse(time.Minute)
			if n, _ := r.total(); n != 1 {
				t.Fatalf("seed %d: %d attempts run", seed, n)
			}
		})
	}
}
