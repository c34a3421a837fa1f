package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/events"
	"oakestra/root/store"
)

// All undeploys every instance of a service.
const All = -1

// writesAtOnce bounds the tombstones written side by side; they share syncs.
const writesAtOnce = 64

// Deploy adds one instance to a service and returns its slot at once; finding
// a cluster and a node happens afterwards. Errors: NotFound, Exhausted when no
// address is left, Unavailable in recovery.
func (c *Control) Deploy(ctx context.Context, who Caller, id model.ServiceID) (store.Instance, error) {
	if err := c.writable(); err != nil {
		return store.Instance{}, err
	}
	svc, err := c.service(ctx, who, id)
	if err != nil {
		return store.Instance{}, err
	}
	in, err := c.add(ctx, id)
	if err != nil {
		return store.Instance{}, err
	}
	c.below.Wake(id, in.ID.Number)
	c.log.Info("instance wanted", "service", id, "instance", in.ID.Number, "address", in.Address.String(), "user", who.Name)
	c.events.Record(events.Of(svc, in.ID.Number).Say(events.Normal, "Wanted", "by %s, at address %s", who.Name, in.Address))
	return in, nil
}

// add stores one more slot with an address of its own.
func (c *Control) add(ctx context.Context, id model.ServiceID) (store.Instance, error) {
	address, err := c.addresses.PickInstance(ctx)
	if err != nil {
		return store.Instance{}, fmt.Errorf("address for an instance of service %s: %w", id, err)
	}
	in, err := c.store.Instances().Add(ctx, id, address, c.now().UTC())
	if err != nil {
		c.addresses.Cancel(address)
		return store.Instance{}, fmt.Errorf("store an instance of service %s: %w", id, err)
	}
	return in, nil
}

// Undeploy ends one instance, or All. What was stored as a tombstone is
// carried out by the cluster, also when it is away now. Errors: NotFound for an
// unknown service or number, Unavailable in recovery.
func (c *Control) Undeploy(ctx context.Context, who Caller, id model.ServiceID, number int) error {
	if err := c.writable(); err != nil {
		return err
	}
	svc, err := c.service(ctx, who, id)
	if err != nil {
		return err
	}
	gone, err := c.doomed(ctx, id, number)
	if err != nil {
		return err
	}
	err = c.bury(ctx, gone, number == All)
	if number == All {
		c.below.Wake(id) // some may be stored even when one failed
	} else {
		c.below.Wake(id, number)
	}
	if err != nil {
		return fmt.Errorf("undeploy instance %d of service %s: %w", number, id, err)
	}
	c.log.Info("instances no longer wanted", "service", id, "instance", number, "count", len(gone), "user", who.Name)
	for _, in := range gone {
		c.events.Record(events.Of(svc, in.Number).Say(events.Normal, "Unwanted", "by %s", who.Name))
	}
	return nil
}

// bury writes tombstones. With several at once, one that went meanwhile is
// what was wanted.
func (c *Control) bury(ctx context.Context, gone []model.InstanceID, several bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for _, in := range gone {
		group.Go(func() error {
			_, err := c.store.Instances().Update(ctx, in, func(s store.Instance) (store.Instance, error) {
				s.Tombstone = true
				return s, nil
			})
			if several && errors.Is(err, errs.NotFound) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// doomed lists what Undeploy ends.
func (c *Control) doomed(ctx context.Context, id model.ServiceID, number int) ([]model.InstanceID, error) {
	if number != All {
		want := model.InstanceID{Service: id, Number: number}
		in, err := c.store.Instances().Get(ctx, want)
		if err != nil {
			return nil, err
		}
		if in.Tombstone {
			return nil, fmt.Errorf("instance %s is undeployed already: %w", want, errs.NotFound)
		}
		return []model.InstanceID{want}, nil
	}
	slots, err := c.slots(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []model.InstanceID
	for _, in := range slots {
		out = append(out, in.ID)
	}
	return out, nil
}

// slots lists the instances that are wanted, by number.
func (c *Control) slots(ctx context.Context, id model.ServiceID) ([]store.Instance, error) {
	list, err := c.store.Instances().List(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("instances of service %s: %w", id, err)
	}
	return slices.DeleteFunc(list, func(in store.Instance) bool { return in.Tombstone }), nil
}

// DeleteService ends all instances and forgets the service, in one write.
func (c *Control) DeleteService(ctx context.Context, who Caller, id model.ServiceID) error {
	if err := c.writable(); err != nil {
		return err
	}
	svc, err := c.service(ctx, who, id)
	if err != nil {
		return err
	}
	until := c.quarantine()
	if err := c.store.Descriptors().Remove(ctx, nil, []model.ServiceID{id}, until); err != nil {
		return fmt.Errorf("delete service %s: %w", id, err)
	}
	c.addresses.Retire(svc.Address, until)
	c.below.Wake(id)
	c.log.Info("service deleted", "service", id, "user", who.Name)
	c.events.Record(events.OfService(svc).Say(events.Normal, "Deleted", "by %s", who.Name))
	return nil
}

// DeleteApplication ends all instances of all its services and forgets them,
// in one write.
func (c *Control) DeleteApplication(ctx context.Context, who Caller, id model.ApplicationID) error {
	if err := c.writable(); err != nil {
		return err
	}
	app, err := c.Application(ctx, who, id)
	if err != nil {
		return err
	}
	services, err := c.store.Services().List(ctx, id)
	if err != nil {
		return fmt.Errorf("services of application %s: %w", id, err)
	}
	// The store finds the services itself, so one added meanwhile goes too.
	until := c.quarantine()
	if err := c.store.Descriptors().Remove(ctx, []model.ApplicationID{id}, nil, until); err != nil {
		return fmt.Errorf("delete application %s: %w", id, err)
	}
	for _, s := range services {
		c.addresses.Retire(s.Address, until)
		c.below.Wake(s.ID)
	}
	c.log.Info("application deleted", "application", id, "services", len(app.Services), "user", who.Name)
	c.events.Record(events.OfApplication(app.Application).Say(events.Normal, "Deleted", "by %s, with %d services", who.Name, len(app.Services)))
	return nil
}

func (c *Control) quarantine() time.Time { return c.now().UTC().Add(Quarantine) }
