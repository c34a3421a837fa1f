package assign_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/store"
)

// Yesterday's store comes back beside today's witness.
func TestARestoredBackupCatchesUpWithItsClusters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, two := world(t)
		r.stop()
		restore := backup(t, r.dir, "root.db")
		r = start(t, r.dir)
		a.leave().join(r)
		b.leave().join(r)

		// Since then: new instances, a new service, one moved, some deleted.
		r.deploy(one.ID, 3)
		three := r.service("three", wants{memory: 100})
		r.deploy(three.ID, 2)
		moved := a.slots()[0]
		a.tell(func(f *fake) *linkv1.Up {
			delete(f.runs, key(string(moved.Service), moved.Number))
			f.refuse = true
			fact := f.answer(key(string(moved.Service), moved.Number))
			f.refuse = false
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
		})
		if !b.executes(moved.Service, moved.Number) {
			t.Fatal("b should have it now")
		}
		a.set(func(f *fake) { f.mute = true })
		var doomed []model.InstanceID
		for _, id := range a.slots() {
			if id.Service == two.ID {
				doomed = append(doomed, id)
				r.undeploy(id.Service, id.Number)
			}
		}
		before := r.everything()
		most := highest(before.Instances...)
		if len(doomed) == 0 || len(before.Instances) != 14 {
			t.Fatalf("doomed %v, %d instances", doomed, len(before.Instances))
		}
		pass(seconds(2)) // the witness is written every second
		a.leave()
		b.leave()
		a.past, b.past = nil, nil

		r = r.restart(restore)
		r.waitsFor("a", "b")
		b.join(r)
		a.join(r)
		r.waitsFor()
		r.same(before)
		unharmed(t, 14, a, b)
		a.set(func(f *fake) { f.mute = false })
		a.tell(func(f *fake) *linkv1.Up { return f.report(true) })
		pass(seconds(5))
		for _, id := range doomed {
			if !r.gone(id.Service, id.Number) || a.executes(id.Service, id.Number) {
				t.Errorf("%s was deleted since the backup and is back", id)
			}
		}
		r.deploy(one.ID, 1)
		r.deploy(three.ID, 1)
		for id, number := range map[model.ServiceID]int{one.ID: 9, three.ID: 2} {
			if in := r.instance(id, number); in.Grant <= most {
				t.Errorf("%+v, but %d was given before", in, most)
			}
		}
	})
}

// A copy that lacks nothing but the last grant is an old one, too: what that
// started was ended as something this life of the store had removed.
func TestACopyThatLacksOneGrantIsOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		restore := backup(t, r.dir, "root.db") // as oak backup makes one, while the root runs
		r.deploy(svc.ID, 1)
		pass(seconds(2))
		a.leave()

		r = r.restart(restore)
		r.waitsFor("a")
		a.join(r)
		r.waitsFor()
		pass(seconds(30))
		if n := a.count(); n != 2 || len(a.stopped()) != 0 {
			t.Errorf("%d of 2 run, ended: %v", n, a.stopped())
		}
	})
}

// Store and witness are of yesterday: nothing tells the root so but a cluster
// that has seen more.
func TestAnOldCopyWithItsWitnessIsFoundOutByItsClusters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, _ := world(t)
		r.stop()
		restore := backup(t, r.dir, "root.db", "witness.json")
		r = start(t, r.dir)
		a.leave().join(r)
		b.leave().join(r)
		r.deploy(one.ID, 4)
		before := r.everything()
		most := highest(before.Instances...)
		a.leave()
		b.leave()
		r = r.restart(restore)
		if r.recovering() {
			t.Fatal("how does it know?")
		}
		a.join(r)
		b.join(r)
		r.same(before)
		r.deploy(one.ID, 1)
		if in := r.instance(one.ID, 10); in.Grant.Incarnation() <= most.Incarnation() {
			t.Errorf("%+v, but %d was given before", in, most)
		}
		unharmed(t, 14, a, b)
	})
}

// An old copy would bring to life what was deleted since, were it not for the
// cluster that has the tombstone.
func TestAnOldCopyLearnsOfTombstones(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 2)
		pass(seconds(2))
		r.stop()
		restore := backup(t, r.dir, "root.db", "witness.json")
		r = start(t, r.dir)
		a.leave().set(func(f *fake) { f.mute = true }).join(r)
		r.undeploy(svc.ID, 0)
		a.leave()
		r = r.restart(restore)
		a.join(r)
		if _, dead, ok := a.has(svc.ID, 0); !ok || !dead || !r.instance(svc.ID, 0).Tombstone {
			t.Errorf("a has a tombstone: %v, the root: %+v", dead, r.instance(svc.ID, 0))
		}
		a.set(func(f *fake) { f.mute = false })
		a.tell(func(f *fake) *linkv1.Up { return f.report(false) })
		if !r.gone(svc.ID, 0) || a.executes(svc.ID, 0) || !a.executes(svc.ID, 1) {
			t.Error("one of two should be gone")
		}
	})
}

