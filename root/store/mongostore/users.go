package mongostore

import (
	"context"
	"fmt"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type users struct{ s *Store }

func (u users) Get(ctx context.Context, name string) (store.User, error) {
	r, err := u.s.users.get(ctx, name)
	if err != nil {
		return store.User{}, err
	}
	return r.model(), nil
}

func (u users) List(ctx context.Context) ([]store.User, error) {
	list, err := u.s.users.find(ctx, nil)
	var out []store.User
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

func (u users) Put(ctx context.Context, in store.User) error {
	if in.Name == "" {
		return fmt.Errorf("a user needs a name: %w", errs.Invalid)
	}
	return u.s.users.put(ctx, in.Name, func(*userRecord) (*userRecord, error) { return fromUser(in), nil })
}

func (u users) Update(ctx context.Context, name string, f func(store.User) (store.User, error)) (out store.User, err error) {
	_, err = u.s.users.update(ctx, name, func(r *userRecord) error {
		if out, err = f(r.model()); err != nil {
			return err
		}
		if out.Name != name {
			return fmt.Errorf("user %q: the name cannot change: %w", name, errs.Invalid)
		}
		next := fromUser(out)
		next.Head = r.Head
		*r = *next
		return nil
	})
	return out, err
}

func (u users) Delete(ctx context.Context, name string) error {
	if _, err := u.s.users.get(ctx, name); err != nil {
		return err
	}
	return u.s.users.erase(ctx, name, nil)
}
