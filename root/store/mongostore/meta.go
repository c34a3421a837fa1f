package mongostore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

type meta struct{ s *Store }

func (m meta) Incarnation(ctx context.Context) (uint32, error) {
	r, err := m.s.meta.get(ctx, metaID)
	if err != nil {
		return 0, err
	}
	return uint32(r.Incarnation), nil
}

// SetIncarnation only raises (Conflict otherwise) and begins to count grants
// anew; the present one again is no error and changes nothing.
func (m meta) SetIncarnation(ctx context.Context, n uint32) error {
	_, err := m.s.meta.update(ctx, metaID, func(r *metaRecord) error {
		switch {
		case int64(n) < r.Incarnation:
			return fmt.Errorf("incarnation is %d and cannot fall to %d: %w", r.Incarnation, n, errs.Conflict)
		case int64(n) > r.Incarnation:
			r.Incarnation, r.Grants = int64(n), 0
		}
		return nil
	})
	return err
}

// NextGrant is one write, so that it needs no second try however many count.
// Unavailable before the first incarnation, whose grants could repeat those of
// a lost store.
func (m meta) NextGrant(ctx context.Context) (instance.Grant, error) { return m.NextGrants(ctx, 1) }

func (m meta) NextGrants(ctx context.Context, n int) (instance.Grant, error) {
	filter := m.s.fenced(bson.D{
		{Key: "_id", Value: metaID}, {Key: "incarnation", Value: bson.D{{Key: "$gt", Value: int64(0)}}},
		{Key: "grants", Value: bson.D{{Key: "$lte", Value: int64(math.MaxUint32) - int64(n)}}},
	})
	var raw bson.Raw
	err := m.s.write(ctx, "count a grant", func(ctx context.Context) error {
		var err error
		count := bson.D{{Key: "$inc", Value: bson.D{{Key: "grants", Value: int64(n)}, {Key: "rev", Value: int64(1)}}}}
		raw, err = m.s.meta.c.FindOneAndUpdate(ctx, filter, count, options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
		return err
	})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return 0, m.noGrant(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("count a grant: %w", err)
	}
	r, err := m.s.meta.decode(raw)
	if err != nil {
		return 0, err
	}
	return instance.MakeGrant(uint32(r.Incarnation), uint32(r.Grants-int64(n)+1)), nil
}

func (m meta) noGrant(ctx context.Context) error {
	r, err := m.s.meta.get(ctx, metaID)
	if err != nil {
		return err
	}
	if err := m.s.meta.late(ctx, metaID); err != nil {
		return err
	}
	if r.Incarnation == 0 {
		return fmt.Errorf("the store has no incarnation yet: %w", errs.Unavailable)
	}
	return fmt.Errorf("all grants of incarnation %d are given: %w", r.Incarnation, errs.Exhausted)
}

func (m meta) Recovery(ctx context.Context) (bool, error) {
	r, err := m.s.meta.get(ctx, metaID)
	if err != nil {
		return false, err
	}
	return r.Recovery, nil
}

func (m meta) SetRecovery(ctx context.Context, on bool) error {
	_, err := m.s.meta.update(ctx, metaID, func(r *metaRecord) error {
		r.Recovery = on
		return nil
	})
	return err
}
