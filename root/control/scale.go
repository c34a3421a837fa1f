package control

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// Scaled is what Scale did.
type Scaled struct {
	Added, Removed []int // instance numbers, ascending
}

// Scale brings a service to a number of instances: it adds new ones or ends
// those with the highest numbers. The slots themselves are what is wanted, so
// there is no second count that adding and removing single instances could
// contradict. Errors: NotFound, Exhausted when no address is left (what was
// added stays), Unavailable in recovery.
func (c *Control) Scale(ctx context.Context, who Caller, id model.ServiceID, replicas int) (Scaled, error) {
	if err := c.writable(); err != nil {
		return Scaled{}, err
	}
	if _, err := c.service(ctx, who, id); err != nil {
		return Scaled{}, err
	}
	done, err := c.inTurn(ctx)
	if err != nil {
		return Scaled{}, err
	}
	defer done()
	out, err := c.scale(ctx, id, replicas)
	if len(out.Added)+len(out.Removed) > 0 {
		c.log.Info("service scaled", "service", id, "replicas", replicas, "added", len(out.Added), "removed", len(out.Removed), "user", who.Name)
	}
	return out, err
}

// inTurn waits until nobody else compares and changes numbers of instances.
func (c *Control) inTurn(ctx context.Context) (done func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// scale is for whose turn it is.
func (c *Control) scale(ctx context.Context, id model.ServiceID, replicas int) (out Scaled, err error) {
	slots, err := c.slots(ctx, id)
	if err != nil {
		return out, err
	}
	defer c.below.Wake(id) // some may be stored even when one failed
	if len(slots) > replicas {
		var gone []model.InstanceID
		for _, in := range slots[replicas:] {
			gone = append(gone, in.ID)
			out.Removed = append(out.Removed, in.ID.Number)
		}
		if err := c.bury(ctx, gone, true); err != nil {
			return out, fmt.Errorf("scale service %s to %d: %w", id, replicas, err)
		}
		return out, nil
	}
	added := make([]store.Instance, replicas-len(slots))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i := range added {
		group.Go(func() (err error) {
			added[i], err = c.add(gctx, id)
			return err
		})
	}
	err = group.Wait()
	for _, in := range added {
		if in.ID.Service != "" {
			out.Added = append(out.Added, in.ID.Number)
		}
	}
	slices.Sort(out.Added)
	return out, err
}
