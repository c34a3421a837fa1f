package assign

import (
	"maps"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/clusters"
)

const (
	// lossAfter is how long a cluster is away before what it was given is given
	// to others, where the service says "on_cluster_loss": "replace".
	lossAfter = time.Minute
	// asleep is a gap between two passes that means that this process stood
	// still: then nobody was silent, it could not hear.
	asleep = 5 * time.Second
)

// loss is what the loop knows of clusters that are away.
type loss struct {
	since  map[model.ClusterID]time.Time
	passed time.Time // the last pass
	next   time.Time // look for places again
}

// lost lists clusters that are away for too long. After a start, and after
// this process stood still, everybody has all the time again.
func (d *Desk) lost(s *state) map[model.ClusterID]bool {
	now, l := d.now(), &s.loss
	if l.since == nil || now.Sub(l.passed) > asleep {
		l.since = map[model.ClusterID]time.Time{}
	}
	l.passed = now
	out := map[model.ClusterID]bool{}
	for id := range s.clusters {
		if d.deps.Book.Active(id) {
			delete(l.since, id)
			continue
		}
		at, away := l.since[id]
		if !away {
			l.since[id] = now
			continue
		}
		if now.Sub(at) >= lossAfter {
			out[id] = true
		}
	}
	return out
}

// replaceLost gives what lost clusters were given to others, under a higher
// grant: should one come back, what it runs is stopped once that runs. What
// fits nowhere stays and is looked at again.
func (d *Desk) replaceLost(s *state, w *work) {
	lost := d.lost(s)
	if len(lost) == 0 || d.now().Before(s.loss.next) {
		return
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.instances), compareID) {
		in := s.instances[id]
		if !lost[in.Cluster] || in.Tombstone || in.moving || !d.replaceable(s, in) {
			continue
		}
		r := request(in, in.Service) // its own revision: only a rollout changes that
		choice, err := s.index.Place(r)
		if err != nil {
			continue
		}
		d.log.Warn("the cluster of an instance is lost", "instance", id.String(), "cluster", s.clusters[in.Cluster].Name)
		if w.give(s, in, in.Service, choice, r); w.len() >= atOnce {
			d.ring()
			return
		}
	}
	s.loss.next = d.now().Add(retry)
}

// replaceable says that a service wants what is lost to run elsewhere. A
// one-shot that completed is not lost.
func (d *Desk) replaceable(s *state, in *slot) bool {
	svc, known := s.services[in.ID.Service]
	if !known || svc.Spec.OnClusterLoss != "replace" {
		return false
	}
	f, heard := d.deps.Book.Reports(in.ID)[in.Cluster]
	return !heard || f.Grant != in.Grant || f.Observed.State != instance.Completed
}

// serves says that a cluster may run a slot that it is about to lose: it has not
// refused it, or goes on with what it had before. One that has just started
// does not know yet what its workers run.
func serves(f clusters.Facts) bool {
	return f.Placement.Verdict != instance.Refused || f.Observed.State == instance.Running
}

// hasRun says that an assignment runs, or has done what it was to do.
func hasRun(f clusters.Facts, g instance.Grant) bool {
	return f.Grant == g && f.Observed.Epoch.Grant == g && (f.Observed.State == instance.Running || f.Observed.State == instance.Completed)
}