// What was reported in recovery is acted upon when it ends, though nobody says
// it again.
func TestReportsOfTheRecoveryCountAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		twice := r.service("one", wants{memory: 100})
		refused := r.service("two", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(twice.ID, 1)
		a.set(func(f *fake) { f.refuse = true })
		r.deploy(refused.ID, 1)
		b := newFake("b").set(func(f *fake) { f.nodes = 0 }).join(r)
		late := newFake("late").set(func(f *fake) { f.nodes = 0 }).join(r)
		for _, f := range []*fake{a, b, late} {
			f.leave()
		}
		b.hold(a.orderOf(twice.ID, 0), r.instance(twice.ID, 0).Grant+5, true)
		b.set(func(f *fake) { f.nodes = 4 })
		r = r.restart(loseStore)
		a.join(r)
		b.join(r)
		a.set(func(f *fake) { f.quiet = true })
		b.set(func(f *fake) { f.quiet = true })
		if r.waitsFor("late"); !a.executes(twice.ID, 0) || len(a.orders())+len(b.orders()) != 0 {
			t.Fatalf("in recovery a was told %v, b %v", a.orders(), b.orders())
		}
		late.join(r)
		r.waitsFor()
		if a.executes(twice.ID, 0) || !b.executes(twice.ID, 0) {
			t.Errorf("of two that run, a runs: %v, b runs: %v", a.executes(twice.ID, 0), b.executes(twice.ID, 0))
		}
		if !b.executes(refused.ID, 0) {
			t.Errorf("what a refused went nowhere: %+v", r.instance(refused.ID, 0))
		}
	})
}

// Nobody remembers anything but the clusters.
func TestEverythingIsLostButTheClusters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, _ := world(t)
		before := r.everything()
		most := highest(before.Instances...)
		a.leave()
		b.leave()
		r = r.restart(loseEverything)
		if r.recovering() {
			t.Error("a fresh root waits for nobody")
		}
		a.join(r)
		b.join(r)
		for _, f := range []*fake{a, b} {
			if w := got(f, welcomes); len(w) != 1 || !w[0].Recovery {
				t.Errorf("%s was not asked for what it holds: %v", f.name, w)
			}
		}
		r.same(before)
		unharmed(t, 9, a, b)
		r.deploy(one.ID, 1)
		if in := r.instance(one.ID, 6); in.Grant <= most {
			t.Errorf("%+v, but %d was given before", in, most)
		}
		// They are no strangers any more.
		if a.leave().join(r); got(a, welcomes)[0].Recovery {
			t.Error("asked again")
		}
		unharmed(t, 10, a, b)
	})
}

// Clusters were renamed since the backup, and a name went from one to another.
func TestABackupFromBeforeClustersChangedTheirNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, _, _ := world(t)
		r.stop()
		restore := backup(t, r.dir, "root.db")
		r = start(t, r.dir)
		rename := func(f *fake, name string) { f.leave().set(func(f *fake) { f.name = name }).join(r) }
		b.leave()
		rename(a, "c")
		rename(b, "a")
		newFake("third").set(func(f *fake) { f.name = "b" }).join(r).leave()
		before := r.everything()
		a.leave()
		b.leave()
		r = r.restart(restore)
		r.waitsFor("a", "b", "c")
		b.join(r)
		a.join(r)
		r.waitsFor("b")
		if err := r.desk.AcceptRecovery(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.same(before)
		unharmed(t, 9, a, b)
	})
}

// Two claims of one slot: the lower grant runs until the higher one does.
func TestOfTwoClaimsTheHigherGrantWins(t *testing.T) {
	for name, c := range map[string]struct {
		lose      func(dir string)
		highFirst bool
	}{
		"store lost, higher first": {loseStore, true}, "store lost, lower first": {loseStore, false},
		"all lost, higher first": {loseEverything, true}, "all lost, lower first": {loseEverything, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, t.TempDir())
				svc := r.service("one", wants{memory: 100})
				low, high := newFake("low").join(r), newFake("high")
				r.deploy(svc.ID, 1)
				high.join(r).leave()
				low.leave()
				grant := r.instance(svc.ID, 0).Grant
				high.hold(low.orderOf(svc.ID, 0), grant+1, false)
				high.set(func(f *fake) { f.mute = true })
				r = r.restart(c.lose)
				pass(seconds(1))
				order := []*fake{low, high}
				if c.highFirst {
					slices.Reverse(order)
				}
				for _, f := range order {
					f.join(r)
				}
				r.waitsFor()
				pass(seconds(60))
				if in := r.instance(svc.ID, 0); in.Grant != grant+1 || string(in.Cluster) != high.id {
					t.Errorf("%+v, want grant %d of cluster %s", in, grant+1, high.id)
				}
				if !low.executes(svc.ID, 0) {
					t.Fatal("the lower one was stopped before the higher one runs")
				}
				high.set(func(f *fake) { f.mute = false })
				high.tell(func(f *fake) *linkv1.Up { return f.report(false) })
				if low.executes(svc.ID, 0) || !high.executes(svc.ID, 0) {
					t.Errorf("low runs: %v, high runs: %v", low.executes(svc.ID, 0), high.executes(svc.ID, 0))
				}
			})
		})
	}
}

