package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Agents without epochs, the originals. What they say names a slot, never an
// attempt: slotOf takes an old attempt on their node first, and a new one is
// not sent there before the old one is gone (clearOld, plan.go).

// trails says that a word of an original agent is not about the current attempt.
func (c *core) trails(n *node, s *slot, ch *nodelink.StateChange) bool {
	switch meaning(s, ch).State {
	case instance.Dead, instance.Undeployed:
		// Before the first sign of a try these are the last words of the one
		// before; a delete is followed by one after 5 s.
		return s.Observed.State == instance.Unknown
	case instance.Failed:
		return len(n.seen[s.Instance]) > 0 // it runs: only a second deploy failed
	case instance.Unknown, instance.Creating, instance.Created, instance.Running, instance.Completed:
	}
	return ch.Present
}

// meaning is what a word says of a slot. Engines that know no one-shots say DEAD
// of one that has done what it was to do, and with which code.
func meaning(s *slot, ch *nodelink.StateChange) instance.Observed {
	o := ch.Observed
	if ch.Original && ch.Exited && o.State == instance.Dead && o.Exit == 0 && s.Service.Spec.OneShot {
		o.State = instance.Completed
	}
	return o
}

// notePull notes that nothing is known of an attempt that is given up, but that
// it was sent. While an original agent pulls the image it knows of nothing: a
// delete finds nothing to end, no list names it, and it starts later.
func (c *core) notePull(s *slot, o store.Old) {
	if n := c.nodes[o.Node]; n == nil || !n.Original || s.Observed.State != instance.Unknown {
		return
	}
	at := s.DeployAt
	if at.IsZero() { // before this start of the manager
		at = c.now
	}
	s.Pulls = append(s.Pulls, store.Pull{Old: o, At: at})
}

// mayBePulled says that the absence of an attempt proves nothing yet.
func (c *core) mayBePulled(s *slot, o store.Old) bool {
	return slices.ContainsFunc(s.Pulls, func(p store.Pull) bool { return p.Old == o && c.now.Before(p.At.Add(originalPull)) })
}

// signOf takes a word of an attempt for the end of its pull. DEAD and UNDEPLOYED
// may answer a delete that found nothing.
func (c *core) signOf(s *slot, o store.Old, ch *nodelink.StateChange) {
	if ch.Observed.State != instance.Dead && ch.Observed.State != instance.Undeployed {
		c.pullEnded(s, o)
	}
}

// pullsEnded: an agent that registers has just started.
func (c *core) pullsEnded(id model.NodeID) {
	for _, s := range c.where.slots[id] {
		for _, p := range slices.Clone(s.Pulls) {
			if p.Node == id {
				c.pullEnded(s, p.Old)
			}
		}
	}
}

func (c *core) pullEnded(s *slot, o store.Old) {
	if s.pullEnded(o) {
		c.change(s)
	}
}

func (s *slot) pullEnded(o store.Old) bool {
	before := len(s.Pulls)
	s.Pulls = slices.DeleteFunc(s.Pulls, func(p store.Pull) bool { return p.Old == o })
	return len(s.Pulls) < before
}

// listed is a container in one of several lists.
type listed struct {
	at time.Time
	nodelink.Container
}

// listWindow is more than the period of 2 s in which an agent sends the list of
// each of its runtimes, and less than two.
const listWindow = 3 * time.Second

// listed is what a report says the node holds. An original agent with several
// runtimes sends a list for each, and says not of which when it is empty: what
// one of them held lately is there.
func (c *core) listed(n *node, r *nodelink.NodeReport) []nodelink.Container {
	if !n.Original || !r.ContainersOnly || wireRuntimes(n.Runtimes) < 2 {
		return r.Containers
	}
	if n.lists == nil {
		n.lists = map[string]listed{}
	}
	for _, k := range r.Containers {
		n.lists[listKey(k.JobName, k.Number)] = listed{c.now, k}
	}
	var out []nodelink.Container
	for key, v := range n.lists {
		if c.now.Sub(v.at) > listWindow {
			delete(n.lists, key)
			continue
		}
		out = append(out, v.Container)
	}
	slices.SortFunc(out, func(a, b nodelink.Container) int {
		return cmp.Or(cmp.Compare(a.JobName, b.JobName), cmp.Compare(a.Number, b.Number))
	})
	return out
}

func listKey(job string, number int) string { return fmt.Sprintf("%s/%d", job, number) }

// anyDisk stands for the disk of an original agent, which does not say how large
// it is: what a service asks of it is not checked there, as it never was.
const anyDisk = 1 << 30 // MiB

// offered is what a node has to give.
func offered(n *node) model.Resources {
	r := n.Capacity
	if n.Original && r.DiskMB == 0 {
		r.DiskMB = anyDisk
	}
	return r
}

// networked notes that an original node has a NetManager: its NodeEngine
// registers before it knows, and never says so later.
func (c *core) networked(n *node) {
	if !n.Original || n.Network {
		return
	}
	n.Network, n.Networked = true, true
	c.dirtyNodes[n.ID] = true
	c.tellNode(n)
	c.wakeRefused()
	c.f.log.Info("worker has a NetManager", "node", n.ID)
}

// wireRuntimes counts what the agent itself named: "container" was added to its
// "docker".
func wireRuntimes(list []string) int {
	n := 0
	for _, r := range list {
		if r != "container" {
			n++
		}
	}
	return n
}
