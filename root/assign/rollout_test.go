package assign_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// update changes a service and waits until nothing moves.
func (r *rig) update(id model.ServiceID, body string) {
	r.t.Helper()
	if _, _, err := r.ctl.UpdateService(r.t.Context(), admin, id, []byte(body)); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) rollback(id model.ServiceID) {
	r.t.Helper()
	if _, err := r.ctl.Rollback(r.t.Context(), admin, id, 0); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// images is what each slot was given, by number.
func (r *rig) images(id model.ServiceID, n int) string {
	r.t.Helper()
	var out []string
	for i := range n {
		out = append(out, r.instance(id, i).Service.Spec.Image)
	}
	return strings.Join(out, " ")
}

func (r *rig) rollout(id model.ServiceID) model.Rollout {
	r.t.Helper()
	s, err := r.file.Services().Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Rollout
}

func (r *rig) wantImages(id model.ServiceID, want string) {
	r.t.Helper()
	if got := r.images(id, len(strings.Fields(want))); got != want {
		r.t.Fatalf("slots run %s, want %s; rollout %+v", got, want, r.rollout(id))
	}
}

// fail reports that a slot's present attempt could not start.
func (f *fake) fail(id model.ServiceID, number int) {
	f.tell(func(f *fake) *linkv1.Up {
		fact := running(f.held[key(string(id), number)], 1)
		fact.Observed.State, fact.Observed.Reason = linkv1.State_STATE_FAILED, "no such image"
		return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
	})
}

const nginx = "docker.io/library/nginx:latest"

func TestARolloutReplacesOneAfterTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		newFake("a").join(r)
		svc := r.service("one", wants{memory: 100, port: "80:80"})
		r.deploy(svc.ID, 3)
		before := []instance.Grant{}
		addresses := []string{}
		for n := range 3 {
			in := r.instance(svc.ID, n)
			before, addresses = append(before, in.Grant), append(addresses, in.Address.String())
		}
		r.update(svc.ID, `{"code":"v2"}`)
		r.wantImages(svc.ID, "v2 "+nginx+" "+nginx)
		pass(seconds(4)) // it runs, but not for long enough
		r.wantImages(svc.ID, "v2 "+nginx+" "+nginx)
		pass(seconds(2))
		r.wantImages(svc.ID, "v2 v2 "+nginx)
		pass(seconds(6))
		r.wantImages(svc.ID, "v2 v2 v2")
		if o := r.rollout(svc.ID); o.State != model.RolloutRunning || o.From != 1 {
			t.Errorf("the last is not proved yet: %+v", o)
		}
		pass(seconds(6))
		if o := r.rollout(svc.ID); o != (model.Rollout{From: 2}) {
			t.Errorf("at the end: %+v", o)
		}
		for n := range 3 {
			in := r.instance(svc.ID, n)
			if in.Grant <= before[n] || in.Address.String() != addresses[n] || in.Service.History != nil {
				t.Errorf("slot %d: %+v", n, in)
			}
		}
	})
}

func TestMoreAtATimeWhenTheDescriptorSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 3)
		r.update(svc.ID, `{"code":"v2","max_unavailable":2}`)
		r.wantImages(svc.ID, "v2 v2 "+nginx)
	})
}

// The first new instance does not start: nothing else is touched, and a
// rollback replaces that one alone.
func TestARolloutStopsAtAFailureAndGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 3)
		untouched := r.instance(svc.ID, 2).Grant
		a.set(func(f *fake) { f.mute = true })
		r.update(svc.ID, `{"code":"broken"}`)
		a.fail(svc.ID, 0)
		o := r.rollout(svc.ID)
		if o.State != model.RolloutFailed || o.From != 1 || !strings.Contains(o.Message, "instance 0: FAILED: no such image") {
			t.Fatalf("%+v", o)
		}
		pass(seconds(600))
		r.wantImages(svc.ID, "broken "+nginx+" "+nginx)
		a.set(func(f *fake) { f.mute = false })
		r.rollback(svc.ID)
		r.wantImages(svc.ID, nginx+" "+nginx+" "+nginx)
		pass(seconds(10))
		if o := r.rollout(svc.ID); o.State != model.RolloutDone || o.From != 3 {
			t.Errorf("after the rollback: %+v", o)
		}
		if r.instance(svc.ID, 2).Grant != untouched {
			t.Error("an instance that ran the old revision all along was replaced")
		}
	})
}

func TestARolloutStopsWhenNothingRunsInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 2)
		a.set(func(f *fake) { f.mute = true })
		r.update(svc.ID, `{"code":"slow","start_seconds":20}`)
		pass(seconds(18))
		if o := r.rollout(svc.ID); o.State != model.RolloutRunning {
			t.Fatalf("too early: %+v", o)
		}
		pass(seconds(4))
		if o := r.rollout(svc.ID); o.State != model.RolloutFailed || !strings.Contains(o.Message, "does not run after 20s") {
			t.Errorf("%+v", o)
		}
		r.wantImages(svc.ID, "slow "+nginx)
		r.update(svc.ID, `{}`) // once more
		pass(seconds(18))
		if o := r.rollout(svc.ID); o.State != model.RolloutRunning {
			t.Fatalf("the second time: %+v", o)
		}
		a.leave().set(func(f *fake) { f.mute = false }).join(r)
		pass(seconds(15))
		r.wantImages(svc.ID, "slow slow")
		if o := r.rollout(svc.ID); o.State != model.RolloutDone {
			t.Errorf("when it runs after all: %+v", o)
		}
	})
}

