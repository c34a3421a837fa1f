package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
)

// Verb is what the root orders of a worker.
type Verb uint8

// The verbs. Each is a level: twice is the same as once.
const (
	Cordon Verb = iota + 1 // it takes nothing new
	Uncordon
	Drain  // cordoned, and its instances move, replacement first
	Remove // forget a lost worker
	// ConfirmLoss is of the whole cluster: the workers that are lost really are,
	// and what they had is replaced now.
	ConfirmLoss
)

// Moving says what a drain does with an instance.
type Moving struct {
	Instance model.InstanceID
	To       model.NodeID // "" when it stays
	Reason   string       // why it stays
}

// Ordered answers an order.
type Ordered struct {
	Moving []Moving // of Drain, what is still on the worker
	Said   string   // of ConfirmLoss, what it did
}

// Order changes how a worker is used. It returns when the book holds it.
// Errors: errs.NotFound, errs.Conflict for the removal of a worker that is not
// lost, errs.Invalid for another verb.
func (f *Fleet) Order(ctx context.Context, id model.NodeID, v Verb) (Ordered, error) {
	type answer struct {
		Ordered
		err error
	}
	out := make(chan answer, 1)
	err := f.do(ctx, func(c *core) {
		said, err := c.order(id, v)
		c.afterCommit(func() { // after the plan has looked at it
			if err == nil && v == Drain {
				out <- answer{Ordered: Ordered{Moving: c.onDrained(id)}}
				return
			}
			out <- answer{Ordered{Said: said}, err}
		})
	})
	if err != nil {
		return Ordered{}, err
	}
	select {
	case a := <-out:
		return a.Ordered, a.err
	case <-ctx.Done():
		return Ordered{}, fmt.Errorf("the fleet does not answer: %w: %w", ctx.Err(), errs.Unavailable)
	}
}

// What order says of ConfirmLoss.
const (
	goesOn        = "replacement goes on"
	nothingPaused = "nothing was paused"
)

func (c *core) order(id model.NodeID, v Verb) (said string, err error) {
	if v != ConfirmLoss {
		return "", c.orderNode(id, v)
	}
	if !c.release("confirmed") {
		return nothingPaused, nil
	}
	return goesOn, nil
}

func (c *core) orderNode(id model.NodeID, v Verb) error {
	n := c.nodes[id]
	if n == nil {
		return fmt.Errorf("the cluster has no worker %q: %w", id, errs.NotFound)
	}
	switch v {
	case Cordon:
		// A drain that goes on is more than a cordon.
		c.use(n, true, n.Draining, "node-cordoned", "takes nothing new")
	case Uncordon:
		c.use(n, false, false, "node-uncordoned", "takes instances again")
		c.wakeRefused()
	case Drain:
		c.use(n, true, true, "node-draining", "its instances move elsewhere")
	case Remove:
		if n.live != instance.Lost {
			return fmt.Errorf("worker %s is not lost: drain it and stop its NodeEngine and NetManager first, it counts as lost %s after: %w", id, c.f.cfg.LostAfter, errs.Conflict)
		}
		c.remove(n)
	default:
		return fmt.Errorf("order %d for worker %s is not known here: %w", v, id, errs.Invalid)
	}
	return nil
}

// use stores how a worker may be used.
func (c *core) use(n *node, cordoned, draining bool, note, message string) {
	if n.Cordoned != cordoned || n.Draining != draining {
		n.Cordoned, n.Draining, n.empty = cordoned, draining, false
		c.dirtyNodes[n.ID] = true
		c.tellNode(n)
		c.f.log.Info("worker", "node", n.ID, "order", note)
		c.f.deps.Root.Note(note, string(n.ID), message)
	}
	for _, s := range c.where.slots[n.ID] {
		if s.Placement.Node == n.ID && draining {
			s.MoveAt = c.now // look now, not when the timer says
		}
	}
	c.nodeSlots(n.ID)
	c.publishSoon = true
}

