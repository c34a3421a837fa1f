package boltstore

import (
	"context"
	"fmt"
	"math"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

// Keys of the meta bucket; every value is 8 bytes, big endian.
var (
	keyFormat      = []byte("format")
	keyIncarnation = []byte("incarnation")
	keyGrants      = []byte("grants") // given out within the incarnation
	keyRecovery    = []byte("recovery")
)

type meta struct{ s *Store }

func (m meta) Incarnation(ctx context.Context) (uint32, error) {
	n, err := m.read(ctx, keyIncarnation)
	return uint32(n), err
}

func (m meta) read(ctx context.Context, key []byte) (n uint64, err error) {
	err = m.s.view(ctx, func(tx *txn) error {
		n, err = number(tx.Bucket(bucketMeta), key)
		return err
	})
	return n, err
}

// SetIncarnation only raises (Conflict otherwise) and begins to count grants
// anew; the present one again is no error and changes nothing.
func (m meta) SetIncarnation(ctx context.Context, n uint32) error {
	return m.s.update(ctx, func(tx *txn) error {
		b := tx.Bucket(bucketMeta)
		was, err := number(b, keyIncarnation)
		if err != nil || was == uint64(n) {
			return err
		}
		if uint64(n) < was {
			return fmt.Errorf("incarnation is %d and cannot fall to %d: %w", was, n, errs.Conflict)
		}
		if err := setNumber(b, keyGrants, 0); err != nil {
			return err
		}
		return setNumber(b, keyIncarnation, uint64(n))
	})
}

// NextGrant is Unavailable before the first incarnation, whose grants could
// repeat those of a lost store.
func (m meta) NextGrant(ctx context.Context) (instance.Grant, error) { return m.NextGrants(ctx, 1) }

func (m meta) NextGrants(ctx context.Context, count int) (g instance.Grant, err error) {
	err = m.s.update(ctx, func(tx *txn) error {
		b := tx.Bucket(bucketMeta)
		incarnation, err := number(b, keyIncarnation)
		if err != nil {
			return err
		}
		if incarnation == 0 {
			return fmt.Errorf("the store has no incarnation yet: %w", errs.Unavailable)
		}
		n, err := number(b, keyGrants)
		if err != nil {
			return err
		}
		if n > math.MaxUint32-uint64(count) {
			return fmt.Errorf("all grants of incarnation %d are given: %w", incarnation, errs.Exhausted)
		}
		g = instance.MakeGrant(uint32(incarnation), uint32(n+1))
		return setNumber(b, keyGrants, n+uint64(count))
	})
	return g, err
}

func (m meta) Recovery(ctx context.Context) (bool, error) {
	n, err := m.read(ctx, keyRecovery)
	return n != 0, err
}

func (m meta) SetRecovery(ctx context.Context, on bool) error {
	var n uint64
	if on {
		n = 1
	}
	return m.s.update(ctx, func(tx *txn) error { return setNumber(tx.Bucket(bucketMeta), keyRecovery, n) })
}
