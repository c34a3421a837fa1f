package tables

import (
	"strings"
	"time"

	"oakestra/pkg/core/model"
)

// usedAbroad says whether every other cluster whose workers talk to a service
// uses the slice as it is after what was just changed. Until the slice is sent
// the answer is no.
func (p *plane) usedAbroad(service model.ServiceID) func() bool {
	var want uint64
	return func() bool {
		if want == 0 {
			if _, unsent := p.outward[service]; unsent {
				return false
			}
			want = p.slices[service].version
		}
		for _, t := range p.talkers[service] {
			cluster, _, _ := strings.Cut(string(t.Node), "/")
			if p.applied[service][model.ClusterID(cluster)] < want {
				return false
			}
		}
		return true
	}
}

// sliceApplied notes how far another cluster is.
func (p *plane) sliceApplied(service model.ServiceID, by model.ClusterID, version uint64) {
	if len(p.hosts.by[service]) == 0 && len(p.talkers[service]) == 0 {
		return
	}
	if p.applied[service] == nil {
		p.applied[service] = map[model.ClusterID]uint64{}
	}
	p.applied[service][by] = max(version, p.applied[service][by])
}

// tellApplied tells the hosts of a service elsewhere once the workers here
// balance by the table that has just come.
func (p *plane) tellApplied(t RootTable, now time.Time) {
	versions := map[model.ClusterID]uint64{}
	for _, sl := range t.Slices {
		if !sl.Stale { // else nobody is there to hear it
			versions[sl.Cluster] = sl.Version
		}
	}
	if len(versions) == 0 {
		return
	}
	p.waits = append(p.waits, &wait{
		deadline: now.Add(leaveWait),
		done:     func(time.Time) { p.deps.Uplink.SendApplied(t.Service, versions) },
		who:      func() set[model.NodeID] { return p.balancers(t.Service) },
	})
}
