package mongostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type instances struct{ s *Store }

// slotKey sorts the instances of a service by number.
func slotKey(id model.InstanceID) string { return fmt.Sprintf("%s/%010d", id.Service, id.Number) }

func (i instances) Get(ctx context.Context, id model.InstanceID) (store.Instance, error) {
	r, err := i.s.instances.get(ctx, slotKey(id))
	if err != nil {
		return store.Instance{}, err
	}
	return r.model(), nil
}

func (i instances) List(ctx context.Context, svc model.ServiceID) ([]store.Instance, error) {
	var filter bson.D
	if svc != "" {
		filter = bson.D{{Key: "service", Value: string(svc)}}
	}
	list, err := i.s.instances.find(ctx, filter)
	var out []store.Instance
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

// Add claims the address, takes the number, stores the slot, in this order.
// Whoever dies in between leaves a claim of a slot that is not there, which
// the sweeper deletes, and at worst a number that nobody gets.
func (i instances) Add(ctx context.Context, svc model.ServiceID, address netip.Addr, at time.Time) (store.Instance, error) {
	claim := &claimRecord{Head: Head{ID: text(address)}, Service: string(svc), By: rand.Text()}
	id, claimed, err := i.number(ctx, svc, claim)
	if err != nil {
		if claimed {
			i.s.giveBack(ctx, claim)
		}
		return store.Instance{}, err
	}
	out := store.Instance{ID: id, Address: address, Revision: 1, CreatedAt: at}
	err = i.s.instances.insert(ctx, fromInstance(out))
	switch {
	case errors.Is(err, errs.Conflict):
		// Remove has put a tombstone there, which holds the address.
		return store.Instance{}, fmt.Errorf("service %q was removed meanwhile: %w", svc, errs.NotFound)
	case err != nil && i.s.confirmed(ctx, func(ctx context.Context) error { _, err := i.Get(ctx, id); return err }):
	case err != nil:
		return store.Instance{}, fmt.Errorf("it is not known whether instance %s is stored: %w", id, err)
	}
	return out, nil
}

// number claims the address for the next number of a service and takes that.
func (i instances) number(ctx context.Context, svc model.ServiceID, claim *claimRecord) (id model.InstanceID, claimed bool, err error) {
	nobody := func(*claimRecord) bool { return false }
	err = retry(ctx, func(ctx context.Context) (bool, error) {
		owner, err := i.s.service(ctx, string(svc))
		if err != nil {
			return false, err
		}
		if owner.Leaving {
			return false, fmt.Errorf("service %q is being removed: %w", svc, errs.NotFound)
		}
		id = model.InstanceID{Service: svc, Number: owner.NextNumber}
		claim.Holder, claim.Slot = id.String(), slotKey(id)
		if !claimed {
			claimed = true // or may be, when this fails
			if _, err := i.s.take(ctx, claim, nobody); err != nil {
				claimed = !errors.Is(err, errs.Conflict)
				return false, err
			}
		} else if done, err := i.s.claims.swap(ctx, claim); err != nil || !done {
			return false, err
		}
		owner.NextNumber++
		return i.s.services.swap(ctx, owner)
	})
	return id, claimed, err
}

// giveBack deletes a claim that led to nothing; the sweeper would, too.
func (s *Store) giveBack(ctx context.Context, claim *claimRecord) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	_ = s.claims.erase(ctx, claim.ID, func(r *claimRecord) bool { return r.By == claim.By })
}

// confirmed looks whether a write that failed has happened after all.
func (s *Store) confirmed(ctx context.Context, there func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	return there(ctx) == nil
}

// Put first raises the next number and claims the address; both do no harm by
// themselves.
func (i instances) Put(ctx context.Context, in store.Instance) error {
	_, err := i.s.services.update(ctx, string(in.ID.Service), func(r *serviceRecord) error {
		if r.NextNumber > in.ID.Number {
			return errs.NotFound // nothing to do
		}
		r.NextNumber = in.ID.Number + 1
		return nil
	})
	if err != nil && !errors.Is(err, errs.NotFound) {
		return err
	}
	if in.Address.IsValid() {
		claim := &claimRecord{Head: Head{ID: text(in.Address)}, Holder: in.ID.String(), Service: string(in.ID.Service), Slot: slotKey(in.ID)}
		if _, err := i.s.take(ctx, claim, func(was *claimRecord) bool { return was.Holder == claim.Holder }); err != nil {
			return err
		}
	}
	return i.s.instances.put(ctx, slotKey(in.ID), func(was *instanceRecord) (*instanceRecord, error) {
		in := in // this may run again
		last := uint64(0)
		if was != nil {
			last = was.Revision
		}
		in.Revision = max(in.Revision, last+1)
		return fromInstance(in), nil
	})
}

// Update checks the revision that f returns: it must be the stored one.
func (i instances) Update(ctx context.Context, id model.InstanceID, f func(store.Instance) (store.Instance, error)) (out store.Instance, err error) {
	_, err = i.s.instances.update(ctx, slotKey(id), func(r *instanceRecord) error {
		was := r.model()
		if out, err = f(was); err != nil {
			return err
		}
		if out.Revision != r.Revision {
			return fmt.Errorf("instance %s is at revision %d, not %d: %w", id, r.Revision, out.Revision, errs.Conflict)
		}
		if out.ID != was.ID || out.Address != was.Address {
			return fmt.Errorf("instance %s: id and address cannot change: %w", id, errs.Invalid)
		}
		if r.Tombstone && !out.Tombstone {
			return fmt.Errorf("instance %s is deleted, that is final: %w", id, errs.Conflict)
		}
		out.Revision++
		r.set(out)
		return nil
	})
	return out, err
}

// Delete quarantines first, so that an address is never free too early.
func (i instances) Delete(ctx context.Context, id model.InstanceID, until time.Time) error {
	r, err := i.s.instances.get(ctx, slotKey(id))
	if err != nil {
		return err
	}
	if err := i.s.quarantine(ctx, r.Address, until, func(c *claimRecord) bool { return c.Holder == id.String() }); err != nil {
		return err
	}
	return i.s.instances.erase(ctx, r.ID, nil)
}
