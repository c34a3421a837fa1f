package fleet

import (
	"context"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
)

// Count is the fleet in figures, for metrics.
type Count struct {
	Nodes     map[string]int    // by liveness, every one of them
	Instances map[string]int    // by the word a user sees
	Refused   map[string]int    // instances that wait, by reason
	Orphans   int               // containers that nothing explains
	Reports   map[string]uint64 // messages of known workers since start, by kind
}

// Kinds of messages, as kindOf numbers them; words of liveness in the order of its values.
var (
	messages = []string{"report", "change", "gone", "network"}
	liveness = [...]string{"unseen", "alive", "suspect", "lost"}
)

// Count asks the loop.
func (f *Fleet) Count(ctx context.Context) (Count, error) { return ask(ctx, f, (*core).count) }

func (c *core) count() Count {
	out := Count{Nodes: map[string]int{}, Instances: map[string]int{}, Refused: map[string]int{}, Reports: map[string]uint64{}}
	for _, word := range liveness {
		out.Nodes[word] = 0
	}
	for _, n := range c.nodes {
		out.Nodes[liveness[n.live]]++
		out.Orphans += len(n.orphans)
	}
	for _, s := range c.slots {
		f := c.facts(s)
		out.Instances[string(instance.Status(instance.Facts{Grant: f.Grant, Placement: f.Placement, Observed: f.Observed, Node: f.Node}))]++
		if f.Placement.Verdict != instance.Refused {
			continue
		}
		for _, r := range f.Placement.Reasons {
			out.Refused[r.Name]++
		}
	}
	for i, kind := range messages {
		out.Reports[kind] = c.messages[i]
	}
	return out
}

// kindOf is the place in messages.
func kindOf(in nodelink.Inbound) int {
	switch {
	case in.Report != nil:
		return 0
	case in.Change != nil:
		return 1
	case in.Gone != nil:
		return 2
	}
	return 3
}
