package fleet

import (
	"context"
	"fmt"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Seat is where the current attempt of a slot is.
type Seat struct {
	Attempt   instance.Attempt // as its worker knows it
	Node      model.NodeID     // "" while it has none
	Version   string           // of the worker's NodeEngine
	Live      instance.Liveness
	Original  bool
	Abilities []string // what the worker can be asked besides
	State     instance.State
	Reason    string // why it ended, as its worker says
	LogTail   string // the end of its output, as last reported
}

// Seat finds it. Errors: errs.NotFound when this cluster does not hold the slot,
// errs.Unavailable when stopping.
func (f *Fleet) Seat(ctx context.Context, id model.InstanceID) (Seat, error) {
	found, err := ask(ctx, f, func(c *core) *Seat { return c.seat(id) })
	if err == nil && found == nil {
		err = fmt.Errorf("instance %s is not in this cluster: %w", id, errs.NotFound)
	}
	if err != nil {
		return Seat{}, err
	}
	return *found, nil
}

func (c *core) seat(id model.InstanceID) *Seat {
	s := c.slots[id]
	if s == nil || s.Tombstone {
		return nil
	}
	out := &Seat{Attempt: instance.Attempt{Instance: id, Epoch: s.Started()}, State: s.Observed.State, Reason: s.Observed.Reason, LogTail: s.vital.LogTail}
	if s.Placement.Verdict != instance.Placed {
		return out
	}
	out.Node = s.Placement.Node
	if n := c.nodes[out.Node]; n != nil {
		out.Version, out.Live, out.Original, out.Abilities = n.Version, n.live, n.Original, n.Abilities
	}
	return out
}

// Liveness of a worker; one that is not known is lost. Error: errs.Unavailable
// when stopping.
func (f *Fleet) Liveness(ctx context.Context, id model.NodeID) (instance.Liveness, error) {
	return ask(ctx, f, func(c *core) instance.Liveness {
		if n := c.nodes[id]; n != nil {
			return n.live
		}
		return instance.Lost
	})
}
