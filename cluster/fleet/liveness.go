package fleet

import (
	"time"

	"oakestra/pkg/core/instance"
)

const (
	// agentPatience is how long an agent keeps a connection that is silent.
	agentPatience = 10 * time.Second
	// returnWithin is what agents that lost us, or the broker, have on top of
	// the usual time: they try again at growing intervals.
	returnWithin = 10 * time.Second
)

const (
	// gatherFor is how long after its start a manager places nothing while
	// workers it knows have not been heard: all would go to the first.
	gatherFor  = 5 * time.Second
	gatherStep = 250 * time.Millisecond
)

// gathering says that it is too soon after the start to place something.
func (c *core) gathering() bool {
	return len(c.where.unheard) > 0 && c.now.Sub(c.started) < gatherFor
}

// callRoll ends what a start gave to those that are still away once nine of ten
// workers are back. That time is for agents that all wait for their next try,
// and these would come one by one: who is missing now is not waiting.
func (c *core) callRoll() {
	known := len(c.nodes) - c.dead
	if c.called || len(c.where.unheard)*10 > known {
		return
	}
	c.called = true
	for id := range c.where.unheard {
		if n := c.nodes[id]; n != nil && n.Base.After(c.now) {
			n.Base = c.now
			c.liveness(n)
		}
	}
}

// rootBeats is within what a root that can be reached is heard.
const rootBeats = 7 * time.Second

// alone says that nobody is heard, no worker and not the root: it is rather us
// who are cut off. Nothing is replaced then, for a while.
func (c *core) alone() bool {
	if len(c.nodes) < 2 || c.f.deps.RootHeard == nil || c.now.Sub(c.f.deps.RootHeard()) < rootBeats {
		return false
	}
	silence := c.now.Sub(c.heard)
	return silence >= c.f.cfg.LostAfter/2 && silence < c.f.cfg.BrakeFor
}

// sign notes a sign of life. Whoever is first after we were alone must not
// get what the others have, who may follow in a moment.
func (c *core) sign(n *node, at *time.Time) {
	if c.lonely {
		c.lonely, c.brakeUntil, c.roomMoved = false, later(c.brakeUntil, c.now.Add(returnWithin)), true
		c.f.log.Warn("nobody was heard, and now someone is: nothing is replaced until the others had time to return", "node", n.ID, "silence", c.now.Sub(c.heard))
	}
	*at, c.heard = c.now, c.now
}

// witness is what two agents have shown of a node.
type witness struct {
	Engine, Net time.Time // last sign of each since start, zero: none
	Base        time.Time // silence before it proves nothing
	Networked   bool
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// judge says what the silence of both agents means, and when to look again.
func judge(w witness, c Config, now time.Time) (instance.Liveness, time.Time) {
	engine := later(w.Engine, w.Base)
	any := later(engine, w.Net)
	limit := any.Add(c.LostAfter)
	if w.Networked && w.Net.After(engine) {
		if l := engine.Add(c.AgentLostAfter); l.Before(limit) {
			limit = l
		}
	}
	suspect := any.Add(c.LostAfter / 2)
	switch {
	case !now.Before(limit):
		return instance.Lost, time.Time{}
	case !now.Before(suspect):
		return instance.Suspect, limit
	case w.Engine.IsZero() && w.Net.IsZero():
		return instance.Unseen, suspect
	}
	if limit.Before(suspect) {
		return instance.Alive, limit
	}
	return instance.Alive, suspect
}

// brake decides whether losing so many nodes within one window means that it
// is rather us who cannot hear.
func brake(lost, all int) bool { return lost > max(3, all*30/100) }
