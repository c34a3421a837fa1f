package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type claims struct{ s *Store }

func getClaim(tx *txn, a netip.Addr) (store.Claim, error) {
	r, err := load[claimRecord](tx.Bucket(bucketClaims), a.AsSlice())
	if err != nil {
		return store.Claim{}, fmt.Errorf("claim of %s: %w", a, err)
	}
	return store.Claim{Address: a, Holder: r.Holder, Until: r.Until}, nil
}

func putClaim(tx *txn, c store.Claim) error {
	return save(tx.Bucket(bucketClaims), c.Address.AsSlice(), claimRecord{current(), c.Holder, c.Until})
}

// claim inserts. The same holder may claim again, also out of quarantine;
// anybody else when there is no record or its quarantine is over.
func claim(tx *txn, c store.Claim, now time.Time) error {
	if !c.Address.IsValid() || c.Holder == "" {
		return fmt.Errorf("claim of %q by %q needs an address and a holder: %w", c.Address, c.Holder, errs.Invalid)
	}
	was, err := getClaim(tx, c.Address)
	switch {
	case errors.Is(err, errs.NotFound):
	case err != nil:
		return err
	case was.Holder == c.Holder || over(was, now):
	case was.Until.IsZero():
		return fmt.Errorf("address %s is taken by %s: %w", c.Address, was.Holder, errs.Conflict)
	default:
		return fmt.Errorf("address %s was used by %s and is free from %s on: %w",
			c.Address, was.Holder, was.Until.UTC().Format(time.RFC3339), errs.Conflict)
	}
	return putClaim(tx, c)
}

func over(c store.Claim, now time.Time) bool { return !c.Until.IsZero() && !now.Before(c.Until) }

// quarantineFrom keeps a holder's address from others; of anybody else's
// claim it keeps off.
func quarantineFrom(tx *txn, a netip.Addr, holder string, until time.Time) error {
	was, err := getClaim(tx, a)
	if errors.Is(err, errs.NotFound) || err == nil && was.Holder != holder {
		return nil
	}
	if err != nil {
		return err
	}
	was.Until = until
	return putClaim(tx, was)
}

func releaseFrom(tx *txn, a netip.Addr, holder string) error {
	was, err := getClaim(tx, a)
	if errors.Is(err, errs.NotFound) || err == nil && was.Holder != holder {
		return nil
	}
	if err != nil {
		return err
	}
	return remove(tx.Bucket(bucketClaims), a.AsSlice())
}

func (c claims) List(ctx context.Context) (out []store.Claim, err error) {
	err = c.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketClaims), nil, func(key []byte, r claimRecord) error {
			a, ok := netip.AddrFromSlice(bytes.Clone(key))
			if !ok {
				return fmt.Errorf("claim with key %x: %w", key, errs.Internal)
			}
			out = append(out, store.Claim{Address: a, Holder: r.Holder, Until: r.Until})
			return nil
		})
	})
	return out, err
}

func (c claims) Claim(ctx context.Context, in store.Claim) error {
	return c.s.update(ctx, func(tx *txn) error { return claim(tx, in, c.s.now()) })
}

func (c claims) Quarantine(ctx context.Context, a netip.Addr, until time.Time) error {
	return c.s.update(ctx, func(tx *txn) error {
		was, err := getClaim(tx, a)
		if err != nil {
			return err
		}
		was.Until = until
		return putClaim(tx, was)
	})
}

// Release of an address that nobody holds is no error.
func (c claims) Release(ctx context.Context, a netip.Addr) error {
	return c.s.update(ctx, func(tx *txn) error {
		return remove(tx.Bucket(bucketClaims), a.AsSlice())
	})
}
