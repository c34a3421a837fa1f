package fleet

import (
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
	c.messages[kindOf(in)]++
	switch {
	case in.Report != nil:
		c.sign(n, &n.Engine)
		c.spoke(n)
		c.report(n, in.Report)
	case in.Change != nil:
		c.sign(n, &n.Engine)
		c.spoke(n)
		c.changed(n, in.Change)
	case in.Gone != nil:
		c.send(n.ID, probe())
	default:
		c.sign(n, &n.Net)
		c.networked(n)
		c.spoke(n)
		if in.Net != nil {
			c.netFacts(n, in.Net)
		}
		c.f.deps.Network.Handle(c.whose(n, in))
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
		id, _ = c.meant(n, job, number)
	}
	k := model.InstanceID{Service: id, Number: number}
	s := c.slots[k]
	if s != nil && !e.IsZero() && e == s.Carried && s.Placement.Node == n.ID {
		return k, s.Epoch()
	}
	if s != nil && e.IsZero() && !n.ends(job, number) {
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
	if r.Boot != "" && c.doubted(n) {
		return
	}
	was, first := n.seen, n.completeAt.IsZero()
	n.seen, n.completeAt = make(map[model.InstanceID][]Seen, len(r.Containers)), c.now
	c.hears(n)
	if first {
		c.tellNode(n)
		c.wakeRefused()
	}
	var orphans []Orphan
	for _, k := range c.listed(n, r) {
		if o, orphan := c.container(n, was, k); orphan {
			orphans = append(orphans, o)
		}
	}
	c.sights(n, was)
	c.endings(n, orphans)
	if !slices.Equal(orphans, n.orphans) {
		n.orphans, c.orphansMoved = orphans, true
	}
	c.missing(n)
}

// doubted says that a report may have been on its way since before its worker
// was lost. Registering ends that, since it is an answered call; so do two
// reports, and a probe asks for the next.
func (c *core) doubted(n *node) bool {
	if n.doubts == 0 {
		return false
	}
	n.doubts--
	c.send(n.ID, probe())
	return true
}

// sights notes what the last report holds and the one before did not, and the
// other way round.
func (c *core) sights(n *node, was map[model.InstanceID][]Seen) {
	for id := range n.seen {
		if len(was[id]) == 0 {
			c.where.sees(n.ID, id, true)
		}
	}
	for id := range was {
		if len(n.seen[id]) == 0 {
			c.where.sees(n.ID, id, false)
		}
	}
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
			n.seen[id] = append(n.seen[id], Seen{n.ID, e, got.State, k.Restarting})
		}
		return Orphan{Node: n.ID, Instance: id, Name: k.JobName, Epoch: e}, true
	}
	at := store.Old{Epoch: e, Node: n.ID}
	n.seen[id] = append(n.seen[id], Seen{n.ID, e, s.grown(at, got.State), k.Restarting})
	now := current(s, at)
	s.reported = s.reported || now
	if len(was[id]) == 0 || !now {
		c.look[id] = true
	}
	c.observed(n, s, got)
	if now {
		c.vital(s, k.Vital)
	}
	return Orphan{}, false
}

// current says that an attempt is the present one of a slot.
func current(s *slot, o store.Old) bool { return s.Epoch() == o.Epoch && s.Placement.Node == o.Node }

// grown is the greatest state heard of an attempt: a lesser one was held up on
// its way.
func (s *slot) grown(o store.Old, state instance.State) instance.State {
	if current(s, o) {
		return max(state, s.Observed.State)
	}
	if state = max(state, s.over[o]); state.Terminal() && slices.Contains(s.Old, o) {
		s.over[o] = state
	}
	return state
}

func (c *core) vital(s *slot, v instance.Vital) {
	merged := instance.MergeVital(s.vital, v)
	if merged != s.vital {
		// With the next tick: the reports of many workers make one message.
		s.vital = merged
		c.vitals[s.Instance] = true
	}
}

