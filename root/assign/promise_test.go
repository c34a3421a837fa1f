package assign_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// withWorkers gives a cluster workers of its own.
func withWorkers(list ...model.Resources) func(f *fake) {
	return func(f *fake) {
		f.workers, f.capacity, f.nodes = placement.NewIndex(), &linkv1.Resources{}, len(list)
		for i, r := range list {
			f.capacity.MilliCpu += r.MilliCPU
			f.capacity.MemoryMb += r.MemoryMB
			f.workers.Apply(placement.Delta{Upsert: []placement.Candidate{{ID: fmt.Sprint("w", i), Capacity: r,
				Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true}}})
		}
	}
}

func megabytes(list ...int64) (out []model.Resources) {
	for _, mb := range list {
		out = append(out, model.Resources{MilliCPU: 8000, MemoryMB: mb})
	}
	return out
}

// A cluster whose workers are too small one by one is not asked, however much
// they have together, nor is one asked again for what is on its way there.
func TestNoClusterIsAskedForWhatItsWorkersDoNotHave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		small := newFake("small").set(withWorkers(megabytes(1000, 1000, 1000, 1000, 1000)...)).join(r)
		large := newFake("large").set(withWorkers(megabytes(2000)...)).join(r)
		r.deploy(r.service("one", wants{memory: 1500}).ID, 1)
		r.deploy(r.service("two", wants{memory: 400}).ID, 2)
		r.deploy(r.service("three", wants{memory: 900}).ID, 6) // three workers have that
		pass(seconds(30))
		if small.refused+large.refused > 0 {
			t.Errorf("refused: %d and %d", small.refused, large.refused)
		}
		if large.count() != 1 || small.count() != 2+3 {
			t.Errorf("%d run on large, %d on small", large.count(), small.count())
		}
	})
}

// What could only be known with the next report of a cluster is placed then,
// not at the next retry.
func TestWhatAReportSettlesIsPlacedThen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").set(withWorkers(megabytes(1000, 700)...)).join(r)
		pass(seconds(4))
		one, two := r.service("one", wants{memory: 300}), r.service("two", wants{memory: 600})
		r.deploy(one.ID, 1)
		r.deploy(two.ID, 2) // one fits beside the first, wherever that is; the other perhaps
		if a.count() != 2 {
			t.Fatalf("%d run at first", a.count())
		}
		pass(seconds(2)) // its next report
		if a.count() != 3 || a.refused > 0 {
			t.Errorf("%d run, %d were refused", a.count(), a.refused)
		}
	})
}

// A slot that moves on takes its promise along: a report of the cluster it has
// left does not end it.
func TestAPromiseIsNotEndedByAClusterThatWasLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 3000})
		a := newFake("a").set(func(f *fake) { f.nodes = 1 }).join(r)
		r.deploy(svc.ID, 1)
		b := newFake("b").set(func(f *fake) { f.nodes, f.mute = 1, true }).join(r)
		// a loses its worker right after it placed the instance: b gets it, and
		// has not answered when a reports.
		a.tell(func(f *fake) *linkv1.Up {
			f.refuse, f.nodes = true, 0
			fact := f.answer(key(string(svc.ID), 0))
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
		})
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id {
			t.Fatalf("%+v", in)
		}
		pass(seconds(12)) // reports of a
		other := r.service("two", wants{memory: 3000})
		r.deploy(other.ID, 1)
		if in := r.instance(other.ID, 0); in.Cluster != "" {
			t.Errorf("3000 of 4000 MiB are promised, but %+v", in)
		}
	})
}

// Whatever is asked for, and whenever clusters report: none is asked for what
// it does not have, and in the end nothing waits that fits somewhere.
func TestClustersAreNotAskedInVain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var sites [][]model.Resources
		for range rapid.IntRange(1, 3).Draw(rt, "clusters") {
			sites = append(sites, megabytes(rapid.SliceOfN(rapid.Int64Range(1, 8), 1, 5).Draw(rt, "workers")...))
			for i := range sites[len(sites)-1] {
				sites[len(sites)-1][i].MemoryMB *= 500
			}
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				return step{seconds: rapid.IntRange(1, 7).Draw(t, "seconds")}
			}
			return step{deploys: rapid.IntRange(1, 4).Draw(t, "count"), memory: 100 * rapid.IntRange(1, 30).Draw(t, "memory")}
		}), 1, 10).Draw(rt, "steps")
		failure := ""
		bubble(t, func(t *testing.T) { failure = inVain(t, sites, steps) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

func inVain(t *testing.T, sites [][]model.Resources, steps []step) string {
	r := start(t, t.TempDir())
	var list []*fake
	for i, workers := range sites {
		list = append(list, newFake(fmt.Sprint("c", i)).set(withWorkers(workers...)).join(r))
	}
	for i, s := range steps {
		if s.deploys == 0 {
			pass(seconds(s.seconds))
			continue
		}
		r.deploy(r.service(appName(i+1), wants{memory: s.memory}).ID, s.deploys)
	}
	for _, f := range list {
		if f.refused > 0 {
			return fmt.Sprintf("cluster %s refused %d", f.name, f.refused)
		}
	}
	pass(seconds(30))
	waiting, err := r.file.Instances().List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range waiting {
		svc, err := r.file.Services().Get(t.Context(), in.ID.Service)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if _, err := f.workers.Place(placement.Request{Service: in.ID.Service, Demand: svc.Spec.Demand}); err == nil && in.Cluster == "" {
				return fmt.Sprintf("%s waits, and %s has room for it", in.ID, f.name)
			}
		}
	}
	return ""
}
