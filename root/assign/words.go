package assign

import (
	"context"

	"oakestra/pkg/core/instance"
)

// Words counts wanted instances by the status that users see; nil while the
// desk does not answer.
func (d *Desk) Words(ctx context.Context) map[string]int {
	out, err := call(ctx, d, func(s *state) (map[string]int, error) {
		out := map[string]int{}
		for _, in := range s.instances {
			if in.Tombstone {
				continue
			}
			f := d.deps.Book.Reports(in.ID)[in.Cluster]
			facts := instance.Facts{Grant: in.Grant, Unplaced: in.waits.word}
			if f.Grant == in.Grant {
				facts.Placement, facts.Observed, facts.Node = f.Placement, f.Observed, f.Node
			}
			out[string(instance.Status(facts))]++
		}
		return out, nil
	})
	if err != nil {
		return nil // a scrape shows what it can
	}
	return out
}
