package assign_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root/assign"
	"oakestra/root/clusters"
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

// interrupted is a desk after whose welcome something happens, once.
type interrupted struct {
	*assign.Desk
	once sync.Once
	then func(model.ClusterID)
}

func (d *interrupted) Welcome(ctx context.Context, h clusters.Hello) (clusters.Welcome, error) {
	w, err := d.Desk.Welcome(ctx, h)
	d.once.Do(func() { d.then(w.ID) })
	return w, err
}

// TestAClusterRemovedAfterItsWelcome: it was welcomed and is not yet connected
// when somebody removes it, so nothing stands in the way. It must not stay
// connected and unknown.
func TestAClusterRemovedAfterItsWelcome(t *testing.T) {
	for _, claims := range []bool{false, true} {
		t.Run(fmt.Sprint("claims ", claims), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, t.TempDir())
				a := newFake("a").join(r)
				first := a.id
				a.leave()
				r.server.Stop()
				r.wire = bufconn.Listen(1 << 20)
				r.server = clusters.NewServer(r.book, &interrupted{Desk: r.desk, then: func(id model.ClusterID) {
					if _, err := r.desk.RemoveCluster(t.Context(), id, true); err != nil {
						t.Errorf("remove: %v", err)
					}
				}}, testkit.Logger(t)).GRPC()
				r.done.Go(func() { _ = r.server.Serve(r.wire) })
				if claims { // an order of another root, so that the welcome asks for everything
					a.held["x"] = &linkv1.Assignment{ServiceId: "cccccccccccccccccccccccc", Grant: uint64(instance.MakeGrant(1, 1)), Spec: &linkv1.ServiceSpec{ServiceName: "x"}}
				}
				a.join(r)
				select {
				case err := <-a.ended:
					if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "removed") {
						t.Errorf("the stream ended with %v", err)
					}
				default:
					t.Error("it stays connected")
				}
				if list := r.book.Clusters(); len(list) != 0 {
					t.Errorf("listed: %+v", list)
				}
				delete(a.held, "x")
				a.join(r)
				if list := r.book.Clusters(); len(list) != 1 || !list[0].Active || list[0].Name != "a" {
					t.Errorf("after another hello: %+v (was %s)", list, first)
				}
				svc := r.service("app", wants{vcpus: 1, memory: 100})
				r.deploy(svc.ID, 1)
				pass(seconds(15))
				if in := r.instance(svc.ID, 0); string(in.Cluster) != a.id || !a.executes(svc.ID, 0) {
					t.Errorf("it gets no work: %+v", in)
				}
			})
		})
	}
}
