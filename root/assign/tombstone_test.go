package assign_test

import (
	"errors"
	"testing"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

// The record and the address stay until the cluster says that nothing is left;
// then the address rests for a minute.
func TestTheLifeOfATombstone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		address := r.instance(svc.ID, 0).Address
		a.set(func(f *fake) { f.mute = true })
		r.undeploy(svc.ID, 0)
		if _, dead, ok := a.has(svc.ID, 0); !ok || !dead {
			t.Fatal("a was told nothing")
		}
		pass(seconds(300))
		if c, ok := r.claim(address); r.gone(svc.ID, 0) || !ok || !c.Until.IsZero() {
			t.Fatal("the record went before the cluster had carried it out")
		}
		// It comes back without having stored the tombstone: it is told again.
		a.leave().set(func(f *fake) {
			o := f.held[key(string(svc.ID), 0)]
			o.Tombstone, o.Revision = false, o.Revision-1
			f.mute = false
		})
		a.join(r)
		at := time.Now()
		if !r.gone(svc.ID, 0) || a.executes(svc.ID, 0) {
			t.Fatal("the tombstone was not sent again")
		}
		if _, known := r.book.Facts(r1(svc.ID)); known {
			t.Error("facts of a removed slot are kept")
		}
		if c, ok := r.claim(address); !ok || c.Until.Sub(at) < 59*time.Second || c.Until.Sub(at) > 61*time.Second {
			t.Errorf("claim %+v %v, want a minute of rest", c, ok)
		}
		pass(seconds(55))
		if _, ok := r.claim(address); !ok {
			t.Error("the address rested too short")
		}
		pass(seconds(7))
		if c, ok := r.claim(address); ok {
			t.Errorf("the address still rests: %+v", c)
		}
	})
}

func TestATombstoneOfSomethingNeverPlacedIsCarriedOutAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 2)
		r.undeploy(svc.ID, 0)
		if !r.gone(svc.ID, 0) || r.gone(svc.ID, 1) {
			t.Error("one of two should be gone")
		}
		if err := r.ctl.DeleteService(t.Context(), admin, svc.ID); err != nil {
			t.Fatal(err)
		}
		pass(seconds(1))
		if !r.gone(svc.ID, 1) {
			t.Error("the other should be gone")
		}
	})
}

// A cluster that had the slot before and is away is not forgotten when the
// root starts anew: it, too, hears that the slot is deleted.
func TestAFormerClusterIsRememberedOverARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").set(func(f *fake) { f.refuse, f.mute = true, false }).join(r)
		r.deploy(svc.ID, 1)
		a.leave() // with the order, which it refuses
		pass(seconds(60))
		b := newFake("b").join(r)
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id {
			t.Fatalf("%+v", in)
		}
		if _, _, holds := a.has(svc.ID, 0); !holds {
			t.Fatal("a should still hold it")
		}
		b.leave()
		r = r.restart()
		if err := r.ctl.DeleteService(t.Context(), admin, svc.ID); err != nil {
			t.Fatal(err)
		}
		b.join(r)
		pass(seconds(5))
		if r.gone(svc.ID, 0) {
			t.Error("gone although a cluster that may hold it was not heard")
		}
		a.join(r)
		pass(seconds(5))
		if _, _, holds := a.has(svc.ID, 0); holds || !r.gone(svc.ID, 0) {
			t.Errorf("a holds it: %v; gone: %v", holds, r.gone(svc.ID, 0))
		}
	})
}

// The cluster never got the order, or has carried the tombstone out and the
// word was lost.
func TestATombstoneTheClusterKnowsNothingOfIsConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		a.leave().set(func(f *fake) { clear(f.held); clear(f.runs) })
		r.undeploy(svc.ID, 0)
		if r.gone(svc.ID, 0) {
			t.Fatal("gone although the cluster is away")
		}
		a.join(r)
		if !r.gone(svc.ID, 0) {
			t.Error("still there")
		}
	})
}

func TestADeletedApplicationIsRemovedEverywhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100, address: "10.30.9.9"})
		a, b := newFake("a").join(r), newFake("b").join(r)
		r.deploy(svc.ID, 6)
		if a.count()+b.count() != 6 || a.count() == 0 || b.count() == 0 {
			t.Fatalf("a runs %d, b runs %d", a.count(), b.count())
		}
		b.leave()
		if err := r.ctl.DeleteApplication(t.Context(), admin, svc.Application); err != nil {
			t.Fatal(err)
		}
		// Posting the same at once must not fail by the address it had itself.
		again, err := r.tryService("one", wants{memory: 100, address: "10.30.9.9"})
		if err != nil {
			t.Errorf("the same again: %v", err)
		}
		pass(seconds(1))
		if a.count() != 0 {
			t.Errorf("a still runs %d", a.count())
		}
		r = r.restart()
		b.join(r)
		if list, _ := r.file.Instances().List(t.Context(), ""); b.count() != 0 || len(list) != 0 {
			t.Errorf("b still runs %d, records %v", b.count(), list)
		}
		pass(seconds(120))
		if c, ok := r.claim(again.Address); !ok || !c.Until.IsZero() {
			t.Errorf("the new service lost its address: %+v %v", c, ok)
		}
	})
}

