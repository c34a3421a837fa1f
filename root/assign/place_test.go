package assign_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func TestAnInstanceWaitsForAClusterWithRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1)
		if word, _ := r.desk.Waits(r1(svc.ID)); word != "" || r.instance(svc.ID, 0).Grant != 0 {
			t.Fatalf("without clusters: %s", word)
		}
		a := newFake("a").set(func(f *fake) { f.nodes = 0 }).join(r)
		word, reasons := r.desk.Waits(r1(svc.ID))
		if word != instance.WordNoActiveCluster || len(reasons) != 1 || reasons[0].Count != 1 {
			t.Fatalf("with an empty cluster: %s %+v", word, reasons)
		}
		a.set(func(f *fake) { f.nodes = 1 })
		pass(seconds(5)) // its next aggregate
		in := r.instance(svc.ID, 0)
		if word, _ = r.desk.Waits(in.ID); string(in.Cluster) != a.id || in.Grant == 0 || word != "" || !a.executes(svc.ID, 0) {
			t.Errorf("with a worker: %+v", in)
		}
		if v, ok := r.book.Facts(in.ID); !ok || v.Observed.State != instance.Running || string(v.Cluster) != a.id {
			t.Errorf("facts: %+v %v", v, ok)
		}
	})
}

func TestWhyAnInstanceWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		newFake("small").set(func(f *fake) { f.nodes = 1 }).join(r)
		away := newFake("away").join(r)
		away.leave()
		for _, c := range []struct {
			app    string
			w      wants
			word   instance.Word
			reason string
			count  int
		}{
			{"notthere", wants{rules: `[{"type":"direct","cluster":"nowhere"}]`}, instance.WordTargetNotFound, "constraint", 2},
			{"isaway", wants{rules: `[{"type":"direct","cluster":"away"}]`}, instance.WordTargetNotActive, "constraint", 1},
			{"full", wants{memory: 5000, rules: `[{"type":"direct","cluster":"small"}]`}, instance.WordTargetNoCapacity, "constraint", 1},
			{"toobig", wants{vcpus: 5}, instance.WordNoActiveCluster, "vcpus", 1},
		} {
			svc := r.service(c.app, c.w)
			r.deploy(svc.ID, 1)
			word, reasons := r.desk.Waits(r1(svc.ID))
			found := false
			for _, x := range reasons {
				found = found || x.Name == c.reason && x.Count == c.count && x.Detail != ""
			}
			if word != c.word || !found {
				t.Errorf("%s: %s %+v, want %s with %d %s", c.app, word, reasons, c.word, c.count, c.reason)
			}
		}
	})
}

// An instance that only waits for a connection is still only requested, and
// says whose.
func TestAnInstanceWaitsForAConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		a.leave()
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1)
		word, reasons := r.desk.Waits(r1(svc.ID))
		if word != "" || r.instance(svc.ID, 0).Grant != 0 || len(reasons) != 1 || reasons[0].Name != "inactive" || reasons[0].Detail != "a" {
			t.Fatalf("its only cluster is away: %s %+v", word, reasons)
		}
		a.join(r)
		_, reasons = r.desk.Waits(r1(svc.ID))
		if in := r.instance(svc.ID, 0); string(in.Cluster) != a.id || len(reasons) != 0 || !a.executes(svc.ID, 0) {
			t.Errorf("it is back: %+v, %+v", in, reasons)
		}
	})
}

// A cluster refuses: the next one gets the instance under a higher grant, and
// the first is told to forget it under its own.
func TestARefusedInstanceGoesToTheNextCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").set(func(f *fake) { f.refuse = true }).join(r)
		r.deploy(svc.ID, 1)
		first := r.instance(svc.ID, 0)
		if string(first.Cluster) != a.id {
			t.Fatalf("%+v", first)
		}
		b := newFake("b").join(r)
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id || in.Grant <= first.Grant || !b.executes(svc.ID, 0) {
			t.Fatalf("b came with room, but %+v", in)
		}
		orders := a.orders()
		last := orders[len(orders)-1]
		if !last.Tombstone || last.Grant != uint64(first.Grant) {
			t.Errorf("a was told %v", last)
		}
		if _, _, holds := a.has(svc.ID, 0); holds {
			t.Error("a still holds it")
		}
		pass(seconds(120))
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id || !b.executes(svc.ID, 0) || b.count() != 1 {
			t.Errorf("later: %+v", in)
		}
	})
}

