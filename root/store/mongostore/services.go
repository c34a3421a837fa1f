package mongostore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

type services struct{ s *Store }

// service is one that is there. The service is read first: what its
// application lists then has a record.
func (s *Store) service(ctx context.Context, id string) (*serviceRecord, error) {
	r, err := s.services.get(ctx, id)
	if err != nil {
		return nil, err
	}
	v, err := s.application(ctx, r.Application)
	if errors.Is(err, errs.NotFound) || err == nil && !slices.Contains(v.services, id) {
		return nil, fmt.Errorf("service %q: %w", id, errs.NotFound)
	}
	return r, err
}

func (v services) Get(ctx context.Context, id model.ServiceID) (model.Service, error) {
	r, err := v.s.service(ctx, string(id))
	if err != nil {
		return model.Service{}, err
	}
	return r.model(), nil
}

func (v services) List(ctx context.Context, app model.ApplicationID) ([]model.Service, error) {
	list, err := v.s.listServices(ctx, string(app))
	var out []model.Service
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

// listServices reads the services that are there, of one application or of
// all. Applications are read first: a descriptor that is stored meanwhile is
// seen as a whole or not at all.
func (s *Store) listServices(ctx context.Context, app string) ([]*serviceRecord, error) {
	var apps, its bson.D
	if app != "" {
		apps, its = bson.D{{Key: "_id", Value: app}}, bson.D{{Key: "application", Value: app}}
	}
	views, err := s.views(ctx, apps)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, v := range views {
		for _, id := range v.services {
			there[id] = true
		}
	}
	list, err := s.services.find(ctx, its)
	return slices.DeleteFunc(list, func(r *serviceRecord) bool { return !there[r.ID] }), err
}

// Update checks the revision that f returns: it must be the stored one. The
// revision grows when the spec changed.
func (v services) Update(ctx context.Context, id model.ServiceID, f func(model.Service) (model.Service, error)) (out model.Service, err error) {
	if _, err := v.s.service(ctx, string(id)); err != nil {
		return out, err
	}
	_, err = v.s.services.update(ctx, string(id), func(r *serviceRecord) error {
		was := r.model()
		spec := specFieldsOf(unshared(was.Spec)) // f may write into what it gets
		if out, err = f(was); err != nil {
			return err
		}
		if out.Revision != r.Revision {
			return fmt.Errorf("service %q is at revision %d, not %d: %w", id, r.Revision, out.Revision, errs.Conflict)
		}
		if out.ID != was.ID || out.Application != was.Application || out.Owner != was.Owner || out.Name != was.Name || out.Address != was.Address {
			return fmt.Errorf("service %q: id, application, owner, name and address cannot change: %w", id, errs.Invalid)
		}
		if out.NextNumber < r.NextNumber {
			return fmt.Errorf("service %q: next number %d would fall to %d: %w", id, r.NextNumber, out.NextNumber, errs.Invalid)
		}
		if !reflect.DeepEqual(specFieldsOf(out.Spec), spec) {
			out.Revision++
		}
		r.set(out)
		return nil
	})
	return out, err
}

// unshared is a spec that shares nothing with the given one.
func unshared(s model.ServiceSpec) model.ServiceSpec {
	raw, err := bson.Marshal(specFieldsOf(s))
	var copied specFields
	if err = errors.Join(err, bson.Unmarshal(raw, &copied)); err != nil {
		return s // it was read from BSON a moment ago: cannot fail
	}
	return copied.model()
}

// Delete removes the service, its name and its claim. It is gone once its
// application lists it no more; the sweeper does the rest if need be.
func (v services) Delete(ctx context.Context, id model.ServiceID) error {
	r, err := v.s.service(ctx, string(id))
	if err != nil {
		return err
	}
	if err := v.s.lose(ctx, r.Application, r.ID); err != nil {
		return err
	}
	if err := v.s.services.erase(ctx, r.ID, nil); err != nil {
		return err
	}
	if r.Address == "" {
		return nil
	}
	return v.s.claims.erase(ctx, r.Address, r.holds)
}

// holds says whether a claim is that of the service.
func (r *serviceRecord) holds(c *claimRecord) bool { return c.Service == r.ID && c.Slot == "" }
