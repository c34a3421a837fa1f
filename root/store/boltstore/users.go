package boltstore

import (
	"context"
	"fmt"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type users struct{ s *Store }

func getUser(tx *txn, name string) (store.User, error) {
	r, err := load[userRecord](tx.Bucket(bucketUsers), []byte(name))
	if err != nil {
		return store.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	return r.model(), nil
}

func putUser(tx *txn, u store.User) error {
	return save(tx.Bucket(bucketUsers), []byte(u.Name), fromUser(u))
}

func (u users) Get(ctx context.Context, name string) (out store.User, err error) {
	err = u.s.view(ctx, func(tx *txn) error {
		out, err = getUser(tx, name)
		return err
	})
	return out, err
}

func (u users) List(ctx context.Context) (out []store.User, err error) {
	err = u.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketUsers), nil, func(_ []byte, r userRecord) error {
			out = append(out, r.model())
			return nil
		})
	})
	return out, err
}

func (u users) Put(ctx context.Context, in store.User) error {
	return u.s.update(ctx, func(tx *txn) error { return putUser(tx, in) })
}

func (u users) Update(ctx context.Context, name string, f func(store.User) (store.User, error)) (out store.User, err error) {
	err = u.s.update(ctx, func(tx *txn) error {
		was, err := getUser(tx, name)
		if err != nil {
			return err
		}
		out, err = f(was)
		if err != nil {
			return err
		}
		if out.Name != name {
			return fmt.Errorf("user %q: the name cannot change: %w", name, errs.Invalid)
		}
		return putUser(tx, out)
	})
	return out, err
}

func (u users) Delete(ctx context.Context, name string) error {
	return u.s.update(ctx, func(tx *txn) error {
		if _, err := getUser(tx, name); err != nil {
			return err
		}
		return remove(tx.Bucket(bucketUsers), []byte(name))
	})
}
