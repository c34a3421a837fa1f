package mongostore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type claims struct{ s *Store }

// take inserts a claim; that makes it one. One that is there is replaced when
// its quarantine is over or mine says so; before is what it was, nil if new.
func (s *Store) take(ctx context.Context, want *claimRecord, mine func(was *claimRecord) bool) (before *claimRecord, err error) {
	if !addr(want.ID).IsValid() || want.Holder == "" {
		return nil, fmt.Errorf("claim of %q by %q needs an address and a holder: %w", want.ID, want.Holder, errs.Invalid)
	}
	err = retry(ctx, func(ctx context.Context) (bool, error) {
		before = nil
		err := s.claims.insert(ctx, want)
		if !errors.Is(err, errs.Conflict) {
			return err == nil, err
		}
		was, err := s.claims.get(ctx, want.ID)
		if errors.Is(err, errs.NotFound) {
			return false, nil // given back meanwhile
		}
		if err != nil {
			return false, err
		}
		until := moment(was.Until)
		switch {
		case mine(was) || was.Until != "" && !s.now().Before(until):
		case was.Until == "":
			return false, fmt.Errorf("address %s is taken by %s: %w", want.ID, was.Holder, errs.Conflict)
		default:
			return false, fmt.Errorf("address %s was used by %s and is free from %s on: %w", want.ID, was.Holder, until.UTC().Format(time.RFC3339), errs.Conflict)
		}
		before = was
		want.Head = was.Head
		return s.claims.swap(ctx, want)
	})
	return before, err
}

// quarantine keeps a claim from others until then, if it is the one meant.
func (s *Store) quarantine(ctx context.Context, address string, until time.Time, meant func(*claimRecord) bool) error {
	if address == "" {
		return nil
	}
	_, err := s.claims.update(ctx, address, func(r *claimRecord) error {
		if !meant(r) {
			return errs.NotFound
		}
		r.Until = stamp(until)
		return nil
	})
	if errors.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

func (c claims) List(ctx context.Context) ([]store.Claim, error) {
	list, err := c.s.claims.find(ctx, nil)
	var out []store.Claim
	for _, r := range list {
		out = append(out, r.model())
	}
	slices.SortFunc(out, func(a, b store.Claim) int { return a.Address.Compare(b.Address) })
	return out, err
}

// Claim may be made again by the same holder, also out of quarantine.
func (c claims) Claim(ctx context.Context, in store.Claim) error {
	want := &claimRecord{Head: Head{ID: text(in.Address)}, Holder: in.Holder, Until: stamp(in.Until)}
	_, err := c.s.take(ctx, want, func(was *claimRecord) bool {
		want.Service, want.Slot = was.Service, was.Slot
		return was.Holder == in.Holder
	})
	return err
}

func (c claims) Quarantine(ctx context.Context, a netip.Addr, until time.Time) error {
	_, err := c.s.claims.update(ctx, text(a), func(r *claimRecord) error {
		r.Until = stamp(until)
		return nil
	})
	return err
}

// Release of an address that nobody holds is no error.
func (c claims) Release(ctx context.Context, a netip.Addr) error {
	return c.s.claims.erase(ctx, text(a), nil)
}
