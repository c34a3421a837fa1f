package boltstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type tokenRecord struct {
	header
	ID           string          `json:"id"`
	Kind         store.TokenKind `json:"kind"`
	User         string          `json:"user"`
	UserID       model.UserID    `json:"user_id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Hash         string          `json:"hash,omitempty"`
	Scopes       []string        `json:"scopes,omitempty"`
	Organization string          `json:"organization,omitempty"`
	Generation   uint64          `json:"generation,omitempty"`
	AdvancedAt   time.Time       `json:"advanced_at,omitzero"`
	Revoked      bool            `json:"revoked,omitempty"`
	CreatedAt    time.Time       `json:"created_at,omitzero"`
	ExpiresAt    time.Time       `json:"expires_at,omitzero"`
	LastUsed     time.Time       `json:"last_used,omitzero"`
}

func fromToken(t store.Token) tokenRecord {
	return tokenRecord{current(), t.ID, t.Kind, t.User, t.UserID, t.Name, t.Hash, t.Scopes, t.Organization,
		t.Generation, t.AdvancedAt, t.Revoked, t.CreatedAt, t.ExpiresAt, t.LastUsed}
}

func (r tokenRecord) model() store.Token {
	return store.Token{
		ID: r.ID, Kind: r.Kind, User: r.User, UserID: r.UserID, Name: r.Name, Hash: r.Hash, Scopes: slices.Clone(r.Scopes), Organization: r.Organization,
		Generation: r.Generation, AdvancedAt: r.AdvancedAt, Revoked: r.Revoked, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsed: r.LastUsed,
	}
}

type tokens struct{ s *Store }

func getToken(tx *txn, id string) (store.Token, error) {
	r, err := load[tokenRecord](tx.Bucket(bucketTokens), []byte(id))
	if err != nil {
		return store.Token{}, fmt.Errorf("token %q: %w", id, err)
	}
	return r.model(), nil
}

func putToken(tx *txn, t store.Token) error {
	return save(tx.Bucket(bucketTokens), []byte(t.ID), fromToken(t))
}

func (t tokens) Get(ctx context.Context, id string) (out store.Token, err error) {
	err = t.s.view(ctx, func(tx *txn) error {
		out, err = getToken(tx, id)
		return err
	})
	return out, err
}

func (t tokens) List(ctx context.Context, user string) (out []store.Token, err error) {
	err = t.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketTokens), nil, func(_ []byte, r tokenRecord) error {
			if user == "" || r.User == user {
				out = append(out, r.model())
			}
			return nil
		})
	})
	return out, err
}

func (t tokens) Put(ctx context.Context, in store.Token) error {
	return t.s.update(ctx, func(tx *txn) error { return putToken(tx, in) })
}

func (t tokens) Update(ctx context.Context, id string, f func(store.Token) (store.Token, error)) (out store.Token, err error) {
	err = t.s.update(ctx, func(tx *txn) error {
		was, err := getToken(tx, id)
		if err != nil {
			return err
		}
		out, err = f(was)
		if err != nil {
			return err
		}
		if out.ID != id {
			return fmt.Errorf("token %q: the id cannot change: %w", id, errs.Invalid)
		}
		return putToken(tx, out)
	})
	return out, err
}

func (t tokens) Delete(ctx context.Context, id string) error {
	return t.s.update(ctx, func(tx *txn) error {
		if _, err := getToken(tx, id); err != nil {
			return err
		}
		return remove(tx.Bucket(bucketTokens), []byte(id))
	})
}
