package boltstore

import (
	"context"
	"fmt"
	"reflect"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

type services struct{ s *Store }

func getService(tx *txn, id model.ServiceID) (model.Service, error) {
	r, err := load[serviceRecord](tx.Bucket(bucketServices), []byte(id))
	if err != nil {
		return model.Service{}, fmt.Errorf("service %q: %w", id, err)
	}
	return r.service(), nil
}

func (v services) Get(ctx context.Context, id model.ServiceID) (out model.Service, err error) {
	err = v.s.view(ctx, func(tx *txn) error {
		out, err = getService(tx, id)
		return err
	})
	return out, err
}

func (v services) List(ctx context.Context, app model.ApplicationID) (out []model.Service, err error) {
	err = v.s.view(ctx, func(tx *txn) error {
		if app == "" {
			return scan(tx.Bucket(bucketServices), nil, func(_ []byte, r serviceRecord) error {
				out = append(out, r.service())
				return nil
			})
		}
		for _, id := range keys(tx.Bucket(indexApplicationParts), string(app)) {
			one, err := getService(tx, model.ServiceID(id))
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

// Update checks the revision that f returns: it must be the stored one. The
// revision grows when the spec changed.
func (v services) Update(ctx context.Context, id model.ServiceID, f func(model.Service) (model.Service, error)) (out model.Service, err error) {
	err = v.s.update(ctx, func(tx *txn) error {
		was, err := getService(tx, id)
		if err != nil {
			return err
		}
		given, err := getService(tx, id) // f may write into what it gets
		if err != nil {
			return err
		}
		out, err = f(given)
		if err != nil {
			return err
		}
		if out.Revision != was.Revision {
			return fmt.Errorf("service %q is at revision %d, not %d: %w", id, was.Revision, out.Revision, errs.Conflict)
		}
		if out.ID != was.ID || out.Application != was.Application || out.Owner != was.Owner || out.Name != was.Name || out.Address != was.Address {
			return fmt.Errorf("service %q: id, application, owner, name and address cannot change: %w", id, errs.Invalid)
		}
		if out.NextNumber < was.NextNumber {
			return fmt.Errorf("service %q: next number %d would fall to %d: %w", id, was.NextNumber, out.NextNumber, errs.Invalid)
		}
		if !reflect.DeepEqual(specFieldsOf(out.Spec), specFieldsOf(was.Spec)) {
			out.Revision++
		}
		return putService(tx, out)
	})
	return out, err
}

func putService(tx *txn, v model.Service) error {
	return save(tx.Bucket(bucketServices), []byte(v.ID), fromService(v))
}

// Delete removes the record, its name and its claim at once.
func (v services) Delete(ctx context.Context, id model.ServiceID) error {
	return v.s.update(ctx, func(tx *txn) error {
		was, err := deleteService(tx, id)
		if err != nil || !was.Address.IsValid() {
			return err
		}
		return releaseFrom(tx, was.Address, was.Name.String())
	})
}

func deleteService(tx *txn, id model.ServiceID) (model.Service, error) {
	was, err := getService(tx, id)
	if err != nil {
		return was, err
	}
	if err := remove(tx.Bucket(indexServiceNames), joined(was.Owner, was.Name.String())); err != nil {
		return was, err
	}
	if err := remove(tx.Bucket(indexApplicationParts), joined(string(was.Application), string(id))); err != nil {
		return was, err
	}
	return was, remove(tx.Bucket(bucketServices), []byte(id))
}

// addService stores a new service with its name.
func addService(tx *txn, v model.Service) error {
	if _, ok := model.ParseServiceName(v.Name.String()); !ok {
		return fmt.Errorf("service name %q: want four non-empty parts without dots: %w", v.Name, errs.Invalid)
	}
	if _, err := getApplication(tx, v.Application); err != nil {
		return fmt.Errorf("service %s: %w", v.Name, err)
	}
	if tx.Bucket(bucketServices).Get([]byte(v.ID)) != nil {
		return fmt.Errorf("service id %q exists already: %w", v.ID, errs.Conflict)
	}
	names, key := tx.Bucket(indexServiceNames), joined(v.Owner, v.Name.String())
	if holder := names.Get(key); holder != nil {
		return fmt.Errorf("service %s exists already (id %s): %w", v.Name, holder, errs.Conflict)
	}
	if err := put(names, key, []byte(v.ID)); err != nil {
		return err
	}
	if err := put(tx.Bucket(indexApplicationParts), joined(string(v.Application), string(v.ID)), []byte{1}); err != nil {
		return err
	}
	return putService(tx, v)
}
