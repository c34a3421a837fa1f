package assign_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// counting counts how often the slots of a service are listed, and writes of
// single ones.
type counting struct {
	store.Store
	lists, updates *atomic.Int64
}

func (c counting) Instances() store.Instances { return countingSlots{c.Store.Instances(), c} }

type countingSlots struct {
	store.Instances
	c counting
}

func (s countingSlots) List(ctx context.Context, svc model.ServiceID) ([]store.Instance, error) {
	s.c.lists.Add(1)
	return s.Instances.List(ctx, svc)
}

func (s countingSlots) Update(ctx context.Context, id model.InstanceID, f func(store.Instance) (store.Instance, error)) (store.Instance, error) {
	s.c.updates.Add(1)
	return s.Instances.Update(ctx, id, f)
}

// What an instance costs must not grow with those there are, nor must one that
// waits be written again.
func TestInstancesThatAreAddedAndEndedAreReadOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := counting{lists: &atomic.Int64{}, updates: &atomic.Int64{}}
		r := start(t, t.TempDir(), func(s store.Store) store.Store { c.Store = s; return c })
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 1) // the desk may not have heard of the service before
		c.lists.Store(0)
		r.deploy(svc.ID, 40)
		pass(2 * seconds(10)) // all were looked at again, twice
		if n, w := c.lists.Load(), c.updates.Load(); n != 0 || w != 0 {
			t.Errorf("%d lists of all slots and %d writes for 40 that wait", n, w)
		}
		r.undeploy(svc.ID, 7)
		if n := c.lists.Load(); n != 0 || !r.gone(svc.ID, 7) {
			t.Errorf("%d lists to end one; gone: %v", n, r.gone(svc.ID, 7))
		}
		if _, known := r.desk.Resolve(r.claimed(t, svc.ID, 8).String()); !known {
			t.Error("the address of one that waits is unknown")
		}
		a := newFake("a").set(func(f *fake) { f.nodes = 2 }).join(r)
		if a.count() == 0 {
			t.Error("nobody was placed when a cluster came")
		}
	})
}

// claimed is the address of a slot.
func (r *rig) claimed(t *testing.T, id model.ServiceID, number int) netip.Addr {
	t.Helper()
	return r.instance(id, number).Address
}

// A slot is looked at again when its time has come, and whoever ends while it
// waits is not.
func TestWaitingInstancesAreLookedAtAgainInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		newFake("empty").set(func(f *fake) { f.nodes = 0 }).join(r)
		r.deploy(svc.ID, 3)
		r.undeploy(svc.ID, 1)
		if !r.gone(svc.ID, 1) {
			t.Error("a waiting instance stays after its end")
		}
		pass(seconds(25))
		for _, n := range []int{0, 2} {
			if word, _ := r.desk.Waits(model.InstanceID{Service: svc.ID, Number: n}); word != instance.WordNoActiveCluster {
				t.Errorf("instance %d: %q", n, word)
			}
		}
		if word, _ := r.desk.Waits(model.InstanceID{Service: svc.ID, Number: 1}); word != "" {
			t.Errorf("the ended one still waits: %q", word)
		}
		a := newFake("a").join(r)
		if a.count() != 2 {
			t.Errorf("%d run", a.count())
		}
	})
}
