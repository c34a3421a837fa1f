package mongostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// removeBudget bounds carrying out a removal within one call.
const removeBudget = 30 * time.Second

// Remove writes down what is to be removed, then removes it. Once written it
// happens: here, by the sweeper, or at the begin of the next term.
func (d descriptors) Remove(ctx context.Context, apps []model.ApplicationID, svcs []model.ServiceID, until time.Time) error {
	r := &removalRecord{Head: Head{ID: rand.Text()}, Until: stamp(until)}
	for _, id := range apps {
		if _, err := d.s.application(ctx, string(id)); err != nil {
			return err
		}
		r.Applications = append(r.Applications, string(id))
	}
	for _, id := range svcs {
		if _, err := d.s.service(ctx, string(id)); err != nil {
			return err
		}
		r.Services = append(r.Services, string(id))
	}
	if err := d.s.removals.insert(ctx, r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBudget)
	defer cancel()
	return retry(ctx, func(context.Context) (bool, error) {
		if err := d.s.carryOut(ctx, r); errors.Is(err, errs.Unavailable) && ctx.Err() == nil {
			return false, nil // try again for a while
		} else if err != nil {
			return false, fmt.Errorf("the removal is decided and not finished: %w", err)
		}
		return true, nil
	})
}

// carryOut does a removal, or what is left of it. Any number may do so at the
// same time: everything is named by ids that are never used again.
func (s *Store) carryOut(ctx context.Context, r *removalRecord) error {
	until := moment(r.Until)
	for _, id := range r.Services {
		if err := s.removeService(ctx, id, until); err != nil {
			return err
		}
	}
	for _, id := range r.Applications {
		if err := s.removeApplication(ctx, id, until); err != nil {
			return err
		}
	}
	return s.removals.erase(ctx, r.ID, nil)
}

// removeApplication first closes it to new services, so that none is missed.
func (s *Store) removeApplication(ctx context.Context, id string, until time.Time) error {
	_, err := s.applications.update(ctx, id, func(r *applicationRecord) error {
		r.Leaving = true
		return nil
	})
	if errors.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := s.services.find(ctx, bson.D{{Key: "application", Value: id}})
	if err != nil {
		return err
	}
	for _, v := range list {
		if err := s.removeService(ctx, v.ID, until); err != nil {
			return err
		}
	}
	return s.applications.erase(ctx, id, nil)
}

func (s *Store) removeService(ctx context.Context, id string, until time.Time) error {
	v, err := s.services.update(ctx, id, func(r *serviceRecord) error {
		r.Leaving = true
		return nil
	})
	if errors.Is(err, errs.NotFound) {
		return nil // the record goes last
	}
	if err != nil {
		return err
	}
	if err := s.bury(ctx, v); err != nil {
		return err
	}
	if err := s.quarantine(ctx, v.Address, until, v.holds); err != nil {
		return err
	}
	if err := s.lose(ctx, v.Application, id); err != nil && !errors.Is(err, errs.NotFound) {
		return err
	}
	return s.services.erase(ctx, id, nil)
}

// bury makes tombstones of all slots of a service that takes no new ones. A
// slot that has its number and its claim and not yet its record belongs to an
// Add under way: the tombstone takes its place, and Add finds that out.
func (s *Store) bury(ctx context.Context, v *serviceRecord) error {
	id := v.ID
	claims, err := s.claims.find(ctx, bson.D{{Key: "service", Value: id}})
	if err != nil {
		return err
	}
	slots, err := s.instances.find(ctx, bson.D{{Key: "service", Value: id}})
	if err != nil {
		return err
	}
	for _, c := range claims {
		if c.Slot == "" || c.Until != "" || slices.ContainsFunc(slots, func(r *instanceRecord) bool { return r.ID == c.Slot }) {
			continue
		}
		slot, err := model.ParseInstanceID(c.Holder)
		if err != nil {
			return fmt.Errorf("stored claim of %s: %w", c.ID, errors.Join(errs.Internal, err))
		}
		if slot.Number >= v.NextNumber {
			continue // its Add comes too late for a number
		}
		grave := fromInstance(store.Instance{ID: slot, Address: addr(c.ID), Revision: 1, Tombstone: true, CreatedAt: s.now()})
		if err := s.instances.insert(ctx, grave); errors.Is(err, errs.Conflict) {
			slots = append(slots, grave) // Add was faster
		} else if err != nil {
			return err
		}
	}
	for _, in := range slots {
		_, err := s.instances.update(ctx, in.ID, func(r *instanceRecord) error {
			if r.Tombstone {
				return errs.NotFound // done
			}
			r.Tombstone = true
			r.Revision++
			return nil
		})
		if err != nil && !errors.Is(err, errs.NotFound) {
			return err
		}
	}
	return nil
}
