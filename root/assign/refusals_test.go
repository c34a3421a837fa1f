package assign_test

import (
	"testing"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// said is what a user reads of a slot.
func (r *rig) said(id model.ServiceID, number int) string {
	r.t.Helper()
	v, err := r.ctl.Service(r.t.Context(), admin, id)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range v.Slots {
		if s.ID.Number == number {
			return string(s.Word) + ": " + s.Detail
		}
	}
	r.t.Fatalf("no instance %d of %s", number, id)
	return ""
}

func (r *rig) wantSaid(id model.ServiceID, number int, want string) {
	r.t.Helper()
	if got := r.said(id, number); got != want {
		r.t.Errorf("the user reads\n%s\nwant\n%s", got, want)
	}
}

// One cluster has no port, the next one no memory, the third is full as far as
// the root knows: all three are named.
func TestAUserReadsWhyEachClusterRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		north := newFake("north").set(func(f *fake) {
			f.refuse, f.because = true, []*linkv1.Reason{{Name: "port", Count: 2, Detail: "n1: 7070/tcp is used by another service"}}
		}).join(r)
		r.deploy(svc.ID, 1)
		r.wantSaid(svc.ID, 0, "NO_WORKER_CAPACITY: no node qualifies: port 2 (n1: 7070/tcp is used by another service)")
		south := newFake("south").set(func(f *fake) { f.refuse = true }).join(r)
		r.wantSaid(svc.ID, 0, "NO_WORKER_CAPACITY: no node qualifies: north: port 2 (n1: 7070/tcp is used by another service); south: memory 1 (w1)")
		newFake("west").set(func(f *fake) { f.nodes = 0 }).join(r)
		r.wantSaid(svc.ID, 0, "NO_WORKER_CAPACITY: no node qualifies: north: port 2 (n1: 7070/tcp is used by another service); south: memory 1 (w1); "+
			"elsewhere: memory 1 (west: 100 > 0 MiB free)")
		dry, err := r.desk.DryRun(t.Context(), svc)
		if err != nil || len(dry.Waiting) != 1 {
			t.Fatalf("%+v, %v", dry, err)
		}
		against := map[model.ClusterID]string{}
		for _, v := range dry.Waiting[0].Clusters {
			against[v.Cluster] = v.Reason.Name + " (" + v.Reason.Detail + ")"
		}
		if got := against[model.ClusterID(north.id)]; got != "refused (north: port 2 (n1: 7070/tcp is used by another service))" {
			t.Errorf("explained as %s", got)
		}
		if string(r.instance(svc.ID, 0).Cluster) != south.id {
			t.Fatalf("it is with %s", r.instance(svc.ID, 0).Cluster)
		}
		// What was refused is forgotten with the first success.
		north.set(func(f *fake) { f.refuse, f.nodes = false, f.nodes+1 })
		pass(seconds(10))
		r.wantSaid(svc.ID, 0, "RUNNING: ")
	})
}

// Clusters that the user ruled out are no news.
func TestAUserReadsNothingOfClustersThatWereRuledOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		newFake("north").set(func(f *fake) { f.refuse = true }).join(r)
		newFake("south").join(r)
		svc := r.service("one", wants{memory: 100, rules: `[{"type":"direct","cluster":"north"}]`})
		r.deploy(svc.ID, 1)
		r.wantSaid(svc.ID, 0, "NO_WORKER_CAPACITY: no node qualifies: memory 1 (w1)")
	})
}

// A refusal is about what was asked for: a smaller revision is offered to all.
func TestARefusalEndsWithTheRevisionThatWasRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 3000})
		no := func(f *fake) { f.refuse = true }
		a := newFake("a").set(no).join(r)
		r.deploy(svc.ID, 1)
		b := newFake("b").set(no).join(r)
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id {
			t.Fatalf("%+v", in)
		}
		a.set(func(f *fake) { f.refuse = false }) // it would take less, and has no more room than before
		r.update(svc.ID, `{"memory":100}`)
		pass(seconds(2))
		if in := r.instance(svc.ID, 0); string(in.Cluster) != a.id || !a.executes(svc.ID, 0) {
			t.Errorf("a was not asked again: %+v, %s", in, r.said(svc.ID, 0))
		}
	})
}
