package assign_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/clusters"
	"oakestra/root/store"
)

// slow is a store whose writes take a while; they may be made side by side.
type slow struct{ store.Store }

const write = 5 * time.Millisecond

func (s slow) Instances() store.Instances     { return slowSlots{s.Store.Instances()} }
func (s slow) Descriptors() store.Descriptors { return slowDescriptors{s.Store.Descriptors()} }

type slowSlots struct{ store.Instances }

func (s slowSlots) Put(ctx context.Context, in store.Instance) error {
	time.Sleep(write)
	return s.Instances.Put(ctx, in)
}

type slowDescriptors struct{ store.Descriptors }

func (s slowDescriptors) Commit(ctx context.Context, d store.Descriptor) error {
	time.Sleep(write)
	return s.Descriptors.Commit(ctx, d)
}

// TestMuchIsAdoptedSideBySide: while the root takes in what a cluster holds it
// answers nobody, and a cluster gives up a root that is silent for 15 s.
func TestMuchIsAdoptedSideBySide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir(), func(s store.Store) store.Store { return slow{s} })
		a := newFake("a").join(r)
		c := clusters.Claims{Applications: map[model.ApplicationID]model.Application{}}
		const apps, services, slots = 20, 4, 25 // 2 000 slots
		for i := range apps {
			app := model.Application{ID: model.ApplicationID(fmt.Sprintf("%024x", i+1)), Name: fmt.Sprint("a", i), Namespace: "n", Owner: "Admin"}
			c.Applications[app.ID] = app
			for j := range services {
				svc := model.Service{
					ID: model.ServiceID(fmt.Sprintf("%024x", 1000+i*services+j)), Application: app.ID, Owner: "Admin", Revision: 1, Spec: model.ServiceSpec{Image: "x", Runtime: "container"},
					Name: model.ServiceName{App: app.Name, AppNamespace: "n", Service: fmt.Sprint("s", j), ServiceNamespace: "n"},
				}
				for n := range slots {
					c.Orders = append(c.Orders, store.Instance{
						ID: model.InstanceID{Service: svc.ID, Number: n}, Cluster: model.ClusterID(a.id), Grant: instance.MakeGrant(1, uint32(len(c.Orders)+1)), Revision: 1, Service: svc,
					})
				}
			}
		}
		// Of two claims of a slot the higher grant wins, whatever comes first.
		twice := c.Orders[7]
		twice.Grant = instance.MakeGrant(1, 1_000_000)
		c.Orders = append([]store.Instance{twice}, c.Orders...)
		began := time.Now()
		if err := r.desk.Adopt(t.Context(), model.ClusterID(a.id), c); err != nil {
			t.Fatal(err)
		}
		if took, each := time.Since(began), apps*services*(slots+1)*write; took > each/10 {
			t.Errorf("it took %s; one after the other its writes take %s", took, each)
		}
		list, err := r.st.Instances().List(t.Context(), "")
		if err != nil || len(list) != apps*services*slots {
			t.Fatalf("%d slots are stored, want %d: %v", len(list), apps*services*slots, err)
		}
		for _, in := range list {
			if svc, known := r.desk.Service(in.ID.Service); !known || svc.NextNumber != slots {
				t.Fatalf("service %s: known %v, %+v", in.ID.Service, known, svc)
			}
			if in.ID == twice.ID && in.Grant != twice.Grant {
				t.Errorf("%s has grant %d, want %d", in.ID, in.Grant, twice.Grant)
			}
		}
	})
}
