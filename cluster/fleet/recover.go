package fleet

import (
	"slices"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
)

// recoverFor is how long after its start a manager with an empty book leaves
// slots unplaced that the root says it has: workers that still run them come
// within this time and say so.
const recoverFor = 20 * time.Second

// recovers begins with a slot that an earlier life of the book may have placed
// already. It is taken up where a worker reports it; one that nobody reports
// in time is placed.
func (c *core) recovers(s *slot) {
	s.Recovering, s.RetryAt = true, c.started.Add(recoverFor)
	for _, n := range c.nodes {
		for _, v := range slices.Clone(n.seen[s.Instance]) {
			c.takeUp(n, s, instance.Observed{Epoch: v.Epoch, State: v.State})
		}
	}
}

// foreign says that an attempt was made under the present grant, but not by
// this book: it is empty, or an older copy.
func foreign(s *slot, e instance.Epoch) bool {
	return !s.Tombstone && e.Grant == s.Grant && e.Try > s.LastTry
}

// takeUp makes an attempt the current one that this book did not make, unless
// one of its own runs already: then it is one too many.
func (c *core) takeUp(n *node, s *slot, o instance.Observed) {
	if !foreign(s, o.Epoch) {
		return
	}
	s.LastTry, s.Recovering = o.Epoch.Try, false
	if s.Observed.State == instance.Running || o.State.Terminal() {
		c.change(s)
		return
	}
	c.giveUp(s)
	c.fresh(s)
	s.Placement = instance.Placement{Try: o.Epoch.Try}
	s.Handoff, s.HandingOver = store.Old{}, false
	c.settleOn(s, n.ID)
	c.f.log.Info("slot", "instance", s.Instance, "action", "taken up", "node", n.ID, "epoch", o.Epoch)
	c.observed(n, s, o)
}

// firstTry is the first of a slot's tries. Those of an earlier life of the
// book are not known: counting from the clock, none is used twice.
func (c *core) firstTry(s *slot) uint32 {
	if !s.Recovering {
		return s.LastTry + 1
	}
	s.Recovering = false
	return max(s.LastTry+1, uint32(c.now.Unix()))
}
