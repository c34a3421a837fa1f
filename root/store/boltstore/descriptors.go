package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type descriptors struct{ s *Store }

func (d descriptors) Commit(ctx context.Context, in store.Descriptor) error {
	return d.s.update(ctx, func(tx *txn) error {
		for _, a := range in.Applications {
			if err := addApplication(tx, a); err != nil {
				return err
			}
		}
		for _, v := range in.Services {
			// The address first: addService makes this service a holder too.
			if v.Address.IsValid() {
				if err := claimForNew(tx, v, d.s.now()); err != nil {
					return err
				}
			}
			if err := addService(tx, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func addApplication(tx *txn, a model.Application) error {
	if tx.Bucket(bucketApplications).Get([]byte(a.ID)) != nil {
		return fmt.Errorf("application id %q exists already: %w", a.ID, errs.Conflict)
	}
	if err := takeApplicationName(tx, a); err != nil {
		return err
	}
	return save(tx.Bucket(bucketApplications), []byte(a.ID), fromApplication(a))
}

// claimForNew claims the address of a service that is not stored yet. Job
// names are unique per owner only, so a claim in use by the same job name may
// belong to another service: then it is taken.
func claimForNew(tx *txn, v model.Service, now time.Time) error {
	name := v.Name.String()
	was, err := getClaim(tx, v.Address)
	if err != nil && !errors.Is(err, errs.NotFound) {
		return err
	}
	if err == nil && was.Holder == name && was.Until.IsZero() {
		err := scan(tx.Bucket(bucketServices), nil, func(_ []byte, r serviceRecord) error {
			if r.Address == v.Address {
				return fmt.Errorf("address %s is taken by %s: %w", v.Address, name, errs.Conflict)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return claim(tx, store.Claim{Address: v.Address, Holder: name}, now)
}

func (d descriptors) Remove(ctx context.Context, apps []model.ApplicationID, svcs []model.ServiceID, quarantine time.Time) error {
	return d.s.update(ctx, func(tx *txn) error {
		done := map[model.ServiceID]bool{}
		for _, app := range apps {
			for _, id := range keys(tx.Bucket(indexApplicationParts), string(app)) {
				if err := removeService(tx, model.ServiceID(id), quarantine); err != nil {
					return err
				}
				done[model.ServiceID(id)] = true
			}
			if err := deleteApplication(tx, app); err != nil {
				return err
			}
		}
		for _, id := range svcs {
			if done[id] {
				continue
			}
			if err := removeService(tx, id, quarantine); err != nil {
				return err
			}
			done[id] = true
		}
		return nil
	})
}

func removeService(tx *txn, id model.ServiceID, quarantine time.Time) error {
	was, err := deleteService(tx, id)
	if err != nil {
		return err
	}
	if was.Address.IsValid() {
		if err := quarantineFrom(tx, was.Address, was.Name.String(), quarantine); err != nil {
			return err
		}
	}
	slots, err := listInstances(tx, id)
	if err != nil {
		return err
	}
	for _, in := range slots {
		if in.Tombstone {
			continue
		}
		in.Tombstone = true
		in.Revision++
		if err := putInstance(tx, in); err != nil {
			return err
		}
	}
	return nil
}
