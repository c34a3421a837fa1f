package storetest

import (
	"net/netip"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

func instances(t *testing.T, b *bench) {
	_, s := b.seed(t)
	first, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.0"), now)
	ok(t, err)
	same(t, first, store.Instance{
		ID: model.InstanceID{Service: s[0].ID, Number: 0}, Address: addr("10.30.2.0"), Revision: 1, CreatedAt: now,
	})
	second, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.2"), now)
	ok(t, err)
	same(t, second.ID.Number, 1)
	got, err := b.Instances().Get(b.ctx, first.ID)
	ok(t, err)
	same(t, got, first)
	_, err = b.Instances().Get(b.ctx, model.InstanceID{Service: s[0].ID, Number: 99})
	in(t, err, errs.NotFound)
	_, err = b.Instances().Add(b.ctx, "nope", addr("10.30.2.99"), now)
	in(t, err, errs.NotFound)
	same(t, b.claimOf(t, addr("10.30.2.99")), store.Claim{})
	list, err := b.Instances().List(b.ctx, s[1].ID)
	ok(t, err)
	same(t, len(list), 0)
	in(t, b.Instances().Delete(b.ctx, model.InstanceID{Service: s[0].ID, Number: 99}, later), errs.NotFound)

	// A deleted number is not given again.
	ok(t, b.Instances().Delete(b.ctx, model.InstanceID{Service: s[0].ID, Number: 1}, later))
	next, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.50"), now)
	ok(t, err)
	same(t, next.ID.Number, 2)
	list, err = b.Instances().List(b.ctx, "")
	ok(t, err)
	same(t, list, []store.Instance{first, next})
	owner, err := b.Services().Get(b.ctx, s[0].ID)
	ok(t, err)
	same(t, owner.NextNumber, 3)
	same(t, owner.Revision, s[0].Revision) // the spec is the same
}

func instanceAddresses(t *testing.T, b *bench) {
	_, s := b.seed(t)
	in0, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.1"), now)
	ok(t, err)
	same(t, b.claimOf(t, in0.Address), store.Claim{Address: in0.Address, Holder: in0.ID.String()})
	for _, taken := range []netip.Addr{in0.Address, s[1].Address} {
		_, err = b.Instances().Add(b.ctx, s[0].ID, taken, now)
		in(t, err, errs.Conflict)
	}
	owner, err := b.Services().Get(b.ctx, s[0].ID)
	ok(t, err)
	same(t, owner.NextNumber, 1) // a refused slot takes no number

	ok(t, b.Instances().Delete(b.ctx, in0.ID, later))
	same(t, b.claimOf(t, in0.Address), store.Claim{Address: in0.Address, Holder: in0.ID.String(), Until: later})
	_, err = b.Instances().Add(b.ctx, s[0].ID, in0.Address, now)
	in(t, err, errs.Conflict) // in quarantine
	ok(t, b.Claims().Release(b.ctx, in0.Address))
	_, err = b.Instances().Add(b.ctx, s[0].ID, in0.Address, now)
	ok(t, err)
}

func instancesPut(t *testing.T, b *bench) {
	_, s := b.seed(t)
	slot := store.Instance{
		ID: model.InstanceID{Service: s[0].ID, Number: 12}, Address: addr("10.30.2.12"), Cluster: "c1",
		Grant: instance.MakeGrant(3, 4), Service: s[0], CreatedAt: now, Revision: 5,
		Former: map[model.ClusterID]instance.Grant{"c2": instance.MakeGrant(3, 1), "c3": instance.MakeGrant(2, 9)},
	}
	ok(t, b.Instances().Put(b.ctx, slot))
	got, err := b.Instances().Get(b.ctx, slot.ID)
	ok(t, err)
	same(t, got, slot)
	same(t, b.claimOf(t, slot.Address), store.Claim{Address: slot.Address, Holder: slot.ID.String()})
	next, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.13"), now)
	ok(t, err)
	same(t, next.ID.Number, 13) // above what was reported

	ok(t, b.Instances().Put(b.ctx, slot)) // again
	got, err = b.Instances().Get(b.ctx, slot.ID)
	ok(t, err)
	if got.Revision <= slot.Revision {
		t.Errorf("revision %d did not grow from %d", got.Revision, slot.Revision)
	}
	clash := slot
	clash.ID.Number = 20
	in(t, b.Instances().Put(b.ctx, clash), errs.Conflict)
	// Its service may be gone, as in a store that was lost.
	orphan := store.Instance{ID: model.InstanceID{Service: "gone", Number: 2}, Address: addr("10.30.2.20"), CreatedAt: now}
	ok(t, b.Instances().Put(b.ctx, orphan))
}

func instanceUpdates(t *testing.T, b *bench) {
	_, s := b.seed(t)
	slot, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.1"), now)
	ok(t, err)
	set := func(f func(*store.Instance)) (store.Instance, error) {
		return b.Instances().Update(b.ctx, slot.ID, func(v store.Instance) (store.Instance, error) {
			f(&v)
			return v, nil
		})
	}
	got, err := set(func(v *store.Instance) { v.Cluster, v.Grant, v.Service = "c1", instance.MakeGrant(1, 1), s[0] })
	ok(t, err)
	same(t, got.Revision, uint64(2))
	stored, err := b.Instances().Get(b.ctx, slot.ID)
	ok(t, err)
	same(t, stored, got)

	// A value that was read before another write is refused.
	_, err = b.Instances().Update(b.ctx, slot.ID, func(store.Instance) (store.Instance, error) { return slot, nil })
	in(t, err, errs.Conflict)
	_, err = set(func(v *store.Instance) { v.Address = addr("10.30.2.2") })
	in(t, err, errs.Invalid)
	_, err = b.Instances().Update(b.ctx, slot.ID, func(v store.Instance) (store.Instance, error) { return v, errs.Exhausted })
	in(t, err, errs.Exhausted)
	after, err := b.Instances().Get(b.ctx, slot.ID)
	ok(t, err)
	same(t, after, stored)

	got, err = set(func(v *store.Instance) { v.Tombstone = true })
	ok(t, err)
	same(t, got.Revision, uint64(3))
	_, err = set(func(v *store.Instance) { v.Tombstone = false })
	in(t, err, errs.Conflict)
	_, err = b.Instances().Update(b.ctx, model.InstanceID{Service: s[0].ID, Number: 9}, func(v store.Instance) (store.Instance, error) { return v, nil })
	in(t, err, errs.NotFound)
}

func claims(t *testing.T, b *bench) {
	a := addr("10.30.5.1")
	mine, theirs := store.Claim{Address: a, Holder: "mine"}, store.Claim{Address: a, Holder: "theirs"}
	ok(t, b.Claims().Claim(b.ctx, mine))
	ok(t, b.Claims().Claim(b.ctx, mine)) // again
	in(t, b.Claims().Claim(b.ctx, theirs), errs.Conflict)
	ok(t, b.Claims().Quarantine(b.ctx, a, later))
	same(t, b.claimOf(t, a), store.Claim{Address: a, Holder: "mine", Until: later})
	in(t, b.Claims().Claim(b.ctx, theirs), errs.Conflict)
	ok(t, b.Claims().Claim(b.ctx, mine)) // the holder may come back
	same(t, b.claimOf(t, a), mine)
	ok(t, b.Claims().Quarantine(b.ctx, a, time.Now().Add(-time.Second)))
	ok(t, b.Claims().Claim(b.ctx, theirs)) // its time is over
	ok(t, b.Claims().Release(b.ctx, a))
	ok(t, b.Claims().Release(b.ctx, a)) // again
	same(t, b.claimOf(t, a), store.Claim{})
	in(t, b.Claims().Quarantine(b.ctx, a, later), errs.NotFound)
	in(t, b.Claims().Claim(b.ctx, store.Claim{Holder: "x"}), errs.Invalid)
	in(t, b.Claims().Claim(b.ctx, store.Claim{Address: a}), errs.Invalid)
}

func blocks(t *testing.T, b *bench) {
	one := store.Block{Prefix: netip.MustParsePrefix("10.18.0.0/22"), Cluster: "c1"}
	two := store.Block{Prefix: netip.MustParsePrefix("10.18.4.0/22"), Cluster: "c2"}
	ok(t, b.Blocks().Lease(b.ctx, one))
	ok(t, b.Blocks().Lease(b.ctx, one)) // again
	ok(t, b.Blocks().Lease(b.ctx, two))
	in(t, b.Blocks().Lease(b.ctx, store.Block{Prefix: one.Prefix, Cluster: "c2"}), errs.Conflict)
	in(t, b.Blocks().Lease(b.ctx, store.Block{Prefix: netip.MustParsePrefix("10.18.1.0/26"), Cluster: "c1"}), errs.Conflict) // overlaps
	in(t, b.Blocks().Lease(b.ctx, store.Block{Cluster: "c1"}), errs.Invalid)
	list, err := b.Blocks().List(b.ctx)
	ok(t, err)
	same(t, list, []store.Block{one, two})
	ok(t, b.Blocks().Return(b.ctx, one.Prefix))
	ok(t, b.Blocks().Return(b.ctx, one.Prefix)) // again
	ok(t, b.Blocks().Lease(b.ctx, store.Block{Prefix: one.Prefix, Cluster: "c2"}))
}

func removing(t *testing.T, b *bench) {
	a, s := b.seed(t)
	for _, v := range []string{"10.30.2.1", "10.30.2.2"} {
		_, err := b.Instances().Add(b.ctx, s[0].ID, addr(v), now)
		ok(t, err)
	}
	in(t, b.Descriptors().Remove(b.ctx, nil, []model.ServiceID{s[0].ID, "nope"}, later), errs.NotFound)
	in(t, b.Descriptors().Remove(b.ctx, []model.ApplicationID{a.ID, "nope"}, nil, later), errs.NotFound)
	list, err := b.Instances().List(b.ctx, s[0].ID)
	ok(t, err)
	for _, v := range list {
		same(t, v.Tombstone, false) // nothing happened
	}

	ok(t, b.Descriptors().Remove(b.ctx, nil, []model.ServiceID{s[1].ID}, later))
	same(t, b.claimOf(t, s[1].Address), store.Claim{Address: s[1].Address, Holder: s[1].Name.String(), Until: later})
	ok(t, b.Descriptors().Remove(b.ctx, []model.ApplicationID{a.ID}, []model.ServiceID{s[0].ID}, later))
	_, err = b.Applications().Get(b.ctx, a.ID)
	in(t, err, errs.NotFound)
	all, err := b.Services().List(b.ctx, "")
	ok(t, err)
	same(t, len(all), 0)
	// Tombstones and their addresses stay until the cluster has cleaned up.
	list, err = b.Instances().List(b.ctx, s[0].ID)
	ok(t, err)
	same(t, len(list), 2)
	for _, v := range list {
		same(t, v.Tombstone, true)
		same(t, v.Revision, 2)
		same(t, b.claimOf(t, v.Address), store.Claim{Address: v.Address, Holder: v.ID.String()})
	}
}

func comeback(t *testing.T, b *bench) {
	a, s := b.seed(t)
	ok(t, b.Descriptors().Remove(b.ctx, []model.ApplicationID{a.ID}, nil, later))
	other := app(5, "ann", "other")
	in(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{other},
		Services: []model.Service{svc(51, other, "web", "10.30.1.1")}}), errs.Conflict) // in quarantine
	// The same job name may have its address back at once.
	anew := app(6, "ann", "shop")
	back := svc(61, anew, "web", "10.30.1.1")
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{anew}, Services: []model.Service{back}}))
	same(t, b.claimOf(t, s[0].Address), store.Claim{Address: s[0].Address, Holder: back.Name.String()})
}
