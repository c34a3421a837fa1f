package assign

import (
	"maps"
	"slices"
	"time"

	"oakestra/pkg/core/model"
)

// failedFor is how long a cluster that could not start a slot is not asked
// again, unless the slot has run meanwhile: what cannot be started anywhere
// must not be passed around without end.
const failedFor = 10 * time.Minute

// failing is that no worker of a cluster could start a revision of a service.
type failing struct {
	at       time.Time
	revision uint64
}

// failedBy notes that no worker of a cluster could start the slot.
func (in *slot) failedBy(id model.ClusterID, now time.Time) {
	if in.failed == nil {
		in.failed = map[model.ClusterID]failing{}
	}
	in.failed[id] = failing{now, in.Service.Revision}
}

// forgive lets clusters be asked again that failed long ago.
func (in *slot) forgive(now time.Time) {
	maps.DeleteFunc(in.failed, func(_ model.ClusterID, v failing) bool { return now.Sub(v.at) >= failedFor })
}

// barredFrom lists the clusters that are not asked to run a revision.
func (in *slot) barredFrom(revision uint64) []string {
	out := in.refused.of(revision)
	for id, v := range in.failed {
		if v.revision == revision && !slices.Contains(out, string(id)) {
			out = append(out, string(id))
		}
	}
	return out
}
