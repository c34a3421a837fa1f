package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"oakestra/pkg/core/instance"
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
//	same      not newer, none    nothing happened
//
// A store is older when its incarnation is, when grants were given out that it
// has not counted, or when it lacks a cluster: the file is written after it.
func (d *Desk) settleIncarnation(ctx context.Context, s *state) error {
	meta := d.deps.Store.Meta()
	stored, err := meta.Incarnation(ctx)
	if err != nil {
		return err
	}
	if s.recovery, err = meta.Recovery(ctx); err != nil {
		return err
	}
	// Counting one on tells how far this store has counted.
	if stored != 0 {
		if s.issued, err = meta.NextGrant(ctx); err != nil {
			return err
		}
	}
	known := d.deps.Witness.Record()
	s.incarnation = stored
	lost, err := d.lacks(ctx, known, stored, s.issued)
	if err != nil {
		return err
	}
	if stored == 0 || lost {
		s.incarnation = max(uint32(d.now().Unix()), known.Incarnation+1)
		if lost {
			s.recovery = true
			if err := meta.SetRecovery(ctx, true); err != nil {
				return err
			}
			d.log.Warn("the store is lost or older than this root remembers: in recovery until the clusters have reported",
				"stored_incarnation", stored, "remembered_incarnation", known.Incarnation, "stored_grant", uint64(s.issued), "remembered_grant", known.Issued, "clusters", len(known.Clusters))
		}
		if err := meta.SetIncarnation(ctx, s.incarnation); err != nil {
			return err
		}
		if s.issued, err = meta.NextGrant(ctx); err != nil {
			return err
		}
	}
	return d.recallClusters(ctx, s, known)
}

// lacks says that the store is older than what the witness knows. counted is a
// grant that the store has just counted and nobody was given: what was given out
// is below it.
func (d *Desk) lacks(ctx context.Context, known witness.Record, stored uint32, counted instance.Grant) (bool, error) {
	if known.Incarnation > stored || known.Issued != 0 && instance.Grant(known.Issued) >= counted {
		return true, nil
	}
	for _, c := range known.Clusters {
		if _, err := d.deps.Store.Clusters().Get(ctx, model.ClusterID(c.ID)); errors.Is(err, errs.NotFound) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}

// recallClusters enters the clusters the witness knows into a store that lost
// them, so that they keep their ids and names, and awaits them.
func (d *Desk) recallClusters(ctx context.Context, s *state, known witness.Record) error {
	if !s.recovery {
		return nil
	}
	// Names may have gone from one to another since an old copy was made, even
	// in a circle: first everybody gives up what is not its own any more.
	for _, name := range []func(witness.Cluster) string{
		func(c witness.Cluster) string { return c.ID },
		func(c witness.Cluster) string { return c.Name },
	} {
		for _, c := range known.Clusters {
			if err := d.recall(ctx, c, name(c)); err != nil {
				return fmt.Errorf("enter cluster %s again: %w", c.Name, err)
			}
		}
	}
	for _, c := range known.Clusters {
		s.awaited[model.ClusterID(c.ID)] = true
	}
	if len(s.awaited) == 0 {
		s.recovery = false
		return d.deps.Store.Meta().SetRecovery(ctx, false)
	}
	return nil
}

func (d *Desk) recall(ctx context.Context, c witness.Cluster, name string) error {
	all := d.deps.Store.Clusters()
	record, err := all.Get(ctx, model.ClusterID(c.ID))
	if errors.Is(err, errs.NotFound) {
		record, err = store.Cluster{Cluster: model.Cluster{ID: model.ClusterID(c.ID)}, CreatedAt: d.now()}, nil
	}
	if err != nil || record.Name == c.Name && record.KeyHash == c.KeyHash {
		return err
	}
	record.Name, record.KeyHash = name, c.KeyHash
	err = all.Put(ctx, record)
	if errors.Is(err, errs.Conflict) {
		// Somebody the witness has not heard of has the name; when this
		// cluster comes it is told so.
		d.log.Warn("a cluster's name is another's", "cluster", c.ID, "error", err)
		return nil
	}
	return err
}

// raise makes the incarnation higher than one a cluster has seen, and makes a
// new one when the cluster has grants that were never given out: a root that
// is an old copy down to its witness must not issue them again.
func (d *Desk) raise(ctx context.Context, s *state, h clusters.Hello) error {
	seen := h.Incarnation
	for _, v := range h.Held {
		if v.Grant > s.issued {
			seen = max(seen, v.Grant.Incarnation())
		}
	}
	if seen < s.incarnation || seen == s.incarnation && !s.overtaken(h) {
		return nil
	}
	next := max(uint32(d.now().Unix()), seen+1)
	if err := d.deps.Store.Meta().SetIncarnation(ctx, next); err != nil {
		return fmt.Errorf("raise the incarnation to %d: %w", next, err)
	}
	d.log.Warn("a cluster has seen a later life of this root's store, which must be an old copy", "cluster", h.Name, "incarnation", s.incarnation, "new_incarnation", next)
	s.incarnation, s.issued = next, instance.MakeGrant(next, 0)
	d.remember(ctx, s)
	return nil
}

// overtaken says that a cluster holds a grant greater than any given out.
func (s *state) overtaken(h clusters.Hello) bool {
	return slices.ContainsFunc(h.Held, func(v clusters.Held) bool { return v.Grant > s.issued })
}

// remember writes the witness file when something in it changed.
func (d *Desk) remember(ctx context.Context, s *state) {
	r := witness.Record{Incarnation: s.incarnation, Issued: uint64(s.issued), Clusters: []witness.Cluster{}, AdminHash: d.deps.Witness.Record().AdminHash}
	for _, id := range slices.Sorted(maps.Keys(s.clusters)) {
		c := s.clusters[id]
		r.Clusters = append(r.Clusters, witness.Cluster{ID: string(id), Name: c.Name, KeyHash: c.KeyHash})
	}
	// Only a password somebody chose is worth keeping.
	if admin, err := d.deps.Store.Users().Get(ctx, "Admin"); err == nil && !admin.MustChangePassword {
		r.AdminHash = admin.PasswordHash
	}
	err := d.deps.Witness.Save(r)
	if err != nil && s.forgetful == nil { // it is tried every second, and told once
		d.log.Error("remember what the store must not lose", "error", err)
	}
	s.forgetful = err
}

func (d *Desk) endRecovery(ctx context.Context, s *state) error {
	if err := d.deps.Store.Meta().SetRecovery(ctx, false); err != nil {
		return err
	}
	s.recovery = false
	clear(s.awaited)
	d.log.Info("recovery is over", "incarnation", s.incarnation)
	d.tellRecovery("RecoveryEnded", "the root allocates again")
	if err := d.load(ctx, s); err != nil {
		return err
	}
	// Now that everybody was heard: what they lack, and what their reports
	// mean.
	w := &work{}
	for id, held := range s.held {
		d.deps.Book.Send(id, d.snapshot(s, id, held, w))
	}
	clear(s.held)
	d.recheck(s, w)
	d.commit(ctx, s, w)
	return nil
}

// AcceptRecovery goes on without the clusters that have not been heard; what
// they hold is adopted when they come.
func (d *Desk) AcceptRecovery(ctx context.Context) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		if !s.recovery {
			return struct{}{}, nil
		}
		return struct{}{}, d.endRecovery(context.WithoutCancel(ctx), s)
	})
	return err
}
