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
	gatherFor  = 4 * time.Second
	gatherStep = 250 * time.Millisecond
)

// gathering says that it is too soon after the start to place something.
func (c *core) gathering() bool {
	if c.now.Sub(c.started) >= gatherFor {
		return false
	}
	for _, n := range c.nodes {
		if n.live == instance.Unseen {
			return true
		}
	}
	return false
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
	return instance.Alive, suspect
}

// brake decides whether losing so many nodes within one window means that it
// is rather us who cannot hear.
func brake(lost, all int) bool { return lost > max(3, all*30/100) }