// Nobody can take it: it stays where it is instead of wandering, and the user
// sees that cluster's reasons.
func TestAnInstanceThatAllRefuseStaysAndIsNotPassedAround(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		no := func(f *fake) { f.refuse = true }
		a, b := newFake("a").set(no).join(r), newFake("b").set(no).join(r)
		r.deploy(svc.ID, 1)
		pass(seconds(60))
		again := func(f *fake) {
			f.tell(func(f *fake) *linkv1.Up { return f.report(false) })
		}
		settled := r.instance(svc.ID, 0)
		for range 10 {
			again(a)
			again(b)
			pass(seconds(10))
		}
		in := r.instance(svc.ID, 0)
		if in.Grant != settled.Grant || in.Cluster == "" {
			t.Errorf("was %d, became %d", settled.Grant, in.Grant)
		}
		if v, _ := r.book.Facts(in.ID); v.Placement.Verdict != instance.Refused || len(v.Placement.Reasons) != 1 {
			t.Errorf("facts: %+v", v)
		}
		// As soon as one has more room it is asked again.
		other := a
		if string(in.Cluster) == a.id {
			other = b
		}
		other.set(func(f *fake) { f.refuse, f.nodes = false, f.nodes+1 })
		pass(seconds(10))
		if !other.executes(svc.ID, 0) {
			t.Errorf("the other cluster has room now: %+v", r.instance(svc.ID, 0))
		}
	})
}

// A refusal books nothing: others may have the room.
func TestARefusedOrderReservesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").set(func(f *fake) { f.refuse, f.nodes = true, 1 }).join(r)
		big := r.service("big", wants{memory: 3000})
		r.deploy(big.ID, 1)
		a.set(func(f *fake) { f.refuse = false })
		pass(seconds(6))
		other := r.service("other", wants{memory: 3000})
		r.deploy(other.ID, 1)
		if !a.executes(other.ID, 0) {
			t.Errorf("%+v", r.instance(other.ID, 0))
		}
	})
}

// step is one thing that happens in TestNothingIsPromisedTwice.
type step struct{ deploys, memory, victim, seconds int }

// Between two aggregates nothing is promised twice, whatever is asked for.
func TestNothingIsPromisedTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				return step{deploys: rapid.IntRange(1, 4).Draw(t, "count"), memory: rapid.IntRange(200, 2500).Draw(t, "memory")}
			case 2:
				return step{victim: rapid.IntRange(1, 20).Draw(t, "victim")}
			}
			return step{seconds: rapid.IntRange(1, 7).Draw(t, "seconds")}
		}), 1, 12).Draw(rt, "steps")
		failure := ""
		bubble(t, func(t *testing.T) { failure = promise(t, steps) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// promise plays steps on two clusters and says which was given too much.
func promise(t *testing.T, steps []step) string {
	r := start(t, t.TempDir())
	list := []*fake{newFake("a"), newFake("b")}
	for i, f := range list {
		f.set(func(f *fake) { f.nodes = i + 1 }).join(r)
	}
	var live []model.InstanceID
	for i, s := range steps {
		switch {
		case s.deploys > 0:
			svc := r.service(appName(i+1), wants{memory: s.memory})
			r.deploy(svc.ID, s.deploys)
			for n := range s.deploys {
				live = append(live, model.InstanceID{Service: svc.ID, Number: n})
			}
		case s.victim > 0 && s.victim <= len(live):
			v := live[s.victim-1]
			r.undeploy(v.Service, v.Number)
			live = slices.Delete(live, s.victim-1, s.victim)
		default:
			pass(seconds(s.seconds))
		}
		for _, f := range list {
			sum, limit := f.uses(), int64(f.nodes*nodeMemory)
			if sum > limit {
				return fmt.Sprintf("after step %d cluster %s was given %d of %d MiB", i, f.name, sum, limit)
			}
		}
	}
	return ""
}

// uses is the memory of what runs, in MiB.
func (f *fake) uses() (sum int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.runs {
		sum += f.held[k].Spec.Demand.MemoryMb
	}
	return sum
}

func appName(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	s := ""
	for ; n > 0; n /= 26 {
		s += string(letters[n%26])
	}
	return "app" + s
}

// A restart forgets no promise that the cluster has not counted yet.
func TestPromisesOutliveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").set(func(f *fake) { f.nodes, f.mute = 1, true }).join(r)
		svc := r.service("one", wants{memory: 2000})
		r.deploy(svc.ID, 2)
		a.leave()
		r = r.restart()
		a.join(r)
		r.deploy(svc.ID, 1)
		if in := r.instance(svc.ID, 2); in.Cluster != "" {
			t.Errorf("4000 of 4000 MiB are promised, but %+v", in)
		}
	})
}

