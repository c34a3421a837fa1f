package fleet

import (
	"context"
	"fmt"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Two machines with one key, copies of one disk, are told apart by the start of
// their agent, since they may have one address: behind a gateway all have.

const (
	// rivalHeard is within what the start of an agent that has a record was
	// heard for it to be asked whether it is gone: more than two reports.
	rivalHeard = 5 * time.Second
	// rivalWait is how long it has to answer: it reports at once when it is
	// probed, and each 2 s anyway.
	rivalWait = 2 * time.Second
)

// rival is the start of an agent that has the record which a registration of
// another start would take over.
type rival struct {
	node    model.NodeID
	boot    string
	answers chan struct{} // closed when it is heard
}

// wait returns once the rival has been silent for long enough. Errors:
// errs.Conflict when it lives.
func (v *rival) wait(ctx context.Context) error {
	limit := time.NewTimer(rivalWait)
	defer limit.Stop()
	select {
	case <-v.answers:
		return fmt.Errorf("the key of worker %s is in use; a copy of its disk must join as a new worker: %w", v.node, errs.Conflict)
	case <-limit.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), errs.Unavailable)
	}
}

// rival asks the start that has the record of a registration whether it is
// there, if it was heard a moment ago. silent is one that has not answered. An
// agent that was started again does not speak for the one before, so that it
// has its id back after one wait.
func (c *core) rival(r Registration, silent *rival) *rival {
	if r.Key == "" || r.Boot == "" {
		return nil
	}
	for _, id := range c.where.hosts[r.Host] {
		n := c.nodes[id]
		if n.Key != r.Key || n.boot == "" || n.boot == r.Boot || c.now.Sub(n.bootAt) >= rivalHeard {
			continue
		}
		if silent != nil && silent.node == id && silent.boot == n.boot && !silent.heard() {
			continue
		}
		v := &rival{node: id, boot: n.boot, answers: make(chan struct{})}
		n.asked = append(n.asked, v)
		c.send(id, probe())
		return v
	}
	return nil
}

func (v *rival) heard() bool {
	select {
	case <-v.answers:
		return true
	default:
		return false
	}
}

// lives answers who asked for the present start of the agent.
func (n *node) lives(now time.Time) {
	n.bootAt = now
	for _, v := range n.asked {
		close(v.answers)
	}
	n.asked = nil
}
