package fleet

import (
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func (c *core) have(s *slot) Have {
	h := c.ofOne(s)
	h.Taken, h.Stays = c.taken(s)
	return h
}

// ofOne is what concerns a slot, but for others of its name.
func (c *core) ofOne(s *slot) Have {
	h := Have{Nodes: map[model.NodeID]NodeHave{}, Synced: c.synced, Recovering: s.Recovering, Braked: c.now.Before(c.brakeUntil), Running: s.running, Unheard: len(c.where.unheard) > 0}
	for _, id := range c.involved(s) {
		if n := c.nodes[id]; n != nil {
			h.Nodes[id] = NodeHave{n.live, n.completeAt, n.Original, n.Draining, oldOn(s, id) && !c.index.Room(string(id), s.Instance.String(), request(s))}
			h.Seen = append(h.Seen, n.seen[s.Instance]...)
		}
	}
	return h
}

func (c *core) plan(s *slot) {
	acts, again := Plan(s.Want, c.have(s), c.now)
	delete(c.timers, s.Instance)
	if !again.IsZero() {
		c.timers[s.Instance] = again
	}
	for _, a := range acts {
		c.apply(s, a)
	}
}

func (c *core) apply(s *slot, a Action) {
	if c.worthALine(a.Kind) {
		c.f.log.Info("slot", "instance", s.Instance, "action", a.String())
	}
	switch a.Kind {
	case Stale:
		s.Old = append(s.Old, store.Old{Epoch: a.Epoch, Node: a.Node})
		c.change(s)
	case Revert:
		c.revert(s, a)
	case Back:
		c.back(s, a)
	case Retry:
		c.retry(s, a)
	case Move:
		c.move(s, a)
	case Place:
		c.place(s)
	case Deploy:
		c.deploy(s, a)
	case Leave:
		c.leave(s)
	case HandOver:
		c.handOver(s, a)
	case Retire:
		c.giveUp(s)
		s.Placement.Verdict = instance.Pending
		c.change(s)
	case Delete:
		o := store.Old{Epoch: a.Epoch, Node: a.Node}
		s.DeletedAt[o] = c.now
		c.send(a.Node, nodelink.Outbound{Delete: &nodelink.Delete{
			Attempt: instance.Attempt{Instance: s.Instance, Epoch: a.Epoch}, Name: s.Service.Name, Runtime: c.word(s, a.Node),
			GraceMS: c.f.cfg.Grace.Milliseconds(),
		}})
	case Done:
		c.done(s)
	}
}

// worthALine leaves out of the log what is repeated until it is heard.
func (c *core) worthALine(k Kind) bool {
	return k != Deploy && k != Delete && (k != Place || !c.gathering())
}

func (c *core) deploy(s *slot, a Action) {
	if c.inOrphansPlace(s, a.Node) {
		return // its next report has us look again
	}
	if s.DeployAt, s.Sends = c.now, s.Sends+1; s.Sends == 1 {
		s.Since = c.now
	} else {
		c.tell[s.Instance] = true // how often
	}
	if !s.Carried.IsZero() { // what it took up is gone
		s.Carried = instance.Epoch{}
		c.change(s)
	}
	c.send(a.Node, c.deployMessage(s))
	c.look[s.Instance] = true
}

// giveUp turns the current attempt into an old one.
func (c *core) giveUp(s *slot) {
	o := store.Old{Epoch: s.Started(), Node: s.Placement.Node}
	if c.leftNothing(s) {
		c.f.deps.Network.Gone(instance.Attempt{Instance: s.Instance, Epoch: o.Epoch})
	} else if s.Placement.Verdict == instance.Placed && !slices.Contains(s.Old, o) {
		s.Old = append(s.Old, o)
		c.notePull(s, o)
		if s.Observed.State.Terminal() {
			s.over[o] = s.Observed.State
		}
	}
	c.rename(s, o.Node, s.Epoch(), o.Epoch)
	s.Carried = instance.Epoch{}
	c.free(s)
}

// free ends what is reserved for a slot; what waits may have the room at once.
func (c *core) free(s *slot) {
	c.index.Release(s.Instance.String())
	c.roomMoved = true
	c.wakeRefused()
}

func (c *core) fresh(s *slot) {
	c.forgives(s)
	s.DeployAt, s.Sends, s.Since, s.Missed, s.Loaded, s.running, s.reported = time.Time{}, 0, time.Time{}, false, false, time.Time{}, false
	s.RetryAt, s.Observed, s.Ended = time.Time{}, instance.Observed{}, instance.Observed{}
	s.vital, s.publicIP = instance.Vital{}, ""
}

// revert takes up an attempt that was thought lost, as a new try: the root may
// have seen the one that was to replace it, and epochs only grow. The node goes
// on under the epoch it knows.
func (c *core) revert(s *slot, a Action) {
	if s.Observed.State == instance.Failed { // a drain would go there again at once
		c.blame(s, s.Placement.Node, "")
	}
	if s.Placement.Verdict == instance.Placed { // its endpoint may be in tables before it runs
		replaced := instance.Attempt{Instance: s.Instance, Epoch: s.Started()}
		c.afterCommit(func() { c.leaves.Go(func() { c.f.deps.Network.Leave(c.ctx, replaced) }) })
	}
	c.giveUp(s)
	s.Old = slices.DeleteFunc(s.Old, func(o store.Old) bool { return o.Epoch == a.Epoch && o.Node == a.Node })
	s.Handoff, s.HandingOver = store.Old{}, false
	c.fresh(s)
	s.LastTry++
	s.Placement.Try = s.LastTry
	c.settleOn(s, a.Node)
	s.Carried = a.Epoch
	c.rename(s, a.Node, a.Epoch, s.Epoch())
	s.Observed = instance.Observed{Epoch: s.Epoch(), State: instance.Running}
	s.running = c.now
}

// rename changes what the last report of a node calls an attempt.
func (c *core) rename(s *slot, id model.NodeID, from, to instance.Epoch) {
	n := c.nodes[id]
	if n == nil || from == to {
		return
	}
	for i, v := range n.seen[s.Instance] {
		if v.Epoch == from {
			n.seen[s.Instance][i].Epoch = to
		}
	}
}

func (c *core) back(s *slot, a Action) {
	c.forgives(s)
	pause := min(time.Second<<min(s.failures, 6), time.Minute)
	s.failures++
	s.RetryAt = c.now.Add(pause)
	s.avoid = nil
	c.blame(s, a.Node, a.Why)
	if n := c.nodes[a.Node]; n != nil && n.Original {
		s.avoid = []string{string(a.Node)}
	}
	c.look[s.Instance] = true
}

func (c *core) retry(s *slot, a Action) {
	if n := c.nodes[a.Node]; n == nil || n.live == instance.Lost {
		s.avoid = []string{string(a.Node)}
	}
	c.giveUp(s)
	c.fresh(s)
	s.LastTry++
	s.Placement = instance.Placement{Try: s.LastTry}
	c.change(s)
}

func (c *core) settleOn(s *slot, id model.NodeID) {
	p := instance.Placement{Try: s.Placement.Try, Node: id, Verdict: instance.Placed}
	if n := c.nodes[id]; n != nil {
		p.Host, p.HostIP = n.Host, n.Address
	}
	s.Placement = p
	s.Since = c.now
	c.index.Reserve(s.Instance.String(), string(id), request(s))
	c.roomMoved = true
	c.change(s)
}

func (c *core) place(s *slot) {
	if s.Placement.Try == 0 {
		s.LastTry = c.firstTry(s)
		s.Placement.Try = s.LastTry
	}
	if c.gathering() {
		if s.RetryAt.IsZero() { // its try is new
			c.change(s)
		}
		s.RetryAt, c.look[s.Instance] = c.now.Add(gatherStep), true // to set the timer
		return
	}
	choice, err := c.choose(s)
	if err == nil {
		s.RetryAt = time.Time{}
		c.settleOn(s, model.NodeID(choice.ID))
		return
	}
	if s.Placement.Verdict == instance.Pending && len(c.where.unheard) > 0 { // what room there is is not known yet
		s.RetryAt = c.now.Add(settleAfter)
		c.look[s.Instance] = true
		return
	}
	reasons := c.reasons(s, err)
	if len(reasons) == 0 {
		reasons = []instance.Reason{{Name: "nodes", Detail: "no worker has registered"}}
	}
	changed := s.Placement.Verdict != instance.Refused || !slices.Equal(reasons, s.Placement.Reasons)
	s.Placement.Verdict, s.Placement.Reasons = instance.Refused, reasons
	s.RetryAt = c.now.Add(c.f.cfg.ClusterRetry)
	if !s.again.IsZero() && s.again.Before(s.RetryAt) {
		s.RetryAt = s.again
	}
	c.where.refused[s.Instance] = true
	if changed {
		c.change(s)
	}
	c.look[s.Instance] = true // to set the timer
}

func (c *core) deployMessage(s *slot) nodelink.Outbound {
	return nodelink.Outbound{Deploy: &nodelink.Deploy{
		Attempt: s.Attempt(), Name: s.Service.Name, Spec: s.Service.Spec, Runtime: c.word(s, s.Placement.Node),
		ServiceAddress: s.Service.Address, InstanceAddress: s.Address, Tenant: s.Service.Owner,
	}}
}

// leave waits outside of the loop for the tables of other workers.
func (c *core) leave(s *slot) {
	s.Leaving = true
	attempt, id := s.Attempt(), s.Instance
	known := instance.Attempt{Instance: id, Epoch: s.Started()}
	c.afterCommit(func() {
		c.leaves.Go(func() {
			c.f.deps.Network.Leave(c.ctx, known)
			_ = c.f.do(c.ctx, func(c *core) {
				if s := c.slots[id]; s != nil && s.Attempt() == attempt {
					s.Left = true
					c.look[id] = true
				}
			})
		})
	})
}

func (c *core) done(s *slot) {
	delete(c.slots, s.Instance)
	delete(c.timers, s.Instance)
	c.where.drop(s)
	c.free(s)
	c.drops = append(c.drops, s.Instance)
	c.goneFacts = append(c.goneFacts, Facts{Instance: s.Instance, Grant: s.Grant, Placement: s.Placement, Gone: true})
	c.where.services[s.Instance.Service] = true
}

// word is the runtime as the node spells it: an original crashes on a word
// that it did not list.
func (c *core) word(s *slot, id model.NodeID) string {
	r := s.Service.Spec.Runtime
	if n := c.nodes[id]; n != nil && (r == "container" || r == "") && slices.Contains(n.Runtimes, "docker") {
		return "docker"
	}
	return r
}
