package boltstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type instances struct{ s *Store }

// instanceKey sorts the instances of a service by number.
func instanceKey(id model.InstanceID) []byte {
	return fmt.Appendf(nil, "%s/%010d", id.Service, id.Number)
}

func getInstance(tx *txn, id model.InstanceID) (store.Instance, error) {
	r, err := load[instanceRecord](tx.Bucket(bucketInstances), instanceKey(id))
	if err != nil {
		return store.Instance{}, fmt.Errorf("instance %s: %w", id, err)
	}
	return r.model(), nil
}

func putInstance(tx *txn, in store.Instance) error {
	return save(tx.Bucket(bucketInstances), instanceKey(in.ID), fromInstance(in))
}

// listInstances reads those of one service, or all for "".
func listInstances(tx *txn, svc model.ServiceID) (out []store.Instance, err error) {
	if svc == "" {
		return all(tx.Bucket(bucketInstances), func(_ []byte, r instanceRecord) (store.Instance, error) { return r.model(), nil })
	}
	err = scan(tx.Bucket(bucketInstances), []byte(svc+"/"), func(_ []byte, r instanceRecord) error {
		out = append(out, r.model())
		return nil
	})
	return out, err
}

func (i instances) Get(ctx context.Context, id model.InstanceID) (out store.Instance, err error) {
	err = i.s.view(ctx, func(tx *txn) error {
		out, err = getInstance(tx, id)
		return err
	})
	return out, err
}

func (i instances) List(ctx context.Context, svc model.ServiceID) (out []store.Instance, err error) {
	err = i.s.view(ctx, func(tx *txn) error {
		out, err = listInstances(tx, svc)
		return err
	})
	return out, err
}

func (i instances) Add(ctx context.Context, svc model.ServiceID, address netip.Addr, at time.Time) (out store.Instance, err error) {
	err = i.s.update(ctx, func(tx *txn) error {
		services, key := tx.Bucket(bucketServices), []byte(svc)
		owner, err := load[serviceRecord](services, key)
		if err != nil {
			return fmt.Errorf("service %q: %w", svc, err)
		}
		id := model.InstanceID{Service: svc, Number: owner.NextNumber}
		owner.NextNumber++
		if err := saveRead(services, key, owner); err != nil {
			return err
		}
		if err := claim(tx, store.Claim{Address: address, Holder: id.String()}, i.s.now()); err != nil {
			return err
		}
		out = store.Instance{ID: id, Address: address, Revision: 1, CreatedAt: at}
		return putInstance(tx, out)
	})
	return out, err
}

func (i instances) Put(ctx context.Context, in store.Instance) error {
	return i.s.update(ctx, func(tx *txn) error {
		in := in // this may run again
		was, err := getInstance(tx, in.ID)
		if err != nil && !errors.Is(err, errs.NotFound) {
			return err
		}
		in.Revision = max(in.Revision, was.Revision+1)
		if in.Address.IsValid() {
			if err := claim(tx, store.Claim{Address: in.Address, Holder: in.ID.String()}, i.s.now()); err != nil {
				return err
			}
		}
		if owner, err := getService(tx, in.ID.Service); err == nil && owner.NextNumber <= in.ID.Number {
			owner.NextNumber = in.ID.Number + 1
			if err := putService(tx, owner); err != nil {
				return err
			}
		}
		return putInstance(tx, in)
	})
}

// Update checks the revision that f returns: it must be the stored one.
func (i instances) Update(ctx context.Context, id model.InstanceID, f func(store.Instance) (store.Instance, error)) (out store.Instance, err error) {
	err = i.s.update(ctx, func(tx *txn) error {
		was, err := getInstance(tx, id)
		if err != nil {
			return err
		}
		out, err = f(was)
		if err != nil {
			return err
		}
		if out.Revision != was.Revision {
			return fmt.Errorf("instance %s is at revision %d, not %d: %w", id, was.Revision, out.Revision, errs.Conflict)
		}
		if out.ID != was.ID || out.Address != was.Address {
			return fmt.Errorf("instance %s: id and address cannot change: %w", id, errs.Invalid)
		}
		if was.Tombstone && !out.Tombstone {
			return fmt.Errorf("instance %s is deleted, that is final: %w", id, errs.Conflict)
		}
		out.Revision++
		return putInstance(tx, out)
	})
	return out, err
}

func (i instances) Delete(ctx context.Context, id model.InstanceID, until time.Time) error {
	return i.s.update(ctx, func(tx *txn) error {
		was, err := getInstance(tx, id)
		if err != nil {
			return err
		}
		if was.Address.IsValid() {
			if err := quarantineFrom(tx, was.Address, id.String(), until); err != nil {
				return err
			}
		}
		return remove(tx.Bucket(bucketInstances), instanceKey(id))
	})
}