// What no record explains is shown and let be: containers a cluster was never
// ordered to run, and slots whose service's name is another's by now.
func TestUnknownContainersAreListedAndLeftRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		a.leave().set(func(f *fake) {
			f.lost = []*linkv1.Orphan{{NodeId: "w7", ServiceId: "feed", ServiceName: "x.x.x.x", Number: 3, Grant: 9, Try: 2}}
		})
		r = r.restart(loseEverything)
		r.service("one", wants{memory: 100}) // of the same name
		a.join(r)
		look := func(when string) {
			t.Helper()
			want := []control.UnknownView{
				{Cluster: model.ClusterID(a.id), Node: "w1", Instance: r1(svc.ID), Epoch: instance.Epoch{Grant: first(a.has(svc.ID, 0)), Try: 1}, Held: true},
				{Cluster: model.ClusterID(a.id), Node: "w7", ServiceName: "x.x.x.x", Instance: model.InstanceID{Service: "feed", Number: 3}, Epoch: instance.Epoch{Grant: 9, Try: 2}},
			}
			u := r.desk.Unknown()
			for i := range u {
				u[i].Since = time.Time{}
			}
			if !slices.Equal(u, want) {
				t.Errorf("%s: unknown %+v, want %+v", when, u, want)
			}
			if !a.executes(svc.ID, 0) || len(a.orders()) != 0 {
				t.Errorf("%s: a runs it: %v; a was told %v", when, a.executes(svc.ID, 0), a.orders())
			}
		}
		look("at first")
		if snap := got(a, desired)[0]; len(snap.Unknown) != 1 || snap.Unknown[0].ServiceId != string(svc.ID) {
			t.Errorf("a was told %v", snap)
		}
		pass(seconds(3600))
		look("an hour later")
		a.leave()
		look("while a is away")
		r = r.restart()
		if u := r.desk.Unknown(); len(u) != 0 {
			t.Errorf("nothing was heard, but unknown %v", u)
		}
		a.join(r)
		look("after a restart")
	})
}

func first[A, B, C any](a A, _ B, _ C) A { return a }

// An order that cannot be entered is no reason to keep its cluster out, nor
// the root in recovery.
func TestADamagedOrderKeepsNobodyOut(t *testing.T) {
	for name, damage := range map[string]func(*linkv1.Assignment){
		"no spec":        func(a *linkv1.Assignment) { a.Spec = nil },
		"no application": func(a *linkv1.Assignment) { a.Spec.ApplicationId = "" },
		"no name":        func(a *linkv1.Assignment) { a.Spec.ServiceName = "" },
		"no service id":  func(a *linkv1.Assignment) { a.ServiceId = "" },
		"tombstone":      func(a *linkv1.Assignment) { a.ServiceId, a.Spec, a.Tombstone = "", nil, true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, a, b, one, _ := world(t)
				a.leave()
				b.leave()
				odd := a.orderOf(a.slots()[0].Service, a.slots()[0].Number)
				odd.ServiceId, odd.InstanceAddress = "feed", "10.30.200.200"
				odd.Spec.AppName, odd.Spec.ApplicationId, odd.Spec.ServiceAddress = "odd", "0123", "10.30.200.201"
				damage(odd)
				a.set(func(f *fake) { f.held[key(odd.ServiceId, int(odd.Number))] = odd })
				r = r.restart(loseStore)
				a.join(r)
				b.join(r)
				if r.waitsFor(); a.why() != nil {
					t.Fatalf("a was sent away: %v", a.why())
				}
				if n := len(r.everything().Instances); n != 9 {
					t.Errorf("%d instances", n)
				}
				r.deploy(one.ID, 1)
				synctest.Wait()
			})
		})
	}
}

// Grants of one start of the root, even of none, are never given again.
func TestGrantsOnlyGrow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 10})
		a := newFake("a").join(r)
		var last store.Instance
		for n, between := range []func(string){func(string) {}, loseStore, func(string) {}, loseStore, loseStore, loseEverything, func(string) {}, loseStore} {
			r.deploy(svc.ID, 1)
			in := r.instance(svc.ID, n)
			if in.Grant <= last.Grant {
				t.Fatalf("round %d: %d after %d", n, in.Grant, last.Grant)
			}
			last = in
			a.leave()
			r = r.restart(between)
			a.join(r)
			r.waitsFor()
		}
		unharmed(t, 8, a)
	})
}
