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

type organizationRecord struct {
	header
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Members   []memberFields `json:"members,omitempty"`
	CreatedAt time.Time      `json:"created_at,omitzero"`
}

type memberFields struct {
	User  model.UserID `json:"user"`
	Roles []string     `json:"roles,omitempty"`
}

func fromOrganization(o store.Organization) organizationRecord {
	r := organizationRecord{header: current(), ID: o.ID, Name: o.Name, CreatedAt: o.CreatedAt}
	for _, m := range o.Members {
		r.Members = append(r.Members, memberFields(m))
	}
	return r
}

func (r organizationRecord) model() store.Organization {
	o := store.Organization{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt}
	for _, m := range r.Members {
		m.Roles = slices.Clone(m.Roles)
		o.Members = append(o.Members, store.Member(m))
	}
	return o
}

type organizations struct{ s *Store }

func getOrganization(tx *txn, id string) (store.Organization, error) {
	r, err := load[organizationRecord](tx.Bucket(bucketOrganizations), []byte(id))
	if err != nil {
		return store.Organization{}, fmt.Errorf("organization %q: %w", id, err)
	}
	return r.model(), nil
}

// putOrganization reads all of them to keep the name unique: they are few.
func putOrganization(tx *txn, o store.Organization) error {
	err := scan(tx.Bucket(bucketOrganizations), nil, func(_ []byte, r organizationRecord) error {
		if r.Name == o.Name && r.ID != o.ID {
			return fmt.Errorf("organization %q exists already (id %s): %w", o.Name, r.ID, errs.Conflict)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return save(tx.Bucket(bucketOrganizations), []byte(o.ID), fromOrganization(o))
}

func (o organizations) Get(ctx context.Context, id string) (out store.Organization, err error) {
	err = o.s.view(ctx, func(tx *txn) error {
		out, err = getOrganization(tx, id)
		return err
	})
	return out, err
}

func (o organizations) List(ctx context.Context) (out []store.Organization, err error) {
	err = o.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketOrganizations), nil, func(_ []byte, r organizationRecord) error {
			out = append(out, r.model())
			return nil
		})
	})
	return out, err
}

func (o organizations) Put(ctx context.Context, in store.Organization) error {
	return o.s.update(ctx, func(tx *txn) error { return putOrganization(tx, in) })
}

func (o organizations) Update(ctx context.Context, id string, f func(store.Organization) (store.Organization, error)) (out store.Organization, err error) {
	err = o.s.update(ctx, func(tx *txn) error {
		was, err := getOrganization(tx, id)
		if err != nil {
			return err
		}
		out, err = f(was)
		if err != nil {
			return err
		}
		if out.ID != id {
			return fmt.Errorf("organization %q: the id cannot change: %w", id, errs.Invalid)
		}
		return putOrganization(tx, out)
	})
	return out, err
}

func (o organizations) Delete(ctx context.Context, id string) error {
	return o.s.update(ctx, func(tx *txn) error {
		if _, err := getOrganization(tx, id); err != nil {
			return err
		}
		return remove(tx.Bucket(bucketOrganizations), []byte(id))
	})
}
