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

// commitBudget bounds a commit. sweepAge is far above it, so that the sweeper
// never meets one that may still succeed.
const commitBudget = 15 * time.Second

type descriptors struct{ s *Store }

// commit is one call of Commit: claims, services and applications in this
// order. Nothing is there before the last write.
type commit struct {
	s     *Store
	by    string
	batch string                       // "" when one application is the only one
	fresh map[string]model.Application // by id
	homes []string                     // ids of all applications, in order
	of    map[string][]string          // ids of services, by application

	claims   []taken
	services []string
	apps     []string // fresh ones that were inserted
}

// taken is a claim, and what it was before.
type taken struct{ now, before *claimRecord }

// Commit stores services whose application is there, or comes along. With one
// application its document is the commit point, else a document of commits.
func (d descriptors) Commit(ctx context.Context, in store.Descriptor) error {
	c := &commit{s: d.s, by: rand.Text(), fresh: map[string]model.Application{}, of: map[string][]string{}}
	ctx, cancel := context.WithTimeout(ctx, commitBudget)
	defer cancel()
	if err := c.plan(ctx, in); err != nil {
		return err
	}
	if len(c.homes) == 0 {
		return nil
	}
	err := c.prepare(ctx, in)
	if err != nil {
		c.undo(ctx)
		return err
	}
	err = c.decide(ctx)
	if err != nil && (errors.Is(err, errs.Conflict) || errors.Is(err, errs.NotFound)) {
		c.undo(ctx)
		return err
	}
	if err != nil && !d.s.confirmed(ctx, c.there) {
		// Not undone: the write may still arrive. The sweeper looks later.
		return fmt.Errorf("it is not known whether the descriptor is stored: %w", err)
	}
	if c.batch != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
		defer cancel()
		_ = d.s.settle(ctx, c.batch, c.homes) // else the sweeper does
	}
	return nil
}

// plan checks what can be checked without writing.
func (c *commit) plan(ctx context.Context, in store.Descriptor) error {
	home := func(id string) {
		if !slices.Contains(c.homes, id) {
			c.homes = append(c.homes, id)
		}
	}
	for _, a := range in.Applications {
		if _, twice := c.fresh[string(a.ID)]; twice {
			return fmt.Errorf("application id %q occurs twice: %w", a.ID, errs.Conflict)
		}
		c.fresh[string(a.ID)] = a
		home(string(a.ID))
	}
	for _, v := range in.Services {
		id := string(v.Application)
		if _, ok := model.ParseServiceName(v.Name.String()); !ok {
			return fmt.Errorf("service name %q: want four non-empty parts without dots: %w", v.Name, errs.Invalid)
		}
		if _, new := c.fresh[id]; !new {
			if _, err := c.s.application(ctx, id); err != nil {
				return fmt.Errorf("service %s: %w", v.Name, err)
			}
		}
		home(id)
		c.of[id] = append(c.of[id], string(v.ID))
	}
	if len(c.homes) > 1 {
		c.batch = rand.Text()
	}
	return nil
}

