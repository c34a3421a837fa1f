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
	if in.Serving != nil {
		c.forgive(c.now)
		return
	}
	n := c.nodes[in.Node]
	if n == nil {
		return
	}
	switch {
	case in.Report != nil:
		n.Engine = c.now
		c.liveness(n)
		c.report(n, in.Report)
	case in.Change != nil:
		n.Engine = c.now
		c.liveness(n)
		c.changed(n, in.Change)
	case in.Gone != nil:
		c.send(n.ID, probe())
	default:
		n.Net = c.now
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

// fresh says whether a report says something new: a bus may deliver one late
// or twice, and what an earlier start of the agent has sent.
func (n *node) fresh(r *nodelink.NodeReport) bool {
	switch {
	case r.Boot == "": // originals do not count
		return true
	case n.boot == "":
		n.boot = r.Boot
	case n.boot != r.Boot:
		return false // agents register before they report
	case r.Seq <= n.reports:
		return false
	}
	n.reports = r.Seq
	return true
}

func (c *core) report(n *node, r *nodelink.NodeReport) {
	if !n.fresh(r) {
		return
	}
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
	if s == nil || !ours(s.Slot, e) || e.IsZero() {
		if s == nil && !e.IsZero() { // a tombstone may still come for it
			n.seen[id] = append(n.seen[id], Seen{n.ID, e, got.State})
		}
		return Orphan{n.ID, id, k.JobName, e}, true
	}
	n.seen[id] = append(n.seen[id], Seen{n.ID, e, got.State})
	current := s.Epoch() == e && s.Placement.Node == n.ID
	s.listed = s.listed || current
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
			c.miss(s, store.Old{Epoch: s.Epoch(), Node: n.ID}, missed)
		}
		c.clearOld(n, s, has)
	}
	c.drained(n.ID)
}

// miss counts the reports that do not hold an attempt which was heard of. A
// change of its state may have overtaken reports that were sent before it.
func (c *core) miss(s *slot, o store.Old, missed bool) {
	if !missed {
		delete(s.gone, o)
		s.Missed = false
		return
	}
	enough := 2
	if !s.listed {
		enough = 5
	}
	s.gone[o]++
	s.Missed = s.gone[o] >= enough
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
	if ours(s.Slot, e) {
		n.see(id, e, o.State)
	}
	c.observed(n, s, o)
}

// see enters what a change says of an attempt, until the next full report.
func (n *node) see(id model.InstanceID, e instance.Epoch, state instance.State) {
	if n.seen == nil {
		n.seen = map[model.InstanceID][]Seen{}
	}
	list := slices.DeleteFunc(n.seen[id], func(v Seen) bool {
		if v.Epoch == e {
			state = max(state, v.State)
		}
		return v.Epoch == e
	})
	if state != instance.Undeployed {
		list = append(list, Seen{n.ID, e, state})
	}
	n.seen[id] = list
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
