package fleet

import (
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// each runs a test with an engine of every generation on w1.
func each(t *testing.T, fn func(t *testing.T, r *rig, e *engine)) {
	t.Helper()
	for _, g := range generations {
		t.Run(g.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				fn(t, r, r.engine(g, "w1"))
			})
		})
	}
}

func (r *rig) wantFacts(s instance.State, try uint32, node string) {
	r.t.Helper()
	if f := r.root.get(slotID); f.Observed.State != s || f.Placement.Try != try || string(f.Placement.Node) != node {
		r.t.Fatalf("want state %d of try %d on %s: %+v", s, try, node, f)
	}
}

func (r *rig) wantTold(e *engine, deploys, deletes int) {
	r.t.Helper()
	if a, b, _ := e.told(); a != deploys || b != deletes {
		r.t.Fatalf("told to deploy %d times and to delete %d times, want %d and %d", a, b, deploys, deletes)
	}
}

func TestOriginalRunsAndIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
		r.wantTold(e, 1, 0)
		if f := r.root.get(slotID); f.Vital.PublicIP != "192.0.2.7" {
			t.Errorf("its address: %+v", f.Vital)
		}
		r.desire(true)
		elapse(30 * time.Second)
		if _, _, runs := e.told(); runs || !r.root.get(slotID).Gone || len(r.book.all()) != 0 {
			t.Errorf("it is still there: %+v", r.book.all())
		}
		r.wantTold(e, 1, 1)
	})
}

// The word of the start, before any list names it.
func TestFirstWordOfAnOriginal(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		elapse(100 * time.Millisecond) // just after a list
		r.desire(false)
		elapse(500 * time.Millisecond)
		r.wantFacts(e.gen.started, 1, "w1")
		elapse(2 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
	})
}

// No new try on the same node until the old one is missing from two lists that
// were sent after the delete, and 6 s have passed.
func TestOriginalGetsNoNewTryTooEarly(t *testing.T) {
	for _, how := range []struct {
		name string
		end  func(r *rig, e *engine)
	}{
		{"it ended", func(_ *rig, e *engine) { e.exits(1) }},
		{"the agent started again", func(_ *rig, e *engine) { e.restarts() }},
		{"another revision", func(r *rig, _ *engine) { r.give(9, "v2") }},
	} {
		t.Run(how.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig, e *engine) {
				r.give(7, "v1")
				elapse(10*time.Second + 500*time.Millisecond)
				how.end(r, e)
				elapse(40 * time.Second)
				if f := r.root.get(slotID); f.Observed.State != instance.Running || f.Observed.Epoch.Grant == 7 && f.Placement.Try != 2 {
					t.Fatalf("%+v", f)
				}
				r.wantTold(e, 2, 1)
				deleted, again := e.deletes[0], e.deploys[1]
				if again.Sub(deleted) < 6*time.Second {
					t.Errorf("deployed again %s after the delete", again.Sub(deleted))
				}
				without := 0
				for _, l := range e.reports {
					if l.at.After(deleted) && l.at.Before(again) && !l.any {
						without++
					}
				}
				if without < 2 || again.Sub(deleted) > 10*time.Second {
					t.Errorf("after %d lists without it and %s", without, again.Sub(deleted))
				}
			})
		})
	}
}

// Time alone proves nothing: with lists lost on the way, two have to come.
func TestOriginalIsHeardTwiceBeforeANewTry(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10*time.Second + 500*time.Millisecond)
		e.exits(1)
		for deletes := 0; deletes == 0; _, deletes, _ = e.told() {
			elapse(100 * time.Millisecond)
		}
		e.set(func(e *engine) { e.quiet = true })
		elapse(20 * time.Second)
		r.wantTold(e, 1, 1)
		e.set(func(e *engine) { e.quiet, e.reports = false, nil })
		for deploys := 1; deploys == 1; deploys, _, _ = e.told() {
			elapse(100 * time.Millisecond)
		}
		if n := len(e.reports); n != 2 {
			t.Errorf("deployed again after %d lists", n)
		}
	})
}

