package mongostore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

type applications struct{ s *Store }

// view is an application that is there, with the services that are.
type view struct {
	*applicationRecord
	services []string
}

// views reads applications that are there, with their services: those whose
// commit is absent are dropped. A commit that is absent may have been settled,
// that is entered into its applications and deleted, since these were read; so
// all are read again, and a descriptor is seen as a whole or not at all.
func (s *Store) views(ctx context.Context, filter bson.D) ([]view, error) {
	for try := 1; ; try++ {
		list, err := s.applications.find(ctx, filter)
		if err != nil {
			return nil, err
		}
		batches := map[string]bool{}
		for _, r := range list {
			for _, b := range r.batches() {
				batches[b] = true
			}
		}
		there, err := s.committed(ctx, batches)
		if err != nil {
			return nil, err
		}
		if len(there) == len(batches) || try == 3 {
			return seen(list, there), nil
		}
	}
}

// batches are the commits an application waits for.
func (r *applicationRecord) batches() []string {
	var out []string
	if r.Batch != "" {
		out = append(out, r.Batch)
	}
	for _, p := range r.Pending {
		out = append(out, p.Batch)
	}
	return out
}

// committed says which commits are there.
func (s *Store) committed(ctx context.Context, batches map[string]bool) (map[string]bool, error) {
	there := map[string]bool{}
	if len(batches) == 0 {
		return there, nil
	}
	list, err := s.commits.find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: slices.Sorted(maps.Keys(batches))}}}})
	for _, r := range list {
		there[r.ID] = true
	}
	return there, err
}

// seen is what a reader sees of applications, given the commits that are there.
func seen(list []*applicationRecord, committed map[string]bool) []view {
	var out []view
	for _, r := range list {
		if r.Batch != "" && !committed[r.Batch] {
			continue
		}
		v := view{r, slices.Clone(r.Services)}
		for _, p := range r.Pending {
			if committed[p.Batch] {
				v.services = append(v.services, p.Services...)
			}
		}
		out = append(out, v)
	}
	return out
}

// application is one that is there.
func (s *Store) application(ctx context.Context, id string) (view, error) {
	list, err := s.views(ctx, bson.D{{Key: "_id", Value: id}})
	if err != nil {
		return view{}, err
	}
	if len(list) == 0 {
		return view{}, fmt.Errorf("application %q: %w", id, errs.NotFound)
	}
	return list[0], nil
}

func (a applications) Get(ctx context.Context, id model.ApplicationID) (model.Application, error) {
	v, err := a.s.application(ctx, string(id))
	if err != nil {
		return model.Application{}, err
	}
	return v.model(), nil
}

// ofOwner selects the applications of one owner, or all for "".
func ofOwner(owner string) bson.D {
	if owner == "" {
		return bson.D{}
	}
	return bson.D{{Key: "owner", Value: owner}}
}

// Parts reads the applications, which list their services.
func (a applications) Parts(ctx context.Context, owner string) (map[model.ApplicationID][]model.ServiceID, error) {
	there, err := a.s.views(ctx, ofOwner(owner))
	out := map[model.ApplicationID][]model.ServiceID{}
	for _, v := range there {
		for _, id := range slices.Sorted(slices.Values(v.services)) {
			out[model.ApplicationID(v.ID)] = append(out[model.ApplicationID(v.ID)], model.ServiceID(id))
		}
	}
	return out, err
}

func (a applications) List(ctx context.Context, owner string) ([]model.Application, error) {
	there, err := a.s.views(ctx, ofOwner(owner))
	var out []model.Application
	for _, v := range there {
		out = append(out, v.model())
	}
	return out, err
}

func (a applications) Update(ctx context.Context, id model.ApplicationID, f func(model.Application) (model.Application, error)) (out model.Application, err error) {
	if _, err := a.s.application(ctx, string(id)); err != nil {
		return out, err
	}
	_, err = a.s.applications.update(ctx, string(id), func(r *applicationRecord) error {
		was := r.model()
		if out, err = f(was); err != nil {
			return err
		}
		if out.ID != was.ID || out.Owner != was.Owner {
			return fmt.Errorf("application %q: id and owner cannot change: %w", id, errs.Invalid)
		}
		r.set(out)
		return nil
	})
	if err != nil {
		err = a.s.nameTaken(ctx, out, err)
	}
	return out, err
}

// nameTaken finds out whether a write failed since another application has the
// name. That may be one that is not there yet, or not any more, for a moment.
func (s *Store) nameTaken(ctx context.Context, a model.Application, err error) error {
	filter := bson.D{{Key: "owner", Value: a.Owner}, {Key: "name", Value: a.Name}, {Key: "namespace", Value: a.Namespace}}
	if holder := s.applications.other(ctx, filter, string(a.ID)); holder != "" {
		return fmt.Errorf("application %s in namespace %s exists already (id %s): %w", a.Name, a.Namespace, holder, errs.Conflict)
	}
	return err
}

func (a applications) Delete(ctx context.Context, id model.ApplicationID) error {
	return retry(ctx, func(ctx context.Context) (bool, error) {
		v, err := a.s.application(ctx, string(id))
		if err != nil {
			return false, err
		}
		if n := len(v.services) + len(v.Pending); n > 0 {
			return false, fmt.Errorf("application %q still has %d services: %w", id, n, errs.Conflict)
		}
		return a.s.applications.remove(ctx, v.applicationRecord)
	})
}

// lose takes a service out of an application: it is not there any more.
func (s *Store) lose(ctx context.Context, app, service string) error {
	_, err := s.applications.update(ctx, app, func(r *applicationRecord) error {
		is := func(id string) bool { return id == service }
		r.Services = slices.DeleteFunc(r.Services, is)
		for i := range r.Pending {
			r.Pending[i].Services = slices.DeleteFunc(r.Pending[i].Services, is)
		}
		return nil
	})
	return err
}
