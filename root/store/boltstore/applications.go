package boltstore

import (
	"context"
	"fmt"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

type applications struct{ s *Store }

func getApplication(tx *txn, id model.ApplicationID) (model.Application, error) {
	r, err := load[applicationRecord](tx.Bucket(bucketApplications), []byte(id))
	if err != nil {
		return model.Application{}, fmt.Errorf("application %q: %w", id, err)
	}
	return r.model(), nil
}

func (a applications) Get(ctx context.Context, id model.ApplicationID) (out model.Application, err error) {
	err = a.s.view(ctx, func(tx *txn) error {
		out, err = getApplication(tx, id)
		return err
	})
	return out, err
}

func (a applications) List(ctx context.Context, owner string) (out []model.Application, err error) {
	err = a.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketApplications), nil, func(_ []byte, r applicationRecord) error {
			if owner == "" || r.Owner == owner {
				out = append(out, r.model())
			}
			return nil
		})
	})
	return out, err
}

// Parts reads the index, no record of a service.
func (a applications) Parts(ctx context.Context, owner string) (map[model.ApplicationID][]model.ServiceID, error) {
	out := map[model.ApplicationID][]model.ServiceID{}
	err := a.s.view(ctx, func(tx *txn) error {
		parts := tx.Bucket(indexApplicationParts)
		return scan(tx.Bucket(bucketApplications), nil, func(_ []byte, r applicationRecord) error {
			if owner != "" && r.Owner != owner {
				return nil
			}
			for _, id := range keys(parts, string(r.ID)) {
				out[r.ID] = append(out[r.ID], model.ServiceID(id))
			}
			return nil
		})
	})
	return out, err
}

func (a applications) Update(ctx context.Context, id model.ApplicationID, f func(model.Application) (model.Application, error)) (out model.Application, err error) {
	err = a.s.update(ctx, func(tx *txn) error {
		was, err := getApplication(tx, id)
		if err != nil {
			return err
		}
		out, err = f(was)
		if err != nil {
			return err
		}
		if out.ID != was.ID || out.Owner != was.Owner {
			return fmt.Errorf("application %q: id and owner cannot change: %w", id, errs.Invalid)
		}
		if out.Name != was.Name || out.Namespace != was.Namespace {
			if err := dropApplicationName(tx, was); err != nil {
				return err
			}
			if err := takeApplicationName(tx, out); err != nil {
				return err
			}
		}
		return save(tx.Bucket(bucketApplications), []byte(id), fromApplication(out))
	})
	return out, err
}

func (a applications) Delete(ctx context.Context, id model.ApplicationID) error {
	return a.s.update(ctx, func(tx *txn) error {
		if n := len(keys(tx.Bucket(indexApplicationParts), string(id))); n > 0 {
			return fmt.Errorf("application %q still has %d services: %w", id, n, errs.Conflict)
		}
		return deleteApplication(tx, id)
	})
}

func deleteApplication(tx *txn, id model.ApplicationID) error {
	was, err := getApplication(tx, id)
	if err != nil {
		return err
	}
	if err := dropApplicationName(tx, was); err != nil {
		return err
	}
	return remove(tx.Bucket(bucketApplications), []byte(id))
}

func takeApplicationName(tx *txn, a model.Application) error {
	index, key := tx.Bucket(indexApplicationNames), joined(a.Owner, a.Name, a.Namespace)
	if holder := index.Get(key); holder != nil && string(holder) != string(a.ID) {
		return fmt.Errorf("application %s in namespace %s exists already (id %s): %w", a.Name, a.Namespace, holder, errs.Conflict)
	}
	return put(index, key, []byte(a.ID))
}

func dropApplicationName(tx *txn, a model.Application) error {
	return remove(tx.Bucket(indexApplicationNames), joined(a.Owner, a.Name, a.Namespace))
}
