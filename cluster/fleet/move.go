package fleet

import (
	"errors"
	"fmt"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// moves says that an attempt is to be replaced because its node is drained. What
// runs once is left to finish, and nothing moves before the node has said since
// start what it has.
func (p *planner) moves(n NodeHave) bool {
	return n.Draining && !n.CompleteAt.IsZero() && !p.w.Service.Spec.OneShot && p.due(p.w.MoveAt)
}

// handOver ends an attempt that a drain or a new grant replaced, once its replacement has run
// for a moment, so that its endpoint is known everywhere, or has done what it
// was to do; or when nothing stands in the way any more.
func (p *planner) handOver() {
	o := p.w.Handoff
	if o == (store.Old{}) || p.w.HandingOver {
		return
	}
	runs := p.w.Observed.State == instance.Running && !p.h.Running.IsZero() && p.due(p.h.Running.Add(takeOver))
	did := p.w.Observed.State == instance.Completed && p.w.Service.Spec.OneShot
	if runs || did || p.w.Tombstone || !p.isOld(o) {
		p.add(HandOver, o.Node, o.Epoch, "")
	}
}

// move starts the replacement of an attempt on a node that is drained. The
// node is cordoned, so the index does not offer it. What fits nowhere else
// stays, and is looked at again.
func (c *core) move(s *slot, a Action) {
	choice, err := c.index.Place(c.onto(s))
	if err != nil {
		s.MoveAt = c.now.Add(c.f.cfg.ClusterRetry)
		why := refusalText(err)
		if s.stuck != why {
			s.stuck = why
			c.f.deps.Root.Note("node-stuck", string(a.Node), fmt.Sprintf("%s/%d stays: %s", s.Service.Name, s.Instance.Number, why))
		}
		c.look[s.Instance] = true // to set the timer
		return
	}
	old := store.Old{Epoch: s.Started(), Node: a.Node}
	c.giveUp(s)
	if s.Observed.State == instance.Running {
		s.Handoff, s.HandingOver, s.served = old, false, s.vital // what it replaced itself is removed
	}
	s.stuck = ""
	c.fresh(s)
	s.LastTry++
	s.Placement = instance.Placement{Try: s.LastTry}
	c.settleOn(s, model.NodeID(choice.ID))
}

func refusalText(err error) string {
	var refusal *placement.Refusal
	if !errors.As(err, &refusal) || len(refusal.Reasons) == 0 {
		return "no other worker"
	}
	text := ""
	for _, r := range refusal.Reasons {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s %d", r.Name, r.Count)
		if r.Detail != "" {
			text += " (" + r.Detail + ")"
		}
	}
	return text
}

// handOver waits outside of the loop until other workers use the replacement;
// then the replaced attempt is one to delete like any other.
func (c *core) handOver(s *slot, a Action) {
	s.HandingOver = true
	attempt, old, id := instance.Attempt{Instance: s.Instance, Epoch: a.Epoch}, s.Handoff, s.Instance
	c.afterCommit(func() {
		c.leaves.Go(func() {
			c.f.deps.Network.Leave(c.ctx, attempt)
			_ = c.f.do(c.ctx, func(c *core) {
				if s := c.slots[id]; s != nil && s.Handoff == old && s.HandingOver {
					s.Handoff, s.HandingOver = store.Old{}, false
					c.change(s)
				}
			})
		})
	})
}

// handoffFacts tells the root of the attempt that serves while its replacement
// is on the way. The replacement is told of once it runs: what is observed only
// grows there, so an attempt that was told of could not be taken back.
func (c *core) handoffFacts(s *slot) (Facts, bool) {
	o := s.Handoff
	n := c.nodes[o.Node]
	if o == (store.Old{}) || o.Epoch.Grant != s.Grant || n == nil || n.live == instance.Lost || s.Observed.State == instance.Running || s.Tombstone {
		return Facts{}, false
	}
	serves := n.completeAt.IsZero()
	for _, v := range n.seen[s.Instance] {
		serves = serves || v.Epoch == o.Epoch && v.State == instance.Running
	}
	return Facts{
		Instance: s.Instance, Grant: s.Grant, Node: n.live,
		Placement: instance.Placement{Try: o.Epoch.Try, Node: n.ID, Host: n.Host, HostIP: n.Address, Verdict: instance.Placed},
		Observed:  instance.Observed{Epoch: o.Epoch, State: instance.Running}, Vital: s.served,
		Counted: c.aggregates + 1,
	}, serves
}
