package assign

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/events"
)

const (
	// orphanAfter is how long something has to be unexplained before anybody is
	// told: after a start, clusters report before they have heard every order.
	orphanAfter = 10 * time.Second
	// orphanMemory is how long one is remembered that is not listed any more: a
	// cluster manager that starts again lists none until its workers have
	// reported.
	orphanMemory = 10 * time.Minute
)

// strays is what the loop remembers of containers without a record.
type strays struct {
	told   map[control.OrphanKey]time.Time // of whom an event told, and when they were listed last
	ending map[control.OrphanKey]bool      // held by a cluster, and ordered to be removed
}

// keep forgets what is not listed any more.
func (s *strays) keep(list []control.UnknownView, now time.Time) {
	listed := map[control.OrphanKey]bool{}
	for _, u := range list {
		key := u.Key()
		listed[key] = true
		if _, told := s.told[key]; told {
			s.told[key] = now
		}
	}
	for key, last := range s.told {
		if now.Sub(last) > orphanMemory {
			delete(s.told, key)
		}
	}
	for key := range s.ending {
		if !listed[key] {
			delete(s.ending, key)
		}
	}
}

// tellOrphan makes one event of a container that is left running.
func (d *Desk) tellOrphan(s *state, u control.UnknownView) {
	key, now := u.Key(), d.now()
	if _, told := s.strays.told[key]; told || now.Sub(u.Since) < orphanAfter {
		return
	}
	if s.strays.told == nil {
		s.strays.told = map[control.OrphanKey]time.Time{}
	}
	s.strays.told[key] = now
	name := s.clusters[u.Cluster].Name
	e := events.OfCluster(u.Cluster, name)
	if u.Node != "" {
		e = events.OfNode(u.Cluster, name, u.Node)
	}
	d.log.Warn("a container runs without a record", "instance", u.Instance.String(), "name", u.ServiceName, "epoch", u.Epoch.String(), "cluster", name, "node", u.Node)
	d.deps.Events.Record(e.Say(events.Warning, "OrphanFound", "%s/%d (epoch %s) runs without a record; oak orphans says why, oak orphan rm removes it",
		cmp.Or(u.ServiceName, string(u.Instance.Service)), u.Instance.Number, u.Epoch))
}

// EndHeld removes what a cluster runs under an order that this root has no
// record of: its tombstone goes out now, and again until nothing is left.
// Errors: Unavailable in recovery and while the cluster is away, Conflict when
// there is a record by now, or the cluster runs something newer.
func (d *Desk) EndHeld(ctx context.Context, u control.UnknownView) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		_, known := s.instances[u.Instance]
		f, held := d.deps.Book.Reports(u.Instance)[u.Cluster]
		name := s.clusters[u.Cluster].Name
		now := instance.Epoch{Grant: f.Grant, Try: f.Placement.Try}
		switch {
		case s.recovery:
			return struct{}{}, fmt.Errorf("the root is in recovery and removes nothing: %w", errs.Unavailable)
		case known:
			return struct{}{}, fmt.Errorf("instance %s has a record by now: %w", u.Instance, errs.Conflict)
		case !held:
			return struct{}{}, fmt.Errorf("cluster %s holds no instance %s: %w", name, u.Instance, errs.NotFound)
		case now != u.Epoch:
			return struct{}{}, fmt.Errorf("cluster %s runs instance %s under epoch %s by now, not %s: list again: %w", name, u.Instance, now, u.Epoch, errs.Conflict)
		case !d.deps.Book.Active(u.Cluster):
			return struct{}{}, fmt.Errorf("cluster %s is not connected; only it can remove what it holds, try again when it is back: %w", name, errs.Unavailable)
		}
		if s.strays.ending == nil {
			s.strays.ending = map[control.OrphanKey]bool{}
		}
		s.strays.ending[u.Key()] = true
		w := &work{}
		d.endStray(u, unrecorded(u), w)
		d.announce(w.orders)
		return struct{}{}, nil
	})
	return err
}
