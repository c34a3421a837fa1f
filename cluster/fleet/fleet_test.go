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
		if !r.root.get(slotID).Gone || len(r.book.all()) != 0 {
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

// TestABrokerThatIsGoneLosesNobody: nobody can be heard, so nobody is silent.
func TestABrokerThatIsGoneLosesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10 * time.Second)
		r.hub.Break()
		for range 60 {
			time.Sleep(time.Second)
			if f := r.root.get(slotID); f.Node == instance.Lost || f.Placement.Try != 1 {
				t.Fatalf("without a broker: facts %+v", f)
			}
		}
		r.hub.Restart()
		time.Sleep(8 * time.Second)
		for _, w := range r.nodes {
			w.link.Connect()
		}
		time.Sleep(30 * time.Second)
		r.wantTotal(1, 1)
	})
}

// TestAgentsMayReturnLate: those that lost a manager for long try again at
// intervals longer than a worker may be silent.
func TestAgentsMayReturnLate(t *testing.T) {
	for name, fault := range map[string]func(*rig){
		"a restart": func(r *rig) { r.stop(); time.Sleep(time.Minute); r.start() },
		"a broker":  func(r *rig) { r.hub.Break(); time.Sleep(time.Minute); r.hub.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1", "w2")
				r.desire(false)
				time.Sleep(10 * time.Second)
				for _, w := range r.nodes {
					w.link.Disconnect()
				}
				fault(r)
				time.Sleep(16 * time.Second) // and up to 2 s more to the first report
				for _, w := range r.nodes {
					w.link.Connect()
				}
				time.Sleep(30 * time.Second)
				r.wantTotal(1, 1)
			})
		})
	}
}

// TestOneThatDiedMeanwhileIsStillLost: patience after a restart has an end.
func TestOneThatDiedMeanwhileIsStillLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10 * time.Second)
		r.stop()
		r.nodes[r.root.get(slotID).Placement.Host].link.Disconnect()
		time.Sleep(time.Minute)
		r.start()
		time.Sleep(30 * time.Second)
		r.wantTotal(2, 2) // the one that cannot be reached, and its replacement
	})
}

// TestAfterAStartAllWorkersAreWaitedFor: what the root wants meanwhile does not
// all go to the worker that is heard first, and one that never comes does not
// hold it up for long.
func TestAfterAStartAllWorkersAreWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2", "w3")
		for _, name := range []string{"w2", "w3"} {
			r.nodes[name].link.Disconnect()
		}
		time.Sleep(time.Second) // what they had sent is read
		r.stop()
		r.start()
		var all []Assignment
		for i := range 10 {
			a := assignment(7, false)
			a.Instance.Number = i
			all = append(all, a)
		}
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: all}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantTotal(0, 0)
		r.nodes["w2"].link.Connect() // and up to 2 s more to the first report
		time.Sleep(9 * time.Second)
		one, _ := r.nodes["w1"].count()
		two, _ := r.nodes["w2"].count()
		if one != 5 || two != 5 {
			t.Errorf("w1 runs %d, w2 runs %d, want 5 each", one, two)
		}
	})
}

// TestWhoeverIsAloneReplacesNothing: a manager that hears neither workers nor
// the root is cut off itself. The first worker that is back does not get what
// the second still runs; one that stays away is replaced after all.
func TestWhoeverIsAloneReplacesNothing(t *testing.T) {
	for _, c := range []struct {
		name             string
		root, returns    bool
		running, started int
	}{
		{"cut off itself", false, true, 1, 1},
		{"cut off itself, and the worker does not return", false, false, 2, 2},
		{"only the workers are silent", true, true, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1", "w2")
				r.desire(false)
				time.Sleep(10 * time.Second)
				here, other := r.place()
				if cut := time.Now(); !c.root {
					r.rootHeard(func() time.Time { return cut })
				}
				r.nodes[here].link.Disconnect()
				time.Sleep(900 * time.Millisecond)
				r.nodes[other].link.Disconnect()
				time.Sleep(time.Minute)
				r.rootHeard(time.Now)
				r.nodes[other].link.Connect()
				time.Sleep(5 * time.Second)
				if c.returns {
					r.nodes[here].link.Connect()
				}
				time.Sleep(time.Minute)
				r.wantTotal(c.running, c.started)
			})
		})
	}
}