// prepare writes everything but the commit point.
func (c *commit) prepare(ctx context.Context, in store.Descriptor) error {
	for _, v := range in.Services {
		if err := c.claim(ctx, v); err != nil {
			return err
		}
	}
	for _, v := range in.Services {
		r := fromService(v)
		r.By = c.by
		c.services = append(c.services, r.ID)
		if err := c.s.services.insert(ctx, r); errors.Is(err, errs.Conflict) {
			return c.serviceTaken(ctx, v)
		} else if err != nil {
			return err
		}
	}
	if c.batch == "" {
		return nil
	}
	for _, id := range c.homes {
		if err := c.enter(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// decide writes the commit point.
func (c *commit) decide(ctx context.Context) error {
	if c.batch == "" {
		return c.enter(ctx, c.homes[0])
	}
	return c.s.commits.insert(ctx, &commitRecord{Head: Head{ID: c.batch}, Applications: c.homes})
}

// there finds out whether the commit point was written.
func (c *commit) there(ctx context.Context) error {
	if c.batch != "" {
		_, err := c.s.commits.get(ctx, c.batch)
		return err
	}
	r, err := c.s.applications.get(ctx, c.homes[0])
	if err != nil {
		return err
	}
	for _, id := range c.of[c.homes[0]] {
		if !slices.Contains(r.Services, id) {
			return errs.NotFound
		}
	}
	return nil
}

// claim takes the address of a new service. Job names are unique per owner
// only, so a claim in use under the same job name may be another service's:
// then it is taken.
func (c *commit) claim(ctx context.Context, v model.Service) error {
	if !v.Address.IsValid() {
		return nil
	}
	want := &claimRecord{Head: Head{ID: text(v.Address)}, Holder: v.Name.String(), Service: string(v.ID), By: c.by}
	before, err := c.s.take(ctx, want, func(was *claimRecord) bool {
		return was.Holder == want.Holder && (was.Until != "" || was.Service == "")
	})
	if err == nil || errors.Is(err, errs.Unavailable) {
		c.claims = append(c.claims, taken{want, before})
	}
	return err
}

func (c *commit) serviceTaken(ctx context.Context, v model.Service) error {
	for _, filter := range []bson.D{{{Key: "_id", Value: string(v.ID)}}, {{Key: "owner", Value: v.Owner}, {Key: "name", Value: v.Name.String()}}} {
		if list, err := c.s.services.find(ctx, filter); err == nil && len(list) > 0 {
			return fmt.Errorf("service %s exists already (id %s): %w", v.Name, list[0].ID, errs.Conflict)
		}
	}
	return fmt.Errorf("service %s exists already: %w", v.Name, errs.Conflict)
}

// enter writes one application's document.
func (c *commit) enter(ctx context.Context, id string) error {
	a, fresh := c.fresh[id]
	if !fresh {
		_, err := c.s.applications.update(ctx, id, func(r *applicationRecord) error {
			if r.Leaving {
				return fmt.Errorf("application %q is being removed: %w", id, errs.NotFound)
			}
			if c.batch != "" {
				r.Pending = append(r.Pending, pendingFields{c.batch, c.of[id]})
			} else {
				r.Services = append(r.Services, c.of[id]...)
			}
			return nil
		})
		return err
	}
	r := fromApplication(a)
	r.Services, r.Batch, r.By = c.of[id], c.batch, c.by
	c.apps = append(c.apps, id)
	err := c.s.applications.insert(ctx, r)
	if !errors.Is(err, errs.Conflict) {
		return err
	}
	if _, again := c.s.applications.get(ctx, id); again == nil {
		return fmt.Errorf("application id %q exists already: %w", id, errs.Conflict)
	}
	return c.s.nameTaken(ctx, a, err)
}

// undo takes back what was written, as far as the server lets it: the sweeper
// does the rest. It touches nothing but what this call made.
func (c *commit) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitBudget)
	defer cancel()
	for _, id := range c.homes {
		if slices.Contains(c.apps, id) {
			_ = c.s.applications.erase(ctx, id, func(r *applicationRecord) bool { return r.By == c.by })
		} else if c.batch != "" {
			_ = c.s.forget(ctx, id, c.batch)
		}
	}
	for _, id := range c.services {
		_ = c.s.services.erase(ctx, id, func(r *serviceRecord) bool { return r.By == c.by })
	}
	for _, t := range c.claims {
		if t.before == nil {
			c.s.giveBack(ctx, t.now)
			continue
		}
		_, _ = c.s.claims.update(ctx, t.now.ID, func(r *claimRecord) error {
			if r.By != c.by {
				return errs.NotFound
			}
			r.Holder, r.Until, r.Service, r.Slot, r.By = t.before.Holder, t.before.Until, t.before.Service, t.before.Slot, t.before.By
			return nil
		})
	}
}

// forget drops what waits for a commit that will not come.
func (s *Store) forget(ctx context.Context, app, batch string) error {
	r, err := s.applications.get(ctx, app)
	if errors.Is(err, errs.NotFound) || err == nil && !r.waits(batch) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.applications.update(ctx, app, func(r *applicationRecord) error {
		r.Pending = slices.DeleteFunc(r.Pending, func(p pendingFields) bool { return p.Batch == batch })
		return nil
	})
	return err
}

func (r *applicationRecord) waits(batch string) bool {
	return slices.ContainsFunc(r.Pending, func(p pendingFields) bool { return p.Batch == batch })
}

// settle enters a commit into its applications, then deletes it. In between
// readers find it in both places.
func (s *Store) settle(ctx context.Context, batch string, apps []string) error {
	for _, id := range apps {
		_, err := s.applications.update(ctx, id, func(r *applicationRecord) error {
			if r.Batch != batch && !r.waits(batch) {
				return errs.NotFound // done
			}
			if r.Batch == batch {
				r.Batch = ""
			}
			for _, p := range r.Pending {
				if p.Batch == batch {
					r.Services = append(r.Services, p.Services...)
				}
			}
			r.Pending = slices.DeleteFunc(r.Pending, func(p pendingFields) bool { return p.Batch == batch })
			return nil
		})
		if err != nil && !errors.Is(err, errs.NotFound) {
			return err
		}
	}
	return s.commits.erase(ctx, batch, nil)
}
