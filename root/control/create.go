package control

import (
	"context"
	"errors"
	"fmt"

	"oakestra/pkg/core/model"
	"oakestra/pkg/core/sla"
	"oakestra/pkg/errs"
	"oakestra/root/events"
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

// CreateApplications stores the applications of a descriptor with their
// services: all of it or nothing. Errors: Problems (all mistakes at once),
// Conflict for a name or an address that is taken, as Located where the place
// is known, Exhausted, Unavailable in recovery.
func (c *Control) CreateApplications(ctx context.Context, who Caller, body []byte) ([]model.Application, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	req, err := c.parse(who, body)
	if err != nil {
		return nil, err
	}
	var d store.Descriptor
	for _, a := range req.Applications {
		d.Applications = append(d.Applications, model.Application{
			ID: model.ApplicationID(c.ids.next(c.now())), Name: a.Name, Namespace: a.Namespace, Description: a.Description, Owner: who.Name,
		})
	}
	if err := c.commit(ctx, req, d.Applications, &d); err != nil {
		return nil, err
	}
	for _, a := range d.Applications {
		c.log.Info("application created", "application", a.ID, "name", a.Name, "namespace", a.Namespace, "user", who.Name)
		c.events.Record(events.OfApplication(a).Say(events.Normal, "Created", "by %s", who.Name))
	}
	c.tellCreated(who, d.Services)
	return d.Applications, nil
}

// CreateServices adds the services of a descriptor to applications that exist
// and are named by id. Errors as for CreateApplications, and NotFound for an
// application that is unknown or another user's.
func (c *Control) CreateServices(ctx context.Context, who Caller, body []byte) ([]model.Service, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	req, err := c.parse(who, body)
	if err != nil {
		return nil, err
	}
	var homes []model.Application
	for _, a := range req.Applications {
		place := errs.Problem{Path: a.Path + ".applicationID", Value: string(a.ID)}
		if a.ID == "" {
			place.Message = "names the application to add services to; it is missing"
			return nil, errs.Problems{place}
		}
		home, err := c.application(ctx, who, a.ID)
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
	c.tellCreated(who, d.Services)
	return d.Services, nil
}

// parse reads a descriptor and logs what is odd about it.
func (c *Control) parse(who Caller, body []byte) (sla.Descriptor, error) {
	d, warnings, err := sla.Parse(body)
	for _, w := range warnings {
		c.log.Warn("odd descriptor", "path", w.Path, "value", w.Value, "reason", w.Message, "user", who.Name)
	}
	return d, err
}

// commit fills d with the services of the request, homes being the
// applications in the same order, chooses their addresses and stores d. When
// anything fails, every chosen address is given back.
func (c *Control) commit(ctx context.Context, req sla.Descriptor, homes []model.Application, d *store.Descriptor) (err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, s := range d.Services {
			c.addresses.Cancel(s.Address)
		}
	}()
	if err := c.choose(ctx, req, homes, d); err != nil {
		return err
	}
	err = c.store.Descriptors().Commit(ctx, *d)
	if errors.Is(err, errs.Conflict) {
		return c.locate(ctx, req, homes, fmt.Errorf("store descriptor: %w", err))
	}
	if err != nil {
		return fmt.Errorf("store descriptor: %w", err)
	}
	return nil
}

// choose fills d with the services of the request and their addresses.
func (c *Control) choose(ctx context.Context, req sla.Descriptor, homes []model.Application, d *store.Descriptor) error {
	for i, a := range req.Applications {
		for _, want := range a.Services {
			s, err := c.newService(ctx, homes[i], want)
			if errors.Is(err, errs.Conflict) {
				return c.locate(ctx, req, homes, err)
			}
			if err != nil {
				return err
			}
			d.Services = append(d.Services, s)
		}
	}
	return nil
}

func (c *Control) newService(ctx context.Context, home model.Application, want sla.Service) (model.Service, error) {
	s := model.Service{
		ID: model.ServiceID(c.ids.next(c.now())), Application: home.ID, Owner: home.Owner, Spec: want.Spec, Chosen: want.Address.IsValid(), Revision: 1,
		Name: jobName(home, want),
	}
	var err error
	s.Address, err = c.addresses.PickService(ctx, s.Name.String(), want.Address)
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("address of service %s: %w", s.Name, err)
	if !s.Chosen {
		return model.Service{}, err
	}
	return model.Service{}, Located{
		Problem: errs.Problem{Path: want.Path + ".addresses.rr_ip", Value: want.Address.String(), Message: err.Error()},
		Err:     err,
	}
}

func jobName(home model.Application, want sla.Service) model.ServiceName {
	return model.ServiceName{App: home.Name, AppNamespace: home.Namespace, Service: want.Name, ServiceNamespace: want.Namespace}
}

// locate finds out whether it was a name that was taken, and which. A
// descriptor that is posted twice fails by its addresses first, but what its
// user has to hear is that the application exists. Only the answer depends on
// this: pool and store have decided.
func (c *Control) locate(ctx context.Context, req sla.Descriptor, homes []model.Application, taken error) error {
	at := func(path, value, what string, id any) error {
		p := errs.Problem{Path: path, Value: value, Message: fmt.Sprintf("%s exists already (id %s)", what, id)}
		return Located{Problem: p, Err: taken}
	}
	apps, err := c.store.Applications().List(ctx, "")
	if err != nil {
		return taken // the first error matters more
	}
	services, err := c.store.Services().List(ctx, "")
	if err != nil {
		return taken
	}
	for i, a := range req.Applications {
		for _, known := range apps {
			h := homes[i]
			if known.ID != h.ID && known.Owner == h.Owner && known.Name == h.Name && known.Namespace == h.Namespace {
				return at(a.Path+".application_name", a.Name, fmt.Sprintf("application %s in namespace %s", h.Name, h.Namespace), known.ID)
			}
		}
		for _, want := range a.Services {
			name := jobName(homes[i], want)
			for _, known := range services {
				if known.Owner == homes[i].Owner && known.Name == name {
					return at(want.Path+".microservice_name", want.Name, "service "+name.String(), known.ID)
				}
			}
		}
	}
	return taken
}
