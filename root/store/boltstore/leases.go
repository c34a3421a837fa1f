package boltstore

import (
	"context"
	"errors"
	"fmt"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type leases struct{ s *Store }

func getLease(tx *txn, name string) (store.Lease, error) {
	r, err := load[leaseRecord](tx.Bucket(bucketLeases), []byte(name))
	if errors.Is(err, errs.NotFound) {
		return store.Lease{}, nil
	}
	return store.Lease{Holder: r.Holder, Address: r.Address, Term: r.Term, Beat: r.Beat}, err
}

func (l leases) Get(ctx context.Context, name string) (out store.Lease, err error) {
	err = l.s.view(ctx, func(tx *txn) error {
		out, err = getLease(tx, name)
		return err
	})
	return out, err
}

func (l leases) Swap(ctx context.Context, name string, was, next store.Lease) error {
	return l.s.update(ctx, func(tx *txn) error {
		now, err := getLease(tx, name)
		if err != nil {
			return err
		}
		if now != was {
			return fmt.Errorf("lease %q is held by %q, term %d: %w", name, now.Holder, now.Term, errs.Conflict)
		}
		return save(tx.Bucket(bucketLeases), []byte(name), leaseRecord{current(), next.Holder, next.Address, next.Term, next.Beat})
	})
}

// Fence has nothing to do: the file is locked, its only process needs no fence.
func (l leases) Fence(context.Context, uint64) error { return nil }
