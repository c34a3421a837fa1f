package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/store"
	"oakestra/root/witness"
)

// settleIncarnation compares store and witness:
//
//	store     witness            meaning
//	empty     none               a fresh install
//	empty     there              the store is lost: recovery
//	older     newer              an old copy was restored: recovery
//	same      same, or none      nothing happened
func (d *Desk) settleIncarnation(ctx context.Context, s *state) error {
	meta := d.deps.Store.Meta()
	stored, err := meta.Incarnation(ctx)
	if err != nil {
		return err
	}
	if s.recovery, err = meta.Recovery(ctx); err != nil {
		return err
	}
	known := d.deps.Witness.Record()
	s.incarnation = stored
	if lost := known.Incarnation > stored; stored == 0 || lost {
		s.incarnation = max(uint32(d.now().Unix()), known.Incarnation+1)
		if lost {
			s.recovery = true
			if err := meta.SetRecovery(ctx, true); err != nil {
				return err
			}
			d.log.Warn("the store is lost or older than this root remembers: in recovery until the clusters have reported",
				"stored_incarnation", stored, "remembered_incarnation", known.Incarnation, "clusters", len(known.Clusters))
		}
		if err := meta.SetIncarnation(ctx, s.incarnation); err != nil {
			return err
		}
	}
	return d.recallClusters(ctx, s, known)
}

// recallClusters enters the clusters the witness knows into a store that lost
// them, so that they keep their ids, and awaits them.
func (d *Desk) recallClusters(ctx context.Context, s *state, known witness.Record) error {
	if !s.recovery {
		return nil
	}
	for _, c := range known.Clusters {
		id := model.ClusterID(c.ID)
		s.awaited[id] = true
		if _, err := d.deps.Store.Clusters().Get(ctx, id); err == nil {
			continue
		}
		record := store.Cluster{Cluster: model.Cluster{ID: id, Name: c.Name}, KeyHash: c.KeyHash, CreatedAt: d.now()}
		if err := d.deps.Store.Clusters().Put(ctx, record); err != nil {
			return err
		}
	}
	if len(s.awaited) == 0 {
		s.recovery = false
		return d.deps.Store.Meta().SetRecovery(ctx, false)
	}
	return nil
}

// raise makes the incarnation higher than one a cluster has seen: a root that
// lost even its witness must not issue old grants again.
func (d *Desk) raise(ctx context.Context, s *state, seen uint32) error {
	if seen <= s.incarnation {
		return nil
	}
	next := max(uint32(d.now().Unix()), seen+1)
	if err := d.deps.Store.Meta().SetIncarnation(ctx, next); err != nil {
		return fmt.Errorf("raise the incarnation to %d: %w", next, err)
	}
	s.incarnation = next
	d.remember(ctx, s)
	return nil
}

// remember writes the witness file when something in it changed.
func (d *Desk) remember(ctx context.Context, s *state) {
	r := witness.Record{Incarnation: s.incarnation, Clusters: []witness.Cluster{}, AdminHash: d.deps.Witness.Record().AdminHash}
	for _, id := range slices.Sorted(maps.Keys(s.clusters)) {
		c := s.clusters[id]
		r.Clusters = append(r.Clusters, witness.Cluster{ID: string(id), Name: c.Name, KeyHash: c.KeyHash})
	}
	// Only a password somebody chose is worth keeping.
	if admin, err := d.deps.Store.Users().Get(ctx, "Admin"); err == nil && !admin.MustChangePassword {
		r.AdminHash = admin.PasswordHash
	}
	if err := d.deps.Witness.Save(r); err != nil {
		d.log.Error("remember what the store must not lose", "error", err)
	}
}

// Adopt takes in what a cluster holds: applications, services, slots,
// addresses and blocks, under the ids and grants they have. What the store
// knows better (a higher grant, a tombstone) stays.
func (d *Desk) Adopt(ctx context.Context, id model.ClusterID, c clusters.Claims) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		var none struct{}
		if err := d.adopt(ctx, s, id, c); err != nil {
			return none, fmt.Errorf("adopt what cluster %s holds: %w", id, err)
		}
		delete(s.awaited, id)
		if s.recovery && len(s.awaited) == 0 {
			if err := d.endRecovery(ctx, s); err != nil {
				return none, err
			}
		}
		return none, d.load(ctx, s)
	})
	return err
}

