package fleet

import (
	"reflect"
	"slices"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func (c *core) handle(in nodelink.Inbound) {
	switch {
	case in.Deaf != nil:
		c.deaf = true
		return
	case in.Serving != nil:
		c.deaf = false
		c.forgive(c.now.Add(returnWithin))
		return
	}
	n := c.nodes[in.Node]
	if n == nil {
		return
	}
	switch {
	case in.Report != nil:
		c.hears(n, &n.Engine)
		c.liveness(n)
		c.report(n, in.Report)
	case in.Change != nil:
		c.hears(n, &n.Engine)
		c.liveness(n)
		c.changed(n, in.Change)
	case in.Gone != nil:
		c.send(n.ID, probe())
	default:
		c.hears(n, &n.Net)
		c.liveness(n)
		if in.Net != nil {
			c.netFacts(n, in.Net)
		}
		c.f.deps.Network.Handle(in)
	}
}

func (c *core) netFacts(n *node, r *nodelink.NetReport) {
	if r.Subnet.IsValid() && (n.subnet != r.Subnet || n.dataplane != r.Dataplane) {
		n.subnet, n.dataplane = r.Subnet, r.Dataplane
		c.changedNodes[n.ID] = true
	}
}

// slotOf finds the slot and attempt that a message means. Originals name job
// and number only.
func (c *core) slotOf(n *node, id model.ServiceID, job string, number int, e instance.Epoch) (model.InstanceID, instance.Epoch) {
	if id == "" {
		id = c.byJob[job]
	}
	k := model.InstanceID{Service: id, Number: number}
	if s := c.slots[k]; s != nil && e.IsZero() {
		for _, o := range s.Old {
			if o.Node == n.ID {
				return k, o.Epoch
			}
		}
		if s.Placement.Node == n.ID {
			return k, s.Epoch()
		}
	}
	return k, e
}

func (c *core) report(n *node, r *nodelink.NodeReport) {
	if !r.ContainersOnly {
		n.usage = r.Usage
		c.changedNodes[n.ID] = true
	}
	if !r.Complete && !r.ContainersOnly {
		return
	}
	was := n.seen
	n.seen, n.completeAt = map[model.InstanceID][]Seen{}, c.now
	var orphans []Orphan
	for _, k := range r.Containers {
		if o, orphan := c.container(n, was, k); orphan {
			orphans = append(orphans, o)
		}
	}
	if !reflect.DeepEqual(orphans, n.orphans) {
		n.orphans, c.orphansMoved = orphans, true
	}
	c.missing(n)
}

// container takes in one container of a complete report, and says whether no
// record explains it. was is what the report before held.
func (c *core) container(n *node, was map[model.InstanceID][]Seen, k nodelink.Container) (o Orphan, orphan bool) {
	id, e := c.slotOf(n, k.Service, k.JobName, k.Number, k.Observed.Epoch)
	got := k.Observed
	got.Epoch = e
	if got.State == instance.Unknown {
		got.State = instance.Running // originals: presence
	}
	s := c.slots[id]
	if s != nil && foreign(s, e) {
		c.takeUp(n, s, got)
	}
	if s == nil || !ours(s.Slot, e) || e.IsZero() {
		if s == nil && !e.IsZero() { // a tombstone may still come for it
			n.seen[id] = append(n.seen[id], Seen{n.ID, e, got.State})
		}
		return Orphan{n.ID, id, k.JobName, e}, true
	}
	n.seen[id] = append(n.seen[id], Seen{n.ID, e, got.State})
	current := s.Epoch() == e && s.Placement.Node == n.ID
	if len(was[id]) == 0 || !current {
		c.look[id] = true
	}
	c.observed(n, s, got)
	if current {
		c.vital(s, k.Vital)
	}
	return Orphan{}, false
}

func (c *core) vital(s *slot, v instance.Vital) {
	merged := instance.MergeVital(s.vital, v)
	if merged != s.vital {
		s.vital = merged
		c.tell[s.Instance] = true
	}
}

// missing looks at what a complete report does not hold.
func (c *core) missing(n *node) {
	for k, s := range c.slots {
		has := func(e instance.Epoch) bool {
			return slices.ContainsFunc(n.seen[k], func(v Seen) bool { return v.Epoch == e })
		}
		if s.Placement.Verdict == instance.Placed && s.Placement.Node == n.ID {
			c.look[k] = true
			missed := !has(s.Epoch()) && s.Observed.State != instance.Unknown && !s.Observed.State.Terminal()
			if missed {
				s.gone[store.Old{Epoch: s.Epoch(), Node: n.ID}]++
				s.Missed = s.gone[store.Old{Epoch: s.Epoch(), Node: n.ID}] >= 2
			} else {
				delete(s.gone, store.Old{Epoch: s.Epoch(), Node: n.ID})
				s.Missed = false
			}
		}
		c.clearOld(n, s, has)
	}
	c.drained(n.ID)
}

func (c *core) clearOld(n *node, s *slot, has func(instance.Epoch) bool) {
	for _, o := range slices.Clone(s.Old) {
		if o.Node != n.ID {
			continue
		}
		c.look[s.Instance] = true
		at := s.DeletedAt[o]
		wait, want := settleAfter, 1
		if n.Original {
			wait, want = originalClear, 2
		}
		if has(o.Epoch) {
			s.gone[o] = 0
			continue
		}
		if at.IsZero() || !c.now.After(at.Add(settleAfter)) {
			continue
		}
		if s.gone[o]++; s.gone[o] < want || c.now.Before(at.Add(wait)) {
			continue
		}
		delete(s.gone, o)
		delete(s.DeletedAt, o)
		s.Old = slices.DeleteFunc(s.Old, func(v store.Old) bool { return v == o })
		c.f.deps.Network.Gone(instance.Attempt{Instance: s.Instance, Epoch: o.Epoch})
		c.change(s)
	}
}

func (c *core) changed(n *node, ch *nodelink.StateChange) {
	id, e := c.slotOf(n, ch.Service, ch.JobName, ch.Number, ch.Observed.Epoch)
	s := c.slots[id]
	if s == nil || e.IsZero() {
		return
	}
	o := ch.Observed
	o.Epoch = e
	if ch.Original && o.State.Terminal() && o.State != instance.Failed && s.Observed.State == instance.Unknown {
		return // the trailing word of an earlier attempt
	}
	if ch.Original && o.State == instance.Failed && c.present(n, id) {
		return // "already deployed" means present
	}
	c.observed(n, s, o)
}

func (c *core) present(n *node, id model.InstanceID) bool { return len(n.seen[id]) > 0 }

// observed merges a report about the current attempt.
func (c *core) observed(n *node, s *slot, o instance.Observed) {
	if s.Placement.Node != n.ID || s.Placement.Verdict != instance.Placed || o.Epoch != s.Epoch() {
		return
	}
	merged := instance.Merge(s.Observed, o)
	if merged == s.Observed {
		return
	}
	if merged.State == instance.Running && s.running.IsZero() {
		s.running = c.now
	}
	s.Observed = merged
	c.look[s.Instance], c.tell[s.Instance] = true, true
}
