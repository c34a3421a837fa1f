package assign

import (
	"context"
	"slices"

	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/root/control"
)

// mostDry bounds the waiting instances that a dry run looks at.
const mostDry = 20

// DryRun runs the placement of one more instance of a service, and of those
// that wait, without placing anything. Error: Unavailable when the loop has
// ended.
func (d *Desk) DryRun(ctx context.Context, svc model.Service) (control.DryRun, error) {
	return call(ctx, d, func(s *state) (control.DryRun, error) {
		out := control.DryRun{OneMore: s.judgeAll(request(&slot{}, svc))}
		var waiting []*slot
		for k, in := range s.of[svc.ID] {
			if !in.Tombstone && (s.waiting[k] || s.refusing[k]) {
				waiting = append(waiting, in)
			}
		}
		out.Total = len(waiting)
		slices.SortFunc(waiting, func(a, b *slot) int { return compareID(a.ID, b.ID) })
		for _, in := range waiting[:min(mostDry, len(waiting))] {
			w := control.WaitingRun{Instance: in.Instance}
			if in.Cluster == "" { // it has no revision of its own yet
				w.Service = svc
			}
			w.Verdicts = s.judgeAll(request(in, w.Service))
			in.refused.explain(w.Clusters)
			out.Waiting = append(out.Waiting, w)
		}
		return out, nil
	})
}

func (s *state) judgeAll(r placement.Request) control.Verdicts {
	var out control.Verdicts
	if choice, err := s.index.Place(r); err == nil {
		out.Choice = model.ClusterID(choice.ID)
	}
	for _, v := range s.index.Explain(r) {
		out.Clusters = append(out.Clusters, control.Verdict{Cluster: model.ClusterID(v.ID), Reason: v.Reason})
	}
	return out
}
