package mongostore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type tokens struct{ s *Store }

func (t tokens) Get(ctx context.Context, id string) (store.Token, error) {
	r, err := t.s.tokens.get(ctx, id)
	if err != nil {
		return store.Token{}, err
	}
	return r.model(), nil
}

func (t tokens) List(ctx context.Context, user string) ([]store.Token, error) {
	filter := bson.D{}
	if user != "" {
		filter = bson.D{{Key: "user", Value: user}}
	}
	list, err := t.s.tokens.find(ctx, filter)
	var out []store.Token
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

func (t tokens) Put(ctx context.Context, in store.Token) error {
	if in.ID == "" {
		return fmt.Errorf("a token needs an id: %w", errs.Invalid)
	}
	return t.s.tokens.put(ctx, in.ID, func(*tokenRecord) (*tokenRecord, error) { return fromToken(in), nil })
}

func (t tokens) Update(ctx context.Context, id string, f func(store.Token) (store.Token, error)) (out store.Token, err error) {
	_, err = t.s.tokens.update(ctx, id, func(r *tokenRecord) error {
		if out, err = f(r.model()); err != nil {
			return err
		}
		if out.ID != id {
			return fmt.Errorf("token %q: the id cannot change: %w", id, errs.Invalid)
		}
		next := fromToken(out)
		next.Head = r.Head
		*r = *next
		return nil
	})
	return out, err
}

// Delete succeeds for one of many: that makes a reset token work once.
func (t tokens) Delete(ctx context.Context, id string) error { return t.s.tokens.removeOnce(ctx, id) }