func (d *Desk) adopt(ctx context.Context, s *state, id model.ClusterID, c clusters.Claims) error {
	if err := d.claimBlocks(ctx, s, id, c.Blocks); err != nil {
		return err
	}
	newest := map[model.ServiceID]model.Service{}
	for _, in := range c.Orders {
		if have, ok := newest[in.ID.Service]; !ok || in.Service.Revision > have.Revision {
			in.Service.NextNumber = max(in.Service.NextNumber, have.NextNumber)
			newest[in.ID.Service] = in.Service
		}
	}
	// A service of which only tombstones are left was deleted: it must not
	// come back to life.
	alive := map[model.ServiceID]bool{}
	for _, in := range c.Orders {
		alive[in.ID.Service] = alive[in.ID.Service] || !in.Tombstone
	}
	for _, sid := range slices.Sorted(maps.Keys(newest)) {
		if !alive[sid] {
			continue
		}
		if err := d.adoptService(ctx, newest[sid], c.Applications[newest[sid].Application]); err != nil {
			return err
		}
	}
	for _, in := range c.Orders {
		if err := d.adoptInstance(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) adoptService(ctx context.Context, svc model.Service, app model.Application) error {
	if _, err := d.deps.Store.Services().Get(ctx, svc.ID); err == nil {
		return nil
	} else if !errors.Is(err, errs.NotFound) {
		return err
	}
	commit := store.Descriptor{Services: []model.Service{svc}}
	if _, err := d.deps.Store.Applications().Get(ctx, app.ID); errors.Is(err, errs.NotFound) {
		commit.Applications = []model.Application{app}
	} else if err != nil {
		return err
	}
	err := d.deps.Store.Descriptors().Commit(ctx, commit)
	if errors.Is(err, errs.Conflict) {
		// Somebody else has the name or the address by now. The containers run
		// on and are listed as unknown; people decide.
		d.log.Error("a service cannot be adopted", "service", svc.ID, "name", svc.Name.String(), "error", err)
		return nil
	}
	return err
}

func (d *Desk) adoptInstance(ctx context.Context, in store.Instance) error {
	have, err := d.deps.Store.Instances().Get(ctx, in.ID)
	switch {
	case err == nil && (have.Tombstone || have.Grant >= in.Grant):
		return nil
	case err != nil && !errors.Is(err, errs.NotFound):
		return err
	}
	if _, err := d.deps.Store.Services().Get(ctx, in.ID.Service); errors.Is(err, errs.NotFound) && !in.Tombstone {
		return nil // could not be adopted, see above
	}
	in.CreatedAt = d.now()
	err = d.deps.Store.Instances().Put(ctx, in)
	if errors.Is(err, errs.Conflict) {
		d.log.Error("an instance cannot be adopted", "instance", in.ID.String(), "error", err)
		return nil
	}
	return err
}

func (d *Desk) endRecovery(ctx context.Context, s *state) error {
	if err := d.deps.Store.Meta().SetRecovery(ctx, false); err != nil {
		return err
	}
	s.recovery = false
	clear(s.awaited)
	d.log.Info("recovery is over", "incarnation", s.incarnation)
	return nil
}

// AcceptRecovery goes on without the clusters that have not been heard; what
// they hold is adopted when they come.
func (d *Desk) AcceptRecovery(ctx context.Context) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		var none struct{}
		if !s.recovery {
			return none, nil
		}
		if err := d.endRecovery(ctx, s); err != nil {
			return none, err
		}
		return none, d.load(ctx, s)
	})
	return err
}

// show publishes whether this is a recovery, for readers outside the loop.
func (d *Desk) show(s *state) {
	var names []string
	for id := range s.awaited {
		names = append(names, s.clusters[id].Name)
	}
	slices.Sort(names)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown, d.opened = recoveryShown{on: s.recovery, waiting: names}, true
}
