package fleet

import (
	"slices"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// One job name may be that of several services: one is being removed while the
// next is created, or two users chose it. An original agent names a container
// by job and number and has one of each at a time. So on its node a slot waits
// until the other one is gone, or goes elsewhere if the other one stays, and
// what the agent says is about the one that was there first.

// called enters the job name of a service. It does not change.
func (w *where) called(id model.ServiceID, name model.ServiceName) {
	if name == (model.ServiceName{}) || w.titles[id] != "" {
		return
	}
	job := name.String()
	w.titles[id], w.names[job] = job, append(w.names[job], id)
}

// uncalled forgets the name of a service without slots.
func (w *where) uncalled(id model.ServiceID) {
	job := w.titles[id]
	delete(w.titles, id)
	left := slices.DeleteFunc(w.names[job], func(v model.ServiceID) bool { return v == id })
	if w.names[job] = left; len(left) == 0 {
		delete(w.names, job)
	}
}

// namesakes lists the slots of other services with the same job name and number.
func (w *where) namesakes(id model.InstanceID) (out []*slot) {
	list := w.names[w.titles[id.Service]]
	if len(list) < 2 {
		return nil
	}
	for _, v := range list {
		if s := w.numbers[v][id.Number]; s != nil && v != id.Service {
			out = append(out, s)
		}
	}
	return out
}

// nameless is the tombstone of a slot whose record the root has lost.
func nameless(a Assignment) bool {
	return a.Tombstone && a.Service.Name == (model.ServiceName{})
}

// claim is what the present attempt of a slot has to do with a worker, the
// strongest last.
type claim uint8

const (
	absent  claim = iota
	planned       // it is placed there and was not sent yet
	present       // it was sent
	leaving       // it is a tombstone
	former        // an earlier attempt may be there: the strongest of all
)

func (c *core) claims(s *slot, n *node) claim {
	switch {
	case s.Placement.Verdict != instance.Placed || s.Placement.Node != n.ID || finished(s, n):
		return absent
	case s.Tombstone:
		return leaving
	case c.unsent(s, n):
		return planned
	}
	return present
}

// finished says that an attempt that runs once has done so, and that nothing is
// left of it.
func finished(s *slot, n *node) bool {
	return s.Observed.State == instance.Completed && s.Service.Spec.OneShot && len(n.seen[s.Instance]) == 0
}

// unsent says that a worker was never told of the present attempt. After a
// start of the manager that is known only where another slot is in the way.
func (c *core) unsent(s *slot, n *node) bool {
	return s.DeployAt.IsZero() && s.Observed.State == instance.Unknown && s.Carried.IsZero() && (!s.Loaded || c.outdone(s, n))
}

// wasFirst says which of two slots goes first on a worker: what was taken up
// again there was there before the other one.
func wasFirst(a, b *slot) bool {
	if a.Carried.IsZero() != b.Carried.IsZero() {
		return b.Carried.IsZero()
	}
	return a.Grant < b.Grant
}

// leftNothing says that the present attempt needs no delete when it is given up.
// One sent to an original agent would hit whatever has the name there.
func (c *core) leftNothing(s *slot) bool {
	n := c.nodes[s.Placement.Node]
	if n == nil || !n.Original || s.Placement.Verdict != instance.Placed {
		return false
	}
	return c.unsent(s, n) || finished(s, n)
}

// outdone says that another slot of the name is or was on a worker: then this
// one has not been sent there yet.
func (c *core) outdone(s *slot, n *node) bool {
	return slices.ContainsFunc(c.where.namesakes(s.Instance), func(o *slot) bool {
		return oldOn(o, n.ID) || o.Observed.State == instance.Running && o.Placement.Node == n.ID && o.Placement.Verdict == instance.Placed
	})
}

// meant is the service whose slot a worker means by a job name and a number,
// and whether that slot has to do with the worker.
func (c *core) meant(n *node, job string, number int) (id model.ServiceID, claims bool) {
	var best *slot
	most := absent
	for _, id = range c.where.names[job] {
		s := c.where.numbers[id][number]
		if s == nil {
			continue
		}
		v := c.claims(s, n)
		if oldOn(s, n.ID) {
			v = former
		}
		if v > most || v == most && best != nil && wasFirst(s, best) {
			best, most = s, v
		}
	}
	if best != nil {
		id = best.Instance.Service
	}
	return id, best != nil
}

// whose names the service in what an original NetManager says of a container.
func (c *core) whose(n *node, in nodelink.Inbound) nodelink.Inbound {
	if e := in.Deployed; e != nil && e.Service == "" && n.Original {
		if id, claims := c.meant(n, e.JobName, e.Number); claims {
			named := *e
			named.Service = id
			in.Deployed = &named
		}
	}
	return in
}

// taken says whether a slot has to wait before it is sent to an original agent,
// and whether for something that stays there.
func (c *core) taken(s *slot) (taken, stays bool) {
	n := c.nodes[s.Placement.Node]
	if n == nil || !n.Original || s.Placement.Verdict != instance.Placed {
		return false, false
	}
	sent := !c.leftNothing(s)
	for _, o := range c.where.namesakes(s.Instance) {
		v := c.claims(o, n)
		switch {
		case c.keeps(o, n), (v == planned || v == present) && c.goesFirst(o, s, n):
			taken, stays = true, stays || !sent
		case v == leaving, oldOn(o, n.ID):
			taken = true
		}
	}
	return taken, stays
}

// keeps says that a slot has an earlier attempt on a worker that is not to end
// before the present one runs.
func (c *core) keeps(s *slot, n *node) bool {
	if !oldOn(s, n.ID) {
		return false
	}
	p := planner{w: s.Want, h: c.ofOne(s), now: c.now}
	return slices.ContainsFunc(s.Old, func(o store.Old) bool { return o.Node == n.ID && p.stays(o) })
}

// goesFirst says which of two slots on one worker is there or is to be sent
// first. That both were sent may only seem so, after a start of the manager.
func (c *core) goesFirst(a, b *slot, n *node) bool {
	if unsent := c.unsent(b, n); c.unsent(a, n) != unsent {
		return unsent
	}
	return wasFirst(a, b)
}

// onto is a slot's request for a place.
func (c *core) onto(s *slot) placement.Request {
	r := request(s)
	for _, o := range c.where.namesakes(s.Instance) {
		for _, id := range o.workers {
			n := c.nodes[id]
			if n == nil || !n.Original {
				continue
			}
			if v := c.claims(o, n); v == planned || v == present || c.keeps(o, n) {
				r.Taken = append(r.Taken, string(id))
			} else if v == leaving || oldOn(o, id) {
				r.Avoid = append(slices.Clone(r.Avoid), string(id)) // it would have to wait
			}
		}
	}
	return r
}
