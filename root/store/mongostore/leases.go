package mongostore

import (
	"context"
	"errors"
	"fmt"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type leases struct{ s *Store }

func (l leases) Get(ctx context.Context, name string) (store.Lease, error) {
	r, err := l.s.leases.get(ctx, name)
	if errors.Is(err, errs.NotFound) {
		return store.Lease{}, nil
	}
	if err != nil {
		return store.Lease{}, err
	}
	return r.model(), nil
}

// Swap is one try: who loses looks again.
func (l leases) Swap(ctx context.Context, name string, was, next store.Lease) error {
	lost := fmt.Errorf("lease %q is not that of %q, term %d, any more: %w", name, was.Holder, was.Term, errs.Conflict)
	r, err := l.s.leases.get(ctx, name)
	switch {
	case errors.Is(err, errs.NotFound) && was == (store.Lease{}):
		return l.s.leases.insert(ctx, &leaseRecord{Head{ID: name}, next.Holder, next.Address, next.Term, next.Beat})
	case errors.Is(err, errs.NotFound) || err == nil && r.model() != was:
		return lost
	case err != nil:
		return err
	}
	r.Holder, r.Address, r.Number, r.Beat = next.Holder, next.Address, next.Term, next.Beat
	done, err := l.s.leases.swap(ctx, r)
	if err == nil && !done {
		return lost
	}
	return err
}

// Fence begins a term: it ends the grants of earlier ones, and finishes what
// their holders had decided, so that this one reads a store at rest.
func (l leases) Fence(ctx context.Context, term uint64) error {
	l.s.term.Store(int64(term))
	if _, err := l.s.meta.update(ctx, metaID, func(*metaRecord) error { return nil }); err != nil {
		return fmt.Errorf("begin term %d: %w", term, err)
	}
	return l.s.finish(ctx)
}
