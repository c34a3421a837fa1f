package assign

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/root/control"
)

// refusedBefore is the reason of placement against a cluster that has refused.
const refusedBefore = "refused"

// refusals are what clusters have against a slot. It is shared with readers
// outside the loop: replaced, never written to.
type refusals struct {
	revision uint64 // of the service that they were asked to run
	by       map[model.ClusterID][]instance.Reason
	others   []instance.Reason // against the clusters that were not asked
}

// with returns the same and what one cluster says of a revision.
func (r *refusals) with(id model.ClusterID, revision uint64, why []instance.Reason) *refusals {
	out := &refusals{revision: revision, by: map[model.ClusterID][]instance.Reason{}}
	if r != nil && r.revision == revision { // what is said of another one means nothing
		maps.Copy(out.by, r.by)
		out.others = r.others
	}
	out.by[id] = why
	return out
}

// without returns the same less what one cluster says, nil for nothing.
func (r *refusals) without(id model.ClusterID) *refusals {
	if r == nil {
		return nil
	}
	if _, refuses := r.by[id]; !refuses {
		return r
	}
	if len(r.by) == 1 {
		return nil
	}
	out := &refusals{revision: r.revision, by: maps.Clone(r.by), others: r.others}
	delete(out.by, id)
	return out
}

// of lists the clusters that refuse a revision.
func (r *refusals) of(revision uint64) []string {
	if r == nil || r.revision != revision {
		return nil
	}
	out := make([]string, 0, len(r.by))
	for id := range r.by {
		out = append(out, string(id))
	}
	return out
}

// explain adds to the verdicts on clusters that have refused what they said.
func (r *refusals) explain(list []control.Verdict) {
	if r == nil {
		return
	}
	for i, v := range list {
		why := r.by[v.Cluster]
		if v.Reason == nil || v.Reason.Name != refusedBefore || len(why) == 0 {
			continue
		}
		said := *v.Reason
		said.Detail += ": " + placement.Sentence(why)
		list[i].Reason = &said
	}
}

// refuses notes that a cluster cannot take a slot, for this revision and until
// it has more room.
func (d *Desk) refuses(in *slot, from model.ClusterID, why []instance.Reason) {
	d.setRefused(in, in.refused.with(from, in.Service.Revision, why))
}

// offers has a cluster asked again.
func (d *Desk) offers(in *slot, id model.ClusterID) { d.setRefused(in, in.refused.without(id)) }

// barred notes why none of the clusters that were not asked is asked, those left
// out that the user ruled out.
func (d *Desk) barred(in *slot, err error) {
	var refusal *placement.Refusal
	if in.refused == nil || !errors.As(err, &refusal) {
		return
	}
	others := slices.Clone(refusal.Reasons)
	others = slices.DeleteFunc(others, func(r instance.Reason) bool { return r.Name == refusedBefore || r.Name == "constraint" })
	if !slices.Equal(others, in.refused.others) {
		d.setRefused(in, &refusals{revision: in.refused.revision, by: in.refused.by, others: others})
	}
}

func (d *Desk) setRefused(in *slot, r *refusals) {
	if in.refused == r {
		return
	}
	in.refused = r
	d.resolve.refuse(in.ID, r)
}

// refuse enters what clusters have against a slot.
func (r *resolver) refuse(id model.InstanceID, why *refusals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == nil {
		delete(r.refused, id)
		return
	}
	r.refused[id] = why
}

// Refusals says what clusters have against a slot, see control.Below.
func (d *Desk) Refusals(id model.InstanceID) []control.Refusal {
	d.resolve.mu.RLock()
	r := d.resolve.refused[id]
	d.resolve.mu.RUnlock()
	if r == nil {
		return nil
	}
	var out []control.Refusal
	for c, why := range r.by {
		out = append(out, control.Refusal{Cluster: c, Reasons: why})
	}
	slices.SortFunc(out, func(a, b control.Refusal) int { return cmp.Compare(a.Cluster, b.Cluster) })
	if len(r.others) > 0 {
		out = append(out, control.Refusal{Reasons: r.others})
	}
	return out
}
