package mongostore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type organizations struct{ s *Store }

func (o organizations) Get(ctx context.Context, id string) (store.Organization, error) {
	r, err := o.s.organizations.get(ctx, id)
	if err != nil {
		return store.Organization{}, err
	}
	return r.model(), nil
}

func (o organizations) List(ctx context.Context) ([]store.Organization, error) {
	list, err := o.s.organizations.find(ctx, nil)
	var out []store.Organization
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

// Put inserts or replaces; Conflict when another organization has the name.
func (o organizations) Put(ctx context.Context, in store.Organization) error {
	if in.ID == "" {
		return fmt.Errorf("organization %q has no id: %w", in.Name, errs.Invalid)
	}
	err := o.s.organizations.put(ctx, in.ID, func(*organizationRecord) (*organizationRecord, error) { return fromOrganization(in), nil })
	return o.nameTaken(ctx, in, err)
}

func (o organizations) Update(ctx context.Context, id string, f func(store.Organization) (store.Organization, error)) (out store.Organization, err error) {
	var refused error // by f, and so not by a name
	_, err = o.s.organizations.update(ctx, id, func(r *organizationRecord) error {
		if out, refused = f(r.model()); refused != nil {
			return refused
		}
		if out.ID != id {
			refused = fmt.Errorf("organization %q: the id cannot change: %w", id, errs.Invalid)
			return refused
		}
		next := fromOrganization(out)
		next.Head = r.Head
		*r = *next
		return nil
	})
	if refused != nil || out.ID != id {
		return out, err
	}
	return out, o.nameTaken(ctx, out, err)
}

// nameTaken finds out whether a write failed since another one has the name.
func (o organizations) nameTaken(ctx context.Context, in store.Organization, err error) error {
	if err == nil {
		return nil
	}
	if holder := o.s.organizations.other(ctx, bson.D{{Key: "name", Value: in.Name}}, in.ID); holder != "" {
		return fmt.Errorf("organization %q exists already (id %s): %w", in.Name, holder, errs.Conflict)
	}
	return err
}

func (o organizations) Delete(ctx context.Context, id string) error {
	return o.s.organizations.removeOnce(ctx, id)
}