// Until the first sign of a try, DEAD and UNDEPLOYED are the last words of
// another one; FAILED is not.
func TestWordsBeforeTheFirstSign(t *testing.T) {
	for _, c := range []struct {
		word instance.State
		ends bool
	}{{instance.Dead, false}, {instance.Undeployed, false}, {instance.Failed, true}} {
		each(t, func(t *testing.T, r *rig, e *engine) {
			e.set(func(e *engine) { e.pull = 20 * time.Second })
			second := r.engine(e.gen, "w2")
			r.order("w2", Cordon)
			r.desire(false)
			elapse(3 * time.Second)
			r.order("w2", Uncordon)
			for range 3 {
				e.word(e.asked["a.b.c.d/0"], c.word, "late")
				elapse(time.Second)
			}
			elapse(30 * time.Second)
			if c.ends {
				r.wantFacts(instance.Running, 2, "w2")
				return
			}
			r.wantFacts(instance.Running, 1, "w1")
			r.wantTold(e, 1, 0)
			r.wantTold(second, 0, 0)
		})
	}
}

// A start that takes longer than the cluster waits: the second order is
// refused, which says that the first goes on.
func TestOriginalThatPullsForLong(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.set(func(e *engine) { e.pull = 100 * time.Second })
		second := r.engine(e.gen, "w2")
		r.order("w2", Cordon)
		r.desire(false)
		elapse(time.Second)
		r.order("w2", Uncordon)
		elapse(2 * time.Minute)
		r.wantFacts(instance.Running, 1, "w1")
		if deploys, deletes, _ := e.told(); deploys < 2 || deploys > 5 || deletes != 0 {
			t.Errorf("told to deploy %d times, to delete %d times", deploys, deletes)
		}
		r.wantTold(second, 0, 0)
	})
}

// An order to delete does not end a pull: the container starts when the agent has
// the image, and is to be removed then. Nothing else may be sent under the name
// before, or it would be taken for that.
func TestDeletedWhileItIsPulled(t *testing.T) {
	for _, how := range []struct {
		name string
		list []Assignment // what follows
		last Assignment   // what is to run
	}{
		{"it was deleted", []Assignment{ends(first)}, Assignment{}},
		{"another service of its name", []Assignment{ends(first), second}, second},
		{"another revision", []Assignment{namesake(string(slotID.Service), 9, "v2")}, namesake(string(slotID.Service), 9, "v2")},
	} {
		t.Run(how.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig, e *engine) {
				e.set(func(e *engine) { e.pull = 90 * time.Second })
				r.tell(first)
				elapse(5 * time.Second)
				e.set(func(e *engine) { e.pull = 100 * time.Millisecond })
				r.tell(how.list...)
				elapse(3 * time.Second)
				r.again()
				r.watch(2*time.Minute, map[string]*engine{"w1": e}, how.list...)
				if how.last.Grant == 0 {
					if !r.root.get(slotID).Gone || len(e.images()) != 0 {
						t.Errorf("%+v; it runs %v", r.root.get(slotID), e.images())
					}
					return
				}
				r.wantState(how.last, instance.Running, "w1")
				if got := e.images(); len(got) != 1 || got[0] != how.last.Service.Spec.Image {
					t.Errorf("it runs %v", got)
				}
			})
		})
	}
}

// A pull that nothing more is heard of does not hold the name for ever, and one
// that failed, or whose agent has started again, not at all.
func TestAPullThatEnds(t *testing.T) {
	for _, how := range []struct {
		name   string
		end    func(r *rig, e *engine)
		within time.Duration
	}{
		{"it fails", func(_ *rig, e *engine) { e.word(e.asked[key(first.Service.Name, 0)], instance.Failed, "no such image") }, 15 * time.Second},
		{"the agent started again", func(r *rig, e *engine) {
			e.restarts()
			in := registration("w1")
			in.Key, in.Runtimes = "", []string{"docker", "container"}
			r.register(in)
		}, 15 * time.Second},
		{"it goes on for ever", func(_ *rig, _ *engine) {}, originalPull + 15*time.Second},
	} {
		t.Run(how.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig, e *engine) {
				e.set(func(e *engine) { e.pull = 24 * time.Hour })
				r.tell(first)
				elapse(5 * time.Second)
				e.set(func(e *engine) { e.pull = 100 * time.Millisecond })
				r.tell(ends(first), second)
				elapse(10 * time.Second)
				if deploys, deletes, _ := e.told(); deploys != 1 || deletes != 1 {
					t.Fatalf("told to deploy %d times, to delete %d times", deploys, deletes)
				}
				how.end(r, e)
				elapse(how.within)
				r.wantState(second, instance.Running, "w1")
				if !r.root.get(slotID).Gone {
					t.Errorf("%+v", r.root.get(slotID))
				}
			})
		})
	}
}