func TestAnOlderGrantIsStoppedOnlyWhenTheNewOneRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		b := newFake("b").set(func(f *fake) { f.mute = true }).join(r)
		// a loses its worker and cannot place again, while the old copy may
		// still execute: b is asked.
		a.tell(func(f *fake) *linkv1.Up {
			f.refuse = true
			fact := f.answer(key(string(svc.ID), 0))
			f.refuse = false
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
		})
		in := r.instance(svc.ID, 0)
		if string(in.Cluster) != b.id {
			t.Fatalf("%+v", in)
		}
		// A cluster that holds an older grant and runs it, as one that was cut
		// off does.
		c := newFake("c")
		c.set(func(f *fake) {
			k := key(string(svc.ID), 0)
			f.id, f.incarnation = "", b.incarnation
			f.held[k] = &linkv1.Assignment{ServiceId: string(svc.ID), Grant: uint64(in.Grant) - 1}
			f.runs[k] = true
		})
		c.join(r)
		if !c.executes(svc.ID, 0) {
			t.Fatal("the old copy was stopped before the new one runs")
		}
		b.set(func(f *fake) { f.mute = false })
		b.tell(func(f *fake) *linkv1.Up { return f.report(false) })
		if !b.executes(svc.ID, 0) || c.executes(svc.ID, 0) {
			t.Errorf("b runs: %v, c runs: %v", b.executes(svc.ID, 0), c.executes(svc.ID, 0))
		}
	})
}

// A dry run says what would happen, and nothing does.
func TestADryRunPlacesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").set(func(f *fake) { f.refuse = true }).join(r)
		newFake("b").set(func(f *fake) { f.nodes = 0 }).join(r)
		svc := r.service("one", wants{memory: 100})
		for range 3 {
			run, err := r.desk.DryRun(t.Context(), svc)
			if err != nil || string(run.OneMore.Choice) != a.id || len(run.OneMore.Clusters) != 2 || run.Total != 0 {
				t.Fatalf("%+v, %v", run, err)
			}
		}
		r.deploy(svc.ID, 2) // a refuses both, b has no worker
		run, err := r.desk.DryRun(t.Context(), svc)
		if err != nil || run.Total != 2 || len(run.Waiting) != 2 || run.Waiting[1].ID.Number != 1 || run.Waiting[0].Choice != "" {
			t.Fatalf("%+v, %v", run, err)
		}
		why := map[string]string{}
		for _, v := range run.Waiting[0].Clusters {
			why[string(v.Cluster)] = v.Reason.Name
		}
		if why[a.id] != "refused" || len(why) != 2 {
			t.Errorf("%v", why)
		}
		if n := len(a.orders()); n != 2 {
			t.Errorf("%d orders", n)
		}
	})
}

// placed is the report of an order that is on its way to a worker.
func (f *fake) placed(k string) *linkv1.Up {
	a := f.held[k]
	fact := &linkv1.InstanceFacts{ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant, NodeLiveness: linkv1.NodeLiveness_NODE_LIVENESS_ALIVE,
		Placement: &linkv1.Placement{Try: 1, NodeId: "w1", NodeHost: "w1", Verdict: linkv1.Verdict_VERDICT_PLACED}}
	return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
}

// What no worker of a cluster could start goes to another cluster.
func TestWhatAClusterCannotStartGoesToAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").set(func(f *fake) {
			f.refuse, f.because = true, []*linkv1.Reason{{Name: instance.ReasonFailed, Count: 1, Detail: "w1"}}
		}).join(r)
		r.deploy(svc.ID, 1)
		pass(seconds(10))
		b := newFake("b").join(r)
		pass(seconds(10))
		if !b.executes(svc.ID, 0) || a.executes(svc.ID, 0) {
			t.Errorf("it is at %+v", r.instance(svc.ID, 0))
		}
	})
}

// What no cluster can start is not passed around: neither more room nor a
// placement that comes to nothing brings it back, before ten minutes are over.
func TestWhatNoClusterCanStartStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		no := func(f *fake) {
			f.refuse, f.because = true, []*linkv1.Reason{{Name: instance.ReasonFailed, Count: 1, Detail: "w1"}}
		}
		a, b := newFake("a").set(no).join(r), newFake("b").set(no).join(r)
		r.deploy(svc.ID, 1)
		pass(seconds(20))
		settled := r.instance(svc.ID, 0)
		k := key(string(svc.ID), 0)
		tries := func(f *fake) { // as a cluster does after its pause
			if string(r.instance(svc.ID, 0).Cluster) == f.id {
				f.tell(func(f *fake) *linkv1.Up { return f.placed(k) })
				pass(seconds(5))
				f.tell(func(f *fake) *linkv1.Up { return f.report(false) })
			}
			f.set(func(f *fake) { f.nodes++ })
			pass(seconds(10))
		}
		for range 15 {
			tries(a)
			tries(b)
		}
		if in := r.instance(svc.ID, 0); in.Grant != settled.Grant || in.Cluster == "" {
			t.Fatalf("was %d, became %d", settled.Grant, in.Grant)
		}
		other := a
		if string(settled.Cluster) == a.id {
			other = b
		}
		other.set(func(f *fake) { f.refuse = false })
		for range 15 {
			tries(a)
			tries(b)
		}
		if !other.executes(svc.ID, 0) {
			t.Errorf("after ten minutes it is at %+v", r.instance(svc.ID, 0))
		}
	})
}