// onDrained lists what is on a worker that is drained: what it still has, and
// what is on its way elsewhere.
func (c *core) onDrained(id model.NodeID) []Moving {
	var out []Moving
	for _, s := range c.where.slots[id] {
		if s.Tombstone {
			continue
		}
		m := Moving{Instance: s.Instance}
		switch {
		case s.Placement.Node == id && s.Placement.Verdict == instance.Placed:
			if m.Reason = c.whyStays(s, c.nodes[id]); m.Reason == "" {
				continue
			}
		case oldOn(s, id) && s.Placement.Verdict == instance.Placed:
			m.To = s.Placement.Node
		default:
			continue
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Moving) int {
		return cmp.Or(cmp.Compare(a.Instance.Service, b.Instance.Service), cmp.Compare(a.Instance.Number, b.Instance.Number))
	})
	return out
}

// whyStays is "" for what does not run there any more.
func (c *core) whyStays(s *slot, n *node) string {
	switch {
	case s.Observed.State == instance.Completed && s.Service.Spec.OneShot:
		return ""
	case s.Service.Spec.OneShot:
		return "it runs once and is left to finish"
	case s.stuck != "":
		return s.stuck
	case n.completeAt.IsZero():
		return "the worker has not reported since this cluster manager started"
	}
	return "it ended and is about to be tried again"
}

// remove forgets a lost worker: its subnet is free, what was reserved on it is
// not any more, and what it should run is tried elsewhere. Should it come back
// it registers as new, and attempts it still has are old ones.
func (c *core) remove(n *node) {
	delete(c.nodes, n.ID)
	c.dead-- // only who is lost is removed

	for _, s := range maps.Clone(c.where.slots[n.ID]) { // which changes under way
		here := s.Placement.Verdict == instance.Placed && s.Placement.Node == n.ID
		if !here && !oldOn(s, n.ID) {
			continue
		}
		switch {
		case here && s.Tombstone:
			c.giveUp(s)
			s.Placement.Verdict = instance.Pending
		case here:
			c.retry(s, Action{Node: n.ID})
		}
		for _, o := range s.Old {
			if o.Node == n.ID {
				s.forget(o)
				c.f.deps.Network.Gone(instance.Attempt{Instance: s.Instance, Epoch: o.Epoch})
			}
		}
		s.Old = slices.DeleteFunc(s.Old, func(o store.Old) bool { return o.Node == n.ID })
		if s.Handoff.Node == n.ID {
			s.Handoff, s.HandingOver = store.Old{}, false
		}
		c.change(s)
	}
	c.index.Apply(placement.Delta{Remove: []string{string(n.ID)}})
	c.dropNodes, c.goneNodes = append(c.dropNodes, n.ID), append(c.goneNodes, n.ID)
	delete(c.dirtyNodes, n.ID)
	delete(c.changedNodes, n.ID)
	c.orphansMoved = c.orphansMoved || len(n.orphans) > 0
	c.where.heardOf(n.ID, c)
	c.where.parts(n)
	c.allowMoved = true
	c.f.deps.Network.ForgetNode(n.ID)
	c.f.log.Info("worker removed", "node", n.ID)
	c.f.deps.Root.Note("node-removed", string(n.ID), "forgotten; its subnet is free again")
	c.publishSoon = true
}

// drained says once that nothing is left on a worker that is drained.
func (c *core) drained(id model.NodeID) {
	n := c.nodes[id]
	if n == nil || !n.Draining || n.empty || n.completeAt.IsZero() {
		return
	}
	for _, s := range c.where.slots[id] {
		uses := s.Placement.Node == id && s.Placement.Verdict == instance.Placed && (s.Observed.State != instance.Completed || !s.Service.Spec.OneShot)
		if uses || oldOn(s, id) {
			return
		}
	}
	n.empty = true
	c.f.deps.Root.Note("node-drained", string(id), "nothing is left on it")
}