// Every message arrives twice: the second deploy is answered FAILED, and means
// nothing.
func TestDoubledMessagesToAnOriginal(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.hub.Fault(1, memlink.Faults{Dup: 1}, memlink.Faults{Dup: 1})
		r.desire(false)
		elapse(time.Minute)
		r.wantFacts(instance.Running, 1, "w1")
		r.wantTold(e, 2, 0)
		r.desire(true)
		elapse(40 * time.Second)
		if _, _, runs := e.told(); runs || !r.root.get(slotID).Gone {
			t.Error("it is still there")
		}
	})
}

// What ended on a node is tried on another first.
func TestOriginalIsTriedElsewhere(t *testing.T) {
	for name, end := range map[string]func(e *engine){
		"it ended":                func(e *engine) { e.exits(1) },
		"the agent started again": func(e *engine) { e.restarts() },
		"it does not start":       func(e *engine) {},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig, e *engine) {
				r.engine(e.gen, "w2")
				r.order("w2", Cordon)
				if name == "it does not start" {
					e.set(func(e *engine) { e.fails = "image not found" })
				}
				r.desire(false)
				elapse(500 * time.Millisecond)
				r.order("w2", Uncordon)
				elapse(10 * time.Second)
				end(e)
				elapse(20 * time.Second)
				r.wantFacts(instance.Running, 2, "w2")
			})
		})
	}
}

// UNDEPLOYED comes late: 5 s after the delete and, if the agent was busy, after
// the next try began. That one is not ended by it.
func TestLateUndeployed(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.set(func(e *engine) { e.pull = 3 * time.Second })
		r.give(7, "v1")
		elapse(10 * time.Second)
		r.give(9, "v2")
		for deploys := 0; deploys < 2; deploys, _, _ = e.told() {
			elapse(100 * time.Millisecond)
		}
		e.word(e.specs["a.b.a.d/0"], instance.Undeployed, "") // of v1, doubled
		elapse(20 * time.Second)
		r.wantTold(e, 2, 1)
		if f := r.root.get(slotID); f.Grant != 9 || f.Observed.State != instance.Running || f.Placement.Try != 1 {
			t.Errorf("%+v", f)
		}
	})
}

// A message to an agent that is away is lost, and sent again.
func TestAnOrderLostOnTheWay(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		elapse(time.Second)
		r.hub.Fault(1, memlink.Faults{}, memlink.Faults{Drop: 1})
		r.desire(false)
		elapse(5 * time.Second)
		r.hub.Fault(1, memlink.Faults{}, memlink.Faults{})
		elapse(40 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
		r.wantTold(e, 1, 0)
	})
}

func TestManagerRestartWithOriginals(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10 * time.Second)
		for _, pause := range []time.Duration{0, time.Second, time.Minute} {
			r.stop()
			elapse(pause)
			r.start()
			r.desire(false)
			elapse(20 * time.Second)
			r.wantFacts(instance.Running, 1, "w1")
			r.wantTold(e, 1, 0)
		}
	})
}

func (r *rig) once(grant instance.Grant) {
	r.t.Helper()
	a := order(slotID, grant, "once")
	a.Service.Spec.OneShot = true
	if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: uint64(grant), Changed: []Assignment{a}}); err != nil {
		r.t.Fatal(err)
	}
}

// What runs once and ends with 0 is done, and stays so. The oldest engines know
// no one-shots and say DEAD, and with which code.
func TestOneShotOnOriginals(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.once(7)
		elapse(5 * time.Second)
		e.exits(0)
		elapse(time.Minute)
		r.wantFacts(instance.Completed, 1, "w1")
		r.wantTold(e, 1, 0)
		r.stop()
		r.start()
		r.once(7)
		elapse(time.Minute)
		r.wantFacts(instance.Completed, 1, "w1")
		r.wantTold(e, 1, 0)
		r.once(9) // another revision runs again
		elapse(30 * time.Second)
		if f := r.root.get(slotID); f.Grant != 9 || f.Observed.State != instance.Running {
			t.Fatalf("%+v", f)
		}
		e.exits(0)
		elapse(30 * time.Second)
		r.wantFacts(instance.Completed, 1, "w1")
	})
}

// It fails twice before it succeeds.
func TestOneShotOnOriginalsThatFails(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.once(7)
		for try := uint32(1); try < 3; try++ {
			elapse(10 * time.Second)
			r.wantFacts(instance.Running, try, "w1")
			e.exits(1)
			elapse(30 * time.Second)
		}
		r.wantFacts(instance.Running, 3, "w1")
		e.exits(0)
		elapse(time.Minute)
		r.wantFacts(instance.Completed, 3, "w1")
	})
}