// The order had moved on from a cluster that was cut off; the user deletes it.
// The record stays until that cluster has heard so too.
func TestACutOffClusterHearsOfTheDeletion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").set(func(f *fake) { f.refuse = true }).join(r)
		r.deploy(svc.ID, 1)
		// It is moved to b; the tombstone for a is lost with the stream.
		a.set(func(f *fake) { f.mute = true })
		b := newFake("b").join(r)
		a.leave()
		a.set(func(f *fake) {
			o := f.held[key(string(svc.ID), 0)]
			if o == nil {
				t.Fatal("a should still hold it")
			}
			o.Tombstone, f.mute, f.refuse = false, false, false
		})
		if !b.executes(svc.ID, 0) {
			t.Fatal("b should run it")
		}
		r.undeploy(svc.ID, 0)
		if b.executes(svc.ID, 0) {
			t.Error("b still runs it")
		}
		a.join(r)
		pass(seconds(20))
		if a.executes(svc.ID, 0) || !r.gone(svc.ID, 0) {
			t.Errorf("a runs it: %v, record gone: %v", a.executes(svc.ID, 0), r.gone(svc.ID, 0))
		}
		if _, _, holds := a.has(svc.ID, 0); holds {
			t.Error("a holds it")
		}
	})
}

// A cluster had the slot twice. That nothing is left of the first time does
// not mean that nothing is left.
func TestALateGoodbyeIsNotTheLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		in := r.instance(svc.ID, 0)
		b := newFake("b").join(r)
		b.hold(a.orderOf(svc.ID, 0), in.Grant-1, true)
		b.leave().set(func(f *fake) { f.mute = true }).join(r)
		r.undeploy(svc.ID, 0)
		b.tell(func(f *fake) *linkv1.Up {
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{{
				ServiceId: string(svc.ID), Grant: uint64(in.Grant) - 2, Gone: true,
			}}}}}
		})
		if r.gone(svc.ID, 0) {
			t.Fatal("b still runs it")
		}
		b.set(func(f *fake) { f.mute = false })
		b.tell(func(f *fake) *linkv1.Up { return f.report(false) })
		if !r.gone(svc.ID, 0) || b.executes(svc.ID, 0) {
			t.Errorf("gone: %v, b runs it: %v", r.gone(svc.ID, 0), b.executes(svc.ID, 0))
		}
	})
}

// Reports may come twice and, from a stream that was replaced, late.
func TestDoubledAndLateReportsChangeNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		in := r.instance(svc.ID, 0)
		old := func(change func(*linkv1.InstanceFacts)) {
			a.tell(func(f *fake) *linkv1.Up {
				fact := running(f.held[key(string(svc.ID), 0)], 1)
				change(fact)
				return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact, fact}}}}
			})
		}
		old(func(f *linkv1.InstanceFacts) { f.Observed.State, f.Observed.Seq = linkv1.State_STATE_CREATING, 0 })
		old(func(f *linkv1.InstanceFacts) { f.Grant--; f.Observed.Grant--; f.Gone = true })
		old(func(f *linkv1.InstanceFacts) {
			f.Grant--
			f.Observed.Grant--
			f.Placement.Verdict = linkv1.Verdict_VERDICT_REFUSED
		})
		old(func(f *linkv1.InstanceFacts) { f.Gone = true }) // of nobody's tombstone
		old(func(*linkv1.InstanceFacts) {})
		v, ok := r.book.Facts(in.ID)
		if now := r.instance(svc.ID, 0); !ok || v.Observed.State != instance.Running || now.Revision != in.Revision || !a.executes(svc.ID, 0) {
			t.Errorf("facts %+v %v, record %+v", v, ok, now)
		}
	})
}

// An address rests a minute after its service is deleted and is then free for
// anybody, also when the service never had an instance and the desk never
// heard of it; the same name has it back at once.
func TestTheAddressOfAServiceWithoutInstancesComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		for _, again := range []time.Duration{0, 2 * time.Minute} {
			svc := r.service("one", wants{address: "10.30.30.30"})
			if err := r.ctl.DeleteApplication(t.Context(), admin, svc.Application); err != nil {
				t.Fatal(err)
			}
			if _, err := r.tryService("two", wants{address: "10.30.30.30"}); !errors.Is(err, errs.Conflict) {
				t.Errorf("it is given to others at once: %v", err)
			}
			pass(again)
		}
		svc, err := r.tryService("two", wants{address: "10.30.30.30"})
		if err != nil {
			t.Fatalf("after its rest: %v", err)
		}
		if err := r.ctl.DeleteService(t.Context(), admin, svc.ID); err != nil {
			t.Fatal(err)
		}
		back, err := r.tryService("three", wants{})
		if err != nil || back.Address == svc.Address {
			t.Errorf("%v, %v", back.Address, err)
		}
		// In use again before the desk looks: it stays so.
		one := r.service("one", wants{address: "10.30.30.31"})
		r.deploy(one.ID, 1)
		if err := r.ctl.DeleteApplication(t.Context(), admin, one.Application); err != nil {
			t.Fatal(err)
		}
		r.service("one", wants{address: "10.30.30.31"})
		pass(5 * time.Minute)
		if c, ok := r.claim(one.Address); !ok || !c.Until.IsZero() {
			t.Errorf("the claim is %+v, %v", c, ok)
		}
		if _, err := r.tryService("four", wants{address: "10.30.30.31"}); !errors.Is(err, errs.Conflict) {
			t.Errorf("an address in use was given away: %v", err)
		}
	})
}
