package control

import (
	"context"
	"fmt"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/events"
)

func (c *Control) tellCreated(who Caller, services []model.Service) {
	for _, s := range services {
		c.events.Record(events.OfService(s).Say(events.Normal, "Created", "by %s, at address %s", who.Name, s.Address))
	}
}

// MayWatch says whether the caller may see the events of one of a user's
// things. NotFound when it is unknown, another user's, or no such thing. An
// instance that is removed stays visible while its service exists.
func (c *Control) MayWatch(ctx context.Context, who Caller, t events.Type, id string) error {
	switch t {
	case events.Application:
		_, err := c.application(ctx, who, model.ApplicationID(id))
		return err
	case events.Service:
		_, err := c.service(ctx, who, model.ServiceID(id))
		return err
	case events.Instance:
		in, err := model.ParseInstanceID(id)
		if err != nil {
			return fmt.Errorf("instance %q: %w", id, errs.NotFound)
		}
		svc, err := c.service(ctx, who, in.Service)
		if err == nil && in.Number >= svc.NextNumber {
			err = fmt.Errorf("instance %s: %w", in, errs.NotFound)
		}
		return err
	case events.Cluster, events.Node, events.Root:
	}
	return fmt.Errorf("%s %q: %w", t, id, errs.NotFound)
}