// missing looks at what a complete report does not hold.
func (c *core) missing(n *node) {
	for k, s := range c.where.slots[n.ID] {
		has := func(e instance.Epoch) bool {
			return slices.ContainsFunc(n.seen[k], func(v Seen) bool { return v.Epoch == e })
		}
		if s.Placement.Verdict == instance.Placed && s.Placement.Node == n.ID {
			missed := !has(s.Epoch()) && s.Observed.State != instance.Unknown && !s.Observed.State.Terminal()
			was := s.Missed
			c.miss(s, store.Old{Epoch: s.Epoch(), Node: n.ID}, missed)
			if missed || was || !settled(s, n) {
				c.look[k] = true
			}
		}
		c.clearOld(n, s, has)
	}
	c.drained(n.ID)
}

// settled says that one more report that holds the attempt means nothing to
// the plan.
func settled(s *slot, n *node) bool {
	return s.Observed.State == instance.Running && !n.Draining && !s.Tombstone && len(s.Old) == 0 && s.Handoff == (store.Old{})
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
	if !s.reported {
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
			c.pullEnded(s, o)
			continue
		}
		if c.mayBePulled(s, o) {
			continue
		}
		if at.IsZero() || !c.now.After(at.Add(settleAfter)) {
			continue
		}
		if s.gone[o]++; s.gone[o] < want || c.now.Before(at.Add(wait)) {
			continue
		}
		s.forget(o)
		s.Old = slices.DeleteFunc(s.Old, func(v store.Old) bool { return v == o })
		c.f.deps.Network.Gone(instance.Attempt{Instance: s.Instance, Epoch: o.Epoch})
		c.change(s)
	}
}

func (c *core) changed(n *node, ch *nodelink.StateChange) {
	id, e := c.slotOf(n, ch.Service, ch.JobName, ch.Number, ch.Observed.Epoch)
	s := c.slots[id]
	if s == nil || e.IsZero() || n.doubts > 0 && !ch.Original {
		return
	}
	if ch.PublicIP != "" && s.publicIP != ch.PublicIP {
		s.publicIP, c.tell[id] = ch.PublicIP, true
	}
	c.signOf(s, store.Old{Epoch: e, Node: n.ID}, ch)
	if ch.Original && c.trails(n, s, ch) {
		return
	}
	o := meaning(s, ch)
	o.Epoch = e
	if o.State.Terminal() {
		ended(n.seen[id], o)
		delete(n.lists, listKey(ch.JobName, ch.Number))
	}
	// The word of an attempt that nobody remembers was held up: it is over.
	at := store.Old{Epoch: e, Node: n.ID}
	if current(s, at) || slices.Contains(s.Old, at) {
		c.see(n, id, e, s.grown(at, o.State))
	}
	c.observed(n, s, o)
}

// ended notes that an attempt of the last report runs no more.
func ended(seen []Seen, o instance.Observed) {
	for i, v := range seen {
		if v.Epoch == o.Epoch {
			seen[i].State = o.State
		}
	}
}

// see enters what a change says of an attempt, until the next full report.
func (c *core) see(n *node, id model.InstanceID, e instance.Epoch, state instance.State) {
	if n.seen == nil {
		n.seen = map[model.InstanceID][]Seen{}
	}
	restarting := false
	list := slices.DeleteFunc(n.seen[id], func(v Seen) bool {
		if v.Epoch == e {
			state, restarting = max(state, v.State), v.Restarting
		}
		return v.Epoch == e
	})
	if state != instance.Undeployed {
		list = append(list, Seen{n.ID, e, state, restarting})
	}
	if n.seen[id] = list; len(list) == 0 {
		delete(n.seen, id)
	}
	c.where.sees(n.ID, id, len(list) > 0)
}

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
	if merged.State == instance.Completed && s.Service.Spec.OneShot {
		s.Ended = merged
		c.change(s)
		c.free(s) // it needs no room any more
	}
	c.look[s.Instance], c.tell[s.Instance] = true, true
}