// It is over before its start is known of: two goroutines of the agent send the
// two words.
func TestOneShotOnOriginalsThatIsQuick(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		e.set(func(e *engine) { e.pull = 300 * time.Millisecond })
		elapse(100 * time.Millisecond)
		r.once(7)
		elapse(200 * time.Millisecond)
		e.set(func(e *engine) { e.tasks["a.b.a.d/0"], e.specs["a.b.a.d/0"] = true, e.asked["a.b.a.d/0"]; e.life++ })
		e.exits(0)
		r.wantTold(e, 1, 0)
		e.word(e.specs["a.b.a.d/0"], e.gen.started, "")
		elapse(time.Minute)
		r.wantFacts(instance.Completed, 1, "w1")
		r.wantTold(e, 1, 0)
	})
}

// What is to run for ever and ends with 0 is started again.
func TestOriginalThatEndsWithZero(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		r.desire(false)
		elapse(10 * time.Second)
		e.exits(0)
		elapse(30 * time.Second)
		r.wantFacts(instance.Running, 2, "w1")
	})
}

// An agent with several runtimes sends a list for each, the empty ones too.
func TestListsOfSeveralRuntimes(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		in := registration("w1")
		in.Key, in.Runtimes = "", []string{"docker", "container", "unikernel", "runsc"}
		r.register(in)
		e.set(func(e *engine) { e.lists = 3 })
		r.desire(false)
		elapse(2 * time.Minute)
		r.wantFacts(instance.Running, 1, "w1")
		r.wantTold(e, 1, 0)
		e.exits(1)
		elapse(30 * time.Second)
		r.wantFacts(instance.Running, 2, "w1")
		e.restarts()
		elapse(30 * time.Second)
		r.wantFacts(instance.Running, 3, "w1")
		if gap := e.deploys[1].Sub(e.deletes[0]); gap < 6*time.Second {
			t.Errorf("deployed again %s after the delete", gap)
		}
		r.desire(true)
		elapse(30 * time.Second)
		if _, _, runs := e.told(); runs || !r.root.get(slotID).Gone {
			t.Error("it is still there")
		}
	})
}

// An original does not say how large its disk is.
func TestTheDiskOfAnOriginal(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		a := order(slotID, 7, "x")
		a.Service.Spec.Demand.DiskMB = 5000
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: []Assignment{a}}); err != nil {
			t.Fatal(err)
		}
		elapse(10 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
		if s, err := r.f.Snapshot(r.ctx); err != nil || s.Nodes[0].Capacity.DiskMB != 0 {
			t.Errorf("it is shown with %+v, %v", s.Nodes[0].Capacity, err)
		}
		if s, err := r.f.Snapshot(r.ctx); err != nil || s.Sums.ActiveNodes != 1 || len(s.Sums.Rooms) == 0 || s.Sums.Number != s.Facts[0].Counted || s.Sums.Number <= r.root.sums().Number {
			t.Errorf("a root that has heard no sums yet is told %+v, %v", s.Sums, err)
		}
		if sum := r.root.sums(); sum.Capacity.DiskMB < 5000 || len(sum.Rooms) == 0 || sum.Rooms[0].Free.DiskMB < 5000 {
			t.Errorf("the root is offered %+v", sum)
		}
	})
}

// An original says nothing of its NetManager; that one speaks for itself.
func TestTheNetManagerOfAnOriginal(t *testing.T) {
	each(t, func(t *testing.T, r *rig, e *engine) {
		a := order(slotID, 7, "web")
		a.Service.Spec.PortText, a.Service.Chosen = "80:80", true
		if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: []Assignment{a}}); err != nil {
			t.Fatal(err)
		}
		elapse(5 * time.Second)
		if f := r.root.get(slotID); f.Placement.Verdict != instance.Refused {
			t.Fatalf("%+v", f)
		}
		e.link.Send(nodelink.Inbound{Subnet: &nodelink.SubnetRequest{}})
		elapse(5 * time.Second)
		r.wantFacts(instance.Running, 1, "w1")
		in := registration("w1")
		in.Key, in.Runtimes = "", []string{"docker", "container"}
		r.register(in) // the agent starts again, and does not say it this time either
		if n := r.book.nodes[model.NodeID("w1")]; !n.Network {
			t.Errorf("%+v", n)
		}
	})
}