// One node that is full, and a host port: the slot's own room is enough.
func TestAFullClusterReplacesInPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").set(func(f *fake) { f.nodes = 1 }).join(r)
		svc := r.service("one", wants{vcpus: 4, memory: 4000, port: "80:80"})
		r.deploy(svc.ID, 1)
		pass(seconds(10)) // its aggregate says that nothing is free
		first := r.instance(svc.ID, 0)
		r.update(svc.ID, `{"code":"v2","port":"80:81"}`)
		pass(seconds(10))
		if in := r.instance(svc.ID, 0); in.Cluster != first.Cluster || in.Grant <= first.Grant || !a.executes(svc.ID, 0) {
			t.Fatalf("%+v", in)
		}
		if o := r.rollout(svc.ID); o.State != model.RolloutDone {
			t.Errorf("%+v", o)
		}
		r.update(svc.ID, `{"memory":4001,"start_seconds":20}`) // what it asks for on top is not there
		pass(seconds(25))
		o := r.rollout(svc.ID)
		if o.State != model.RolloutFailed || !strings.Contains(o.Message, "cannot be replaced") || !strings.Contains(o.Message, "memory") || !a.executes(svc.ID, 0) {
			t.Errorf("%+v", o)
		}
		r.update(svc.ID, `{"memory":3999}`)
		pass(seconds(10))
		if o := r.rollout(svc.ID); o.State != model.RolloutDone {
			t.Errorf("mended: %+v", o)
		}
	})
}

// A root that is restarted goes on where it was.
func TestARolloutOutlivesTheRoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 3)
		r.update(svc.ID, `{"code":"v2"}`)
		r.wantImages(svc.ID, "v2 "+nginx+" "+nginx)
		a.leave()
		r = r.restart()
		pass(seconds(3))
		r.wantImages(svc.ID, "v2 "+nginx+" "+nginx) // its cluster is away
		a.join(r)
		pass(seconds(20))
		r.wantImages(svc.ID, "v2 v2 v2")
		if o := r.rollout(svc.ID); o.State != model.RolloutDone {
			t.Errorf("%+v", o)
		}
	})
}

// An instance in a cluster that cannot be told is not moved: it runs there.
func TestASilentClustersInstancesAreNotMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 2)
		newFake("b").join(r)
		a.leave()
		r.update(svc.ID, `{"code":"v2","start_seconds":60}`)
		pass(seconds(50))
		r.wantImages(svc.ID, nginx+" "+nginx)
		a.join(r)
		pass(seconds(20))
		r.wantImages(svc.ID, "v2 v2")
		if o := r.rollout(svc.ID); o.State != model.RolloutDone || r.instance(svc.ID, 0).Cluster != model.ClusterID(a.id) {
			t.Errorf("%+v", o)
		}
	})
}

// A new constraint moves the slot; one that only its reader cares about moves
// nothing.
func TestWhatARolloutMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a, b := newFake("a").join(r), newFake("b").set(func(f *fake) { f.nodes = 0 }).join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1)
		b.set(func(f *fake) { f.nodes = 1 })
		pass(seconds(10))
		grant := r.instance(svc.ID, 0).Grant
		r.update(svc.ID, `{"target_node":"x","max_unavailable":3}`)
		if in := r.instance(svc.ID, 0); in.Grant != grant || r.rollout(svc.ID).State != model.RolloutDone {
			t.Fatalf("%+v %+v", in, r.rollout(svc.ID))
		}
		r.update(svc.ID, `{"constraints":[{"type":"direct","cluster":"b"}]}`)
		pass(seconds(10))
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id || !b.executes(svc.ID, 0) || a.executes(svc.ID, 0) {
			t.Errorf("%+v", in)
		}
		if o := r.rollout(svc.ID); o.State != model.RolloutDone {
			t.Errorf("%+v", o)
		}
	})
}

// A slot that its cluster refuses later goes elsewhere as it is: a failed
// revision does not spread.
func TestOnlyARolloutChangesARevision(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 2)
		a.set(func(f *fake) { f.mute = true })
		r.update(svc.ID, `{"code":"broken"}`)
		a.fail(svc.ID, 0)
		b := newFake("b").join(r)
		a.tell(func(f *fake) *linkv1.Up {
			v := f.held[key(string(svc.ID), 1)]
			fact := &linkv1.InstanceFacts{ServiceId: v.ServiceId, Number: v.Number, Grant: v.Grant,
				Placement: &linkv1.Placement{Try: 2, Verdict: linkv1.Verdict_VERDICT_REFUSED}}
			return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
		})
		if in := r.instance(svc.ID, 1); string(in.Cluster) != b.id || in.Service.Spec.Image != nginx {
			t.Errorf("%+v", in)
		}
	})
}

func TestScaleInTheEndIsWhatWasAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("one", wants{memory: 100})
		done := make(chan error)
		for range 4 {
			go func() {
				_, err := r.ctl.Scale(t.Context(), admin, svc.ID, 5)
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if a.count() != 5 {
			t.Fatalf("%d run", a.count())
		}
		out, err := r.ctl.Scale(t.Context(), admin, svc.ID, 2)
		if err != nil || !slices.Equal(out.Removed, []int{2, 3, 4}) {
			t.Fatalf("%+v %v", out, err)
		}
		pass(seconds(1))
		if got := fmt.Sprint(a.count(), a.executes(svc.ID, 0), a.executes(svc.ID, 1)); got != "2 true true" {
			t.Errorf("after scaling down: %s", got)
		}
	})
}
