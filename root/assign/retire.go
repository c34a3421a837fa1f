package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/events"
	"oakestra/root/store"
)

// RemoveCluster forgets a cluster that is away. Its blocks of subnets are free
// again; slots it was given want another cluster, and slots that it should
// have removed are over. Its containers are not touched: should it come back
// it is a new cluster, and what it holds is adopted unless it runs elsewhere.
// Errors: NotFound, Conflict while it is connected, and without force while it
// has slots (the error names them), Unavailable in recovery.
func (d *Desk) RemoveCluster(ctx context.Context, id model.ClusterID, force bool) ([]model.InstanceID, error) {
	return call(ctx, d, func(s *state) ([]model.InstanceID, error) {
		// Whoever asked may go away; half a removal helps nobody.
		ctx := context.WithoutCancel(ctx)
		c, known := s.clusters[id]
		switch {
		case s.recovery:
			return nil, fmt.Errorf("the root is in recovery and removes nothing: %w", errs.Unavailable)
		case !known:
			return nil, fmt.Errorf("cluster %q: %w", id, errs.NotFound)
		case d.deps.Book.Connected(id):
			return nil, fmt.Errorf("cluster %s is connected; stop its cluster manager first: %w", c.Name, errs.Conflict)
		}
		list := s.given(id)
		if len(list) > 0 && !force {
			return nil, fmt.Errorf("cluster %s was given %d instances, which would go on there without anybody in charge while replacements start elsewhere: %s; remove them, or force it (?force=true): %w",
				c.Name, len(list), d.named(list), errs.Conflict)
		}
		return list, d.retireCluster(ctx, s, c, list)
	})
}

// given lists the slots a cluster was given, tombstones left out.
func (s *state) given(id model.ClusterID) []model.InstanceID {
	var list []model.InstanceID
	for _, in := range s.instances {
		if in.Cluster == id && !in.Tombstone {
			list = append(list, in.ID)
		}
	}
	slices.SortFunc(list, compareID)
	return list
}

// named lists slots by the names of their services, the first few.
func (d *Desk) named(list []model.InstanceID) string {
	const most = 10
	var out []string
	for _, id := range list[:min(most, len(list))] {
		name := string(id.Service)
		if svc, ok := d.Service(id.Service); ok {
			name = svc.Name.String()
		}
		out = append(out, fmt.Sprintf("%s/%d", name, id.Number))
	}
	if len(list) > most {
		out = append(out, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(out, ", ")
}

// retireCluster frees what a cluster has, then forgets it: when it stops half
// way, doing it again finishes it.
func (d *Desk) retireCluster(ctx context.Context, s *state, c store.Cluster, list []model.InstanceID) error {
	for _, id := range list {
		stored, err := d.deps.Store.Instances().Update(ctx, id, func(in store.Instance) (store.Instance, error) {
			in.Cluster, in.Grant = "", 0
			return in, nil
		})
		if errors.Is(err, errs.NotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("free instance %s of cluster %s: %w", id, c.Name, err)
		}
		s.index.Release(id.String())
		delete(s.refusing, id)
		s.put(stored)
	}
	for _, p := range slices.Clone(s.blocks.Of(c.ID)) {
		if err := d.deps.Store.Blocks().Return(ctx, p); err != nil {
			return fmt.Errorf("return block %s of cluster %s: %w", p, c.Name, err)
		}
		s.blocks.Return(p)
	}
	if err := d.deps.Store.Clusters().Delete(ctx, c.ID); err != nil && !errors.Is(err, errs.NotFound) {
		return fmt.Errorf("delete cluster %s: %w", c.Name, err)
	}
	delete(s.clusters, c.ID)
	delete(s.rooms, c.ID)
	delete(s.settle, c.ID)
	delete(s.held, c.ID)
	delete(s.applicants, c.ID)
	s.index.Apply(placement.Delta{Remove: []string{string(c.ID)}})
	d.remember(ctx, s)
	d.log.Warn("cluster removed", "cluster", c.Name, "id", c.ID, "instances", len(list))
	d.deps.Events.Record(events.OfCluster(c.ID, c.Name).Say(events.Warning, "Removed", "%d instances lost their cluster", len(list)))
	d.endTombstones(ctx, s, c.ID)
	d.ring()
	return nil
}

// endTombstones finishes slots that only a removed cluster had to remove.
func (d *Desk) endTombstones(ctx context.Context, s *state, id model.ClusterID) {
	w := &work{}
	for _, key := range slices.SortedFunc(maps.Keys(s.instances), compareID) {
		in := s.instances[key]
		delete(in.former, id)
		d.offers(in, id)
		if in.Cluster == id && in.Tombstone {
			in.gone = true
		}
		if in.Tombstone && in.over() {
			w.finished = append(w.finished, in)
		}
	}
	d.commit(ctx, s, w)
}

var _ Book = (*clusters.Book)(nil)
