package fleet

import (
	"context"

	"oakestra/cluster/store"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// Explain runs the placement of one more instance of a service without placing
// it. It scans all workers. Error: errs.Unavailable when stopping.
func (f *Fleet) Explain(ctx context.Context, q Question) (Explanation, error) {
	return ask(ctx, f, func(c *core) Explanation { return c.explain(q) })
}

func (c *core) explain(q Question) Explanation {
	r := request(&slot{Want: Want{Slot: store.Slot{Instance: model.InstanceID{Service: q.Service.ID}, Service: q.Service}}})
	verdicts := c.index.Explain(r)
	out := Explanation{Workers: len(verdicts)}
	out.Reasons, out.Qualify = placement.Tally(verdicts)
	if out.Qualify > 0 {
		if choice, err := c.index.Place(r); err == nil {
			out.Node = model.NodeID(choice.ID)
		}
	}
	for _, v := range verdicts[:min(max(q.Most, 0), len(verdicts))] {
		j := Judged{Node: model.NodeID(v.ID), Reason: v.Reason}
		if n := c.nodes[j.Node]; n != nil {
			j.Host = n.Host
		}
		out.Judged = append(out.Judged, j)
	}
	return out
}
