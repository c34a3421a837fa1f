package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"oakestra/pkg/core/model"
	"oakestra/pkg/core/sla"
	"oakestra/pkg/errs"
	"oakestra/root/events"
	"oakestra/root/store"
)

// Warnings lists what is odd about a descriptor that was accepted.
func (c *Control) Warnings(body []byte) []sla.Warning {
	_, warnings, err := sla.Parse(body)
	if err != nil {
		return nil
	}
	return warnings
}

// UpdateService changes what a body says of a service; its instances follow in
// a rollout. A name or an address cannot change: others know the service by
// them. Errors: Problems, NotFound, Unavailable in recovery.
func (c *Control) UpdateService(ctx context.Context, who Caller, id model.ServiceID, body []byte) (v ServiceView, warnings []sla.Warning, err error) {
	v, err = c.change(ctx, who, id, "service updated", func(s model.Service) (model.ServiceSpec, error) {
		now := descriptorOf(s)
		want, odd, err := sla.Patch(now, body)
		if err != nil {
			return model.ServiceSpec{}, err
		}
		warnings = odd
		return want.Spec, sameAddress(s, want)
	})
	return v, warnings, err
}

func descriptorOf(s model.Service) sla.Service {
	d := sla.Service{Name: s.Name.Service, Namespace: s.Name.ServiceNamespace, Spec: s.Spec}
	if s.Chosen {
		d.Address = s.Address
	}
	return d
}

func sameAddress(s model.Service, want sla.Service) error {
	if !want.Address.IsValid() || want.Address == s.Address {
		return nil
	}
	path := "addresses.rr_ip"
	if want.Path != "" {
		path = want.Path + "." + path
	}
	return errs.Problems{{Path: path, Value: want.Address.String(), Message: fmt.Sprintf(
		"cannot change: service %s has %s for as long as it exists; delete it and create it anew", s.Name, s.Address)}}
}

// Rollback goes back to a revision of the history, or to the one before the
// present for 0. It is a new revision with the old spec. Errors: NotFound for
// a service, Conflict for a revision that is not kept, Unavailable in recovery.
func (c *Control) Rollback(ctx context.Context, who Caller, id model.ServiceID, to uint64) (ServiceView, error) {
	return c.change(ctx, who, id, "service rolled back", func(s model.Service) (model.ServiceSpec, error) {
		if n := len(s.History); n > 0 && to == 0 {
			return s.History[n-1].Spec, nil
		}
		i := slices.IndexFunc(s.History, func(r model.Revision) bool { return r.Number == to })
		switch {
		case to == s.Revision:
			return s.Spec, nil
		case to == 0:
			return model.ServiceSpec{}, fmt.Errorf("service %s has no earlier revision: %w", s.Name, errs.Conflict)
		case i < 0:
			return model.ServiceSpec{}, fmt.Errorf("revision %d of service %s is not kept; there are %v and the present %d: %w",
				to, s.Name, numbers(s.History), s.Revision, errs.Conflict)
		}
		return s.History[i].Spec, nil
	})
}

func numbers(history []model.Revision) []uint64 {
	out := make([]uint64, len(history))
	for i, r := range history {
		out[i] = r.Number
	}
	return out
}

// Revisions lists what a service was and is, oldest first.
func (c *Control) Revisions(ctx context.Context, who Caller, id model.ServiceID) ([]model.Revision, error) {
	s, err := c.service(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return append(s.History, model.Revision{Number: s.Revision, Spec: s.Spec}), nil
}

// change stores a new spec, made by f from what the service is at that very
// moment, and wakes the rollout.
func (c *Control) change(ctx context.Context, who Caller, id model.ServiceID, what string, f func(model.Service) (model.ServiceSpec, error)) (ServiceView, error) {
	if err := c.writable(); err != nil {
		return ServiceView{}, err
	}
	if _, err := c.service(ctx, who, id); err != nil {
		return ServiceView{}, err
	}
	slots, err := c.slots(ctx, id)
	if err != nil {
		return ServiceView{}, err
	}
	s, err := c.store.Services().Update(ctx, id, func(s model.Service) (model.Service, error) {
		spec, err := f(s)
		if err != nil {
			return s, err
		}
		s = s.Change(spec)
		if s.Rollout.State == model.RolloutDone && behind(slots, s) > 0 {
			s.Rollout.State = model.RolloutRunning
		}
		return s, nil
	})
	if err != nil {
		return ServiceView{}, inContext(err, "change service %s", id)
	}
	c.below.Wake(id)
	c.log.Info(what, "service", id, "name", s.Name.String(), "revision", s.Revision, "user", who.Name)
	c.events.Record(events.OfService(s).Say(events.Normal, "Changed", "%s by %s, revision %d", what, who.Name, s.Revision))
	return c.view(ctx, s, c.sites())
}

// behind counts slots that run something else than the service says.
func behind(slots []store.Instance, s model.Service) (n int) {
	for _, in := range slots {
		if in.Grant != 0 && !in.Service.Spec.Runs(s.Spec) {
			n++
		}
	}
	return n
}

// inContext leaves problems as they are: their text is for users.
func inContext(err error, format string, args ...any) error {
	var p errs.Problems
	if errors.As(err, &p) {
		return err
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// UpdateApplication changes what a body says of an application. Its name and
// namespace are part of the names of its services, so they can change only
// while it has none. Errors: Problems, NotFound, Conflict, Unavailable in
// recovery.
func (c *Control) UpdateApplication(ctx context.Context, who Caller, id model.ApplicationID, body []byte) ([]sla.Warning, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	app, err := c.Application(ctx, who, id)
	if err != nil {
		return nil, err
	}
	var warnings []sla.Warning
	_, err = c.store.Applications().Update(ctx, id, func(a model.Application) (model.Application, error) {
		want, odd, err := sla.PatchApplication(sla.Application{Name: a.Name, Namespace: a.Namespace, Description: a.Description}, body)
		if err != nil {
			return a, err
		}
		warnings = odd
		if (want.Name != a.Name || want.Namespace != a.Namespace) && len(app.Services) > 0 {
			return a, fmt.Errorf("application %s.%s has %d services, whose names begin with its own: it cannot be renamed: %w",
				a.Name, a.Namespace, len(app.Services), errs.Conflict)
		}
		a.Name, a.Namespace, a.Description = want.Name, want.Namespace, want.Description
		return a, nil
	})
	if err != nil {
		return nil, inContext(err, "change application %s", id)
	}
	c.log.Info("application updated", "application", id, "user", who.Name)
	return warnings, nil
}
