package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// Located is an error with the place and the value in the descriptor that
// caused it.
type Located struct {
	Problem errs.Problem
	Err     error
}

// Error is the problem as one line.
func (l Located) Error() string { return l.Problem.String() }

// Unwrap keeps the class.
func (l Located) Unwrap() error { return l.Err }

// request is a descriptor as far as control needs it; convert.go makes it.
type request struct {
	applications []requestedApplication
}

type requestedApplication struct {
	path                         string // in the descriptor, as "applications[0]"
	id                           model.ApplicationID
	name, namespace, description string
	services                     []requestedService
}

type requestedService struct {
	path            string // as "applications[0].microservices[1]"
	name, namespace string
	spec            model.ServiceSpec
	address         netip.Addr // invalid unless the user chose one
}

// CreateApplications stores the applications of a descriptor with their
// services: all of it or nothing. Errors: Problems (all mistakes at once),
// Conflict for a name or an address that is taken, as Located where the place
// is known, Exhausted, Unavailable in recovery.
func (c *Control) CreateApplications(ctx context.Context, who Caller, body []byte) ([]model.Application, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	req, err := parse(body)
	if err != nil {
		return nil, err
	}
	var d store.Descriptor
	for _, a := range req.applications {
		id, err := newID(c.now())
		if err != nil {
			return nil, err
		}
		d.Applications = append(d.Applications, model.Application{
			ID: model.ApplicationID(id), Name: a.name, Namespace: a.namespace, Description: a.description, Owner: who.Name,
		})
	}
	if err := c.commit(ctx, req, d.Applications, &d); err != nil {
		return nil, err
	}
	for _, a := range d.Applications {
		c.log.Info("application created", "application", a.ID, "name", a.Name, "namespace", a.Namespace, "user", who.Name)
	}
	return d.Applications, nil
}

// CreateServices adds the services of a descriptor to applications that exist
// and are named by id. Errors as for CreateApplications, and NotFound for an
// application that is unknown or another user's.
func (c *Control) CreateServices(ctx context.Context, who Caller, body []byte) ([]model.Service, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	req, err := parse(body)
	if err != nil {
		return nil, err
	}
	var homes []model.Application
	for _, a := range req.applications {
		place := errs.Problem{Path: a.path + ".applicationID", Value: string(a.id)}
		if a.id == "" {
			place.Message = "names the application to add services to; it is missing"
			return nil, errs.Problems{place}
		}
		home, err := c.application(ctx, who, a.id)
		if errors.Is(err, errs.NotFound) {
			place.Message = "there is no such application"
			return nil, Located{place, err}
		}
		if err != nil {
			return nil, err
		}
		homes = append(homes, home)
	}
	var d store.Descriptor
	if err := c.commit(ctx, req, homes, &d); err != nil {
		return nil, err
	}
	for _, s := range d.Services {
		c.log.Info("service created", "service", s.ID, "name", s.Name.String(), "user", who.Name)
	}
	return d.Services, nil
}

// commit fills d with the services of the request, homes being the
// applications in the same order, chooses their addresses and stores d. When
// anything fails, every chosen address is given back.
func (c *Control) commit(ctx context.Context, req request, homes []model.Application, d *store.Descriptor) (err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, s := range d.Services {
			c.addresses.Cancel(s.Address)
		}
	}()
	for i, a := range req.applications {
		for _, want := range a.services {
			s, err := c.newService(ctx, homes[i], want)
			if err != nil {
				return err
			}
			d.Services = append(d.Services, s)
		}
	}
	err = c.store.Descriptors().Commit(ctx, *d)
	if errors.Is(err, errs.Conflict) {
		return c.locate(ctx, req, homes, *d, err)
	}
	if err != nil {
		return fmt.Errorf("store descriptor: %w", err)
	}
	return nil
}

func (c *Control) newService(ctx context.Context, home model.Application, want requestedService) (model.Service, error) {
	id, err := newID(c.now())
	if err != nil {
		return model.Service{}, err
	}
	s := model.Service{
		ID: model.ServiceID(id), Application: home.ID, Owner: home.Owner, Spec: want.spec, Chosen: want.address.IsValid(), Revision: 1,
		Name: model.ServiceName{
			App: home.Name, AppNamespace: home.Namespace, Service: want.name, ServiceNamespace: want.namespace,
		},
	}
	s.Address, err = c.addresses.PickService(ctx, s.Name.String(), want.address)
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("address of service %s: %w", s.Name, err)
	if !s.Chosen {
		return model.Service{}, err
	}
	return model.Service{}, Located{
		Problem: errs.Problem{Path: want.path + rrIPPath, Value: want.address.String(), Message: err.Error()},
		Err:     err,
	}
}

// locate finds out which name of a descriptor was taken. The store has
// decided; this only adds the place for the answer.
func (c *Control) locate(ctx context.Context, req request, homes []model.Application, d store.Descriptor, taken error) error {
	at := func(path, value string) error {
		return Located{Problem: errs.Problem{Path: path, Value: value, Message: taken.Error()}, Err: taken}
	}
	owner := ""
	if len(homes) > 0 {
		owner = homes[0].Owner
	}
	apps, err := c.store.Applications().List(ctx, owner)
	if err != nil {
		return taken
	}
	names := map[[2]string]model.ApplicationID{}
	for _, a := range apps {
		names[[2]string{a.Name, a.Namespace}] = a.ID
	}
	for i, a := range req.applications {
		id, used := names[[2]string{homes[i].Name, homes[i].Namespace}]
		if used && id != homes[i].ID {
			return at(a.path+".application_name", a.name)
		}
	}
	services, err := c.store.Services().List(ctx, "")
	if err != nil {
		return taken
	}
	jobs := map[model.ServiceName]bool{}
	for _, s := range services {
		if s.Owner == owner {
			jobs[s.Name] = true
		}
	}
	next := 0
	for _, a := range req.applications {
		for _, want := range a.services {
			if jobs[d.Services[next].Name] {
				return at(want.path+".microservice_name", want.name)
			}
			next++
		}
	}
	return taken
}
