package assign_test

import (
	"errors"
	"strings"
	"testing"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func TestAClusterIsRemovedOnlyWhenAwayAndEmptyOrForced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("app", wants{vcpus: 1, memory: 100})
		r.deploy(svc.ID, 2)
		r.undeploy(svc.ID, 1)
		remove := func(force bool) ([]model.InstanceID, error) {
			list, err := r.desk.RemoveCluster(t.Context(), model.ClusterID(a.id), force)
			pass(seconds(1))
			return list, err
		}
		if _, err := remove(true); !errors.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "connected") {
			t.Fatalf("while connected: %v", err)
		}
		a.leave()
		if _, err := remove(false); !errors.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "app.test.web.test/0") {
			t.Fatalf("with an instance: %v", err)
		}
		before, _ := r.st.Blocks().List(t.Context())
		if list, err := remove(true); err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		blocks, _ := r.st.Blocks().List(t.Context())
		if _, err := r.st.Clusters().Get(t.Context(), model.ClusterID(a.id)); !errors.Is(err, errs.NotFound) || len(blocks) != 0 {
			t.Errorf("%v; blocks %v, before %v", err, blocks, before)
		}
		if len(r.mem.Record().Clusters) != 0 {
			t.Errorf("the witness still awaits it: %+v", r.mem.Record())
		}
		if _, err := remove(true); !errors.Is(err, errs.NotFound) {
			t.Errorf("twice: %v", err)
		}
		// The instance finds another cluster; the removed one comes back as a
		// new one and is told to stop what runs elsewhere now.
		b := newFake("b").join(r)
		pass(seconds(15))
		if in := r.instance(svc.ID, 0); string(in.Cluster) != b.id || !b.executes(svc.ID, 0) {
			t.Fatalf("%+v", in)
		}
		a.join(r)
		pass(seconds(30))
		if a.executes(svc.ID, 0) || !b.executes(svc.ID, 0) {
			t.Errorf("a runs it: %v, b: %v", a.executes(svc.ID, 0), b.executes(svc.ID, 0))
		}
	})
}

func TestARemovedClusterThatReturnsFirstIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("app", wants{vcpus: 1, memory: 100})
		r.deploy(svc.ID, 1)
		grant := r.instance(svc.ID, 0).Grant
		a.leave()
		if _, err := r.desk.RemoveCluster(t.Context(), model.ClusterID(a.id), true); err != nil {
			t.Fatal(err)
		}
		pass(seconds(15))
		a.join(r)
		pass(seconds(15))
		if in := r.instance(svc.ID, 0); in.Grant < grant || string(in.Cluster) != a.id || !a.executes(svc.ID, 0) {
			t.Errorf("%+v", in)
		}
	})
}

// What a removed cluster had to stop is over.
func TestRemovalEndsTombstones(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		svc := r.service("app", wants{vcpus: 1, memory: 100})
		r.deploy(svc.ID, 1)
		a.leave()
		r.undeploy(svc.ID, 0)
		if _, err := r.desk.RemoveCluster(t.Context(), model.ClusterID(a.id), false); err != nil {
			t.Fatal(err)
		}
		pass(seconds(1))
		if !r.gone(svc.ID, 0) {
			t.Errorf("%+v", r.instance(svc.ID, 0))
		}
	})
}
