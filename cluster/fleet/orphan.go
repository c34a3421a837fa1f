package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// A container that nothing explains is listed and left running, until somebody
// orders its removal: a tombstone for one container of one worker, kept in the
// worker's record. While it is there a container of an original agent under
// that name and number is the orphan, and no slot of that name is deployed on
// that worker: so what is deleted by name is never a slot's.

// ending is what was done about one of node.Ending.
type ending struct {
	store.Orphan
	at    time.Time // of the last delete, or when it was first looked at since our start
	clear int       // reports without it since
}

// EndOrphan orders the removal of a container that nothing explains. It returns
// when the book holds the order, which is carried out as soon as the worker
// reports the container, and is over when it does so no more. Errors:
// errs.NotFound when the worker is unknown or has no such container,
// errs.Conflict when it belongs to a slot, or has another epoch by now.
func (f *Fleet) EndOrphan(ctx context.Context, o Orphan) error {
	type answer struct{ err error }
	a, err := ask(ctx, f, func(c *core) answer { return answer{c.endOrphan(o)} })
	if err != nil {
		return err
	}
	return a.err
}

func (o Orphan) record() store.Orphan {
	return store.Orphan{Instance: o.Instance, Name: o.Name, Epoch: o.Epoch}
}

func orphanText(o store.Orphan) string {
	name := o.Name
	if name == "" {
		name = string(o.Instance.Service)
	}
	if o.Epoch.IsZero() {
		return fmt.Sprintf("%s/%d (no epoch)", name, o.Instance.Number)
	}
	return fmt.Sprintf("%s/%d (epoch %s)", name, o.Instance.Number, o.Epoch)
}

func (c *core) endOrphan(o Orphan) error {
	n := c.nodes[o.Node]
	if n == nil {
		return fmt.Errorf("the cluster has no worker %q: %w", o.Node, errs.NotFound)
	}
	r := o.record()
	if slices.ContainsFunc(n.Ending, r.Same) {
		return nil
	}
	if id, owned := c.owner(n, r); owned {
		return fmt.Errorf("%s on worker %s belongs to instance %s of this cluster: %w", orphanText(r), n.ID, id, errs.Conflict)
	}
	i := slices.IndexFunc(n.orphans, func(have Orphan) bool { return r.Same(have.record()) })
	if i < 0 {
		return n.hasNot(r)
	}
	r = n.orphans[i].record()
	if _, named := model.ParseServiceName(r.Name); !named && r.Epoch.IsZero() {
		return fmt.Errorf("worker %s knows containers by the name of their service, and %q is none: %w", n.ID, r.Name, errs.Conflict)
	}
	n.Ending = append(slices.Clone(n.Ending), r)
	c.dirtyNodes[n.ID], c.orphansMoved, c.publishSoon = true, true, true
	n.orphans = slices.Clone(n.orphans)
	n.orphans[i].Ending = true
	c.f.log.Info("an orphan is to end", "node", n.ID, "container", orphanText(r))
	if !n.completeAt.IsZero() {
		c.endOn(n, r)
	}
	return nil
}

// owner finds the slot that a container belongs to.
func (c *core) owner(n *node, o store.Orphan) (model.InstanceID, bool) {
	service := o.Instance.Service
	if o.Epoch.IsZero() {
		service = "" // its name counts
	}
	id, e := c.slotOf(n, service, o.Name, o.Instance.Number, o.Epoch)
	s := c.slots[id]
	return id, s != nil && !e.IsZero() && ours(s.Slot, e)
}

// hasNot says why there is no such orphan.
func (n *node) hasNot(o store.Orphan) error {
	for _, have := range n.orphans {
		r := have.record()
		named := r.Instance.Service == o.Instance.Service && r.Instance.Service != "" || r.Name == o.Name && r.Name != ""
		if named && r.Instance.Number == o.Instance.Number {
			return fmt.Errorf("worker %s has %s instead of %s: list again: %w", n.ID, orphanText(r), orphanText(o), errs.Conflict)
		}
	}
	return fmt.Errorf("worker %s reports no container %s that nothing explains: %w", n.ID, orphanText(o), errs.NotFound)
}

// ends says that a container of an original agent is an orphan that is to end.
func (n *node) ends(job string, number int) bool {
	return slices.ContainsFunc(n.Ending, func(o store.Orphan) bool {
		return o.Epoch.IsZero() && o.Name == job && o.Instance.Number == number
	})
}

// inOrphansPlace says that an orphan is to end first: without epochs the worker
// could not tell it from the slot.
func (c *core) inOrphansPlace(s *slot, id model.NodeID) bool {
	n := c.nodes[id]
	return n != nil && n.ends(s.Service.Name.String(), s.Instance.Number)
}

// endings carries orders on with a report: what it still holds is told again,
// what is missing long enough is over. It marks what ends among the orphans.
func (c *core) endings(n *node, orphans []Orphan) {
	for _, o := range n.Ending {
		i := slices.IndexFunc(orphans, func(have Orphan) bool { return o.Same(have.record()) })
		if i >= 0 {
			orphans[i].Ending = true
			c.endOn(n, o)
			continue
		}
		if _, owned := c.owner(n, o); owned {
			c.ended(n, o, "node-orphan-kept", "belongs to an instance by now, and stays")
		} else if c.cleared(n, o) {
			c.ended(n, o, "node-orphan-removed", "is gone")
		}
	}
}

// note is what was done about an order.
func (c *core) note(n *node, o store.Orphan) (t *ending, first bool) {
	i := slices.IndexFunc(n.told, func(t ending) bool { return t.Same(o) })
	if first = i < 0; first {
		n.told, i = append(n.told, ending{Orphan: o, at: c.now}), len(n.told)
	}
	return &n.told[i], first
}

// endOn tells a worker to delete what it is known to hold. Not before the root
// has said everything it wants: one of these may be a slot's.
func (c *core) endOn(n *node, o store.Orphan) {
	if !c.synced {
		return
	}
	t, first := c.note(n, o)
	t.clear = 0
	if !first && !c.now.After(t.at.Add(2*time.Second)) {
		return
	}
	t.at = c.now
	name, _ := model.ParseServiceName(o.Name)
	c.send(n.ID, nodelink.Outbound{Delete: &nodelink.Delete{
		Attempt: instance.Attempt{Instance: o.Instance, Epoch: o.Epoch}, Name: name, Runtime: n.runtime(), GraceMS: c.f.cfg.Grace.Milliseconds(),
	}})
}

// runtime is the word for containers as the node spells it.
func (n *node) runtime() string {
	if slices.Contains(n.Runtimes, "docker") {
		return "docker"
	}
	return "container"
}

// cleared says whether reports have been without a container for so long that
// no delete of it is on its way any more; see clearOld.
func (c *core) cleared(n *node, o store.Orphan) bool {
	wait, want := settleAfter, 1
	if n.Original {
		wait, want = originalClear, 2
	}
	t, first := c.note(n, o)
	if first || !c.now.After(t.at.Add(settleAfter)) {
		return false
	}
	t.clear++
	return t.clear >= want && !c.now.Before(t.at.Add(wait))
}

func (c *core) ended(n *node, o store.Orphan, kind, how string) {
	n.Ending = slices.DeleteFunc(slices.Clone(n.Ending), o.Same)
	n.told = slices.DeleteFunc(n.told, func(t ending) bool { return t.Same(o) })
	c.dirtyNodes[n.ID], c.publishSoon = true, true
	c.f.log.Info("an orphan", "node", n.ID, "container", orphanText(o), "how", how)
	c.f.deps.Root.Note(kind, string(n.ID), orphanText(o)+" "+how)
}
