package assign

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/events"
	"oakestra/root/store"
)

const maxClusterName = 64

// Welcome says who a cluster is: the same key is the same cluster, whatever
// its name or address. A name belongs to the key that has it, unless that
// cluster is away and runs nothing of ours, or somebody approves the new key.
func (d *Desk) Welcome(ctx context.Context, h clusters.Hello) (clusters.Welcome, error) {
	if h.Name = strings.TrimSpace(h.Name); h.Name == "" || len(h.Name) > maxClusterName {
		return clusters.Welcome{}, fmt.Errorf("cluster name %q: must have 1 to %d characters: %w", h.Name, maxClusterName, errs.Invalid)
	}
	if len(h.Key) < 16 {
		return clusters.Welcome{}, fmt.Errorf("cluster %q sent no key: %w", h.Name, errs.Invalid)
	}
	return call(ctx, d, func(s *state) (clusters.Welcome, error) { return d.welcome(ctx, s, h) })
}

func (d *Desk) welcome(ctx context.Context, s *state, h clusters.Hello) (clusters.Welcome, error) {
	c, err := d.identify(s, h)
	if err != nil {
		return clusters.Welcome{}, err
	}
	c.Name, c.Location, c.Address = h.Name, h.Location, h.Address
	if c.CreatedAt.IsZero() {
		c.CreatedAt = d.now()
	}
	if was := s.clusters[c.ID]; was != c {
		if err := d.deps.Store.Clusters().Put(ctx, c); err != nil {
			return clusters.Welcome{}, fmt.Errorf("store cluster %s: %w", c.Name, err)
		}
		s.clusters[c.ID] = c
		d.deps.Book.Know(c)
		d.remember(ctx, s)
		if was.ID != "" && was.KeyHash != c.KeyHash {
			d.tellKeyChanged(c, h)
		}
	}
	delete(s.applicants, c.ID) // one may be this one, and any other asks again
	if err := d.claimBlocks(ctx, s, c.ID, h.Blocks); err != nil {
		return clusters.Welcome{}, err
	}
	stranger := s.stranger(h)
	if err := d.raise(ctx, s, h); err != nil {
		return clusters.Welcome{}, err
	}
	return clusters.Welcome{ID: c.ID, Incarnation: s.incarnation, Recovery: s.recovery || stranger}, nil
}

// tellKeyChanged tells of a cluster that was away and held nothing, and whose
// name somebody with another key took without being asked.
func (d *Desk) tellKeyChanged(c store.Cluster, h clusters.Hello) {
	d.log.Warn("a cluster that held nothing came back under another key", "cluster", c.Name, "id", c.ID, "from", h.Address.String())
	d.deps.Events.Record(events.OfCluster(c.ID, c.Name).Say(events.Warning, "KeyChanged",
		"joined from %s with another key; it was not connected and nothing was assigned to it", h.Address))
}

// stranger says that a cluster holds orders that only another life of this
// root's store can have given, or a later state of a record than the root's.
// It is asked for everything. An order of this life that has no record any
// more is another matter: its slot was removed.
func (s *state) stranger(h clusters.Hello) bool {
	return slices.ContainsFunc(h.Held, func(v clusters.Held) bool {
		in, known := s.instances[v.Instance]
		if known {
			return v.Grant > in.Grant || v.Grant == in.Grant && v.Revision > in.Revision
		}
		return v.Grant.Incarnation() != s.incarnation || v.Grant > s.issued
	})
}

// identify finds the cluster's record, or makes one.
func (d *Desk) identify(s *state, h clusters.Hello) (store.Cluster, error) {
	hash := keyHash(h.Key)
	var byName *store.Cluster
	for _, id := range slices.Sorted(maps.Keys(s.clusters)) {
		c := s.clusters[id]
		if c.KeyHash == hash {
			return c, d.nameIsFree(s, h.Name, c.ID)
		}
		if c.Name == h.Name {
			byName = &c
		}
	}
	if byName != nil {
		if s.awaited[byName.ID] || d.deps.Book.Active(byName.ID) || d.holdsAnything(s, byName.ID) {
			return store.Cluster{}, d.applies(s, *byName, h)
		}
		byName.KeyHash = hash
		return *byName, nil
	}
	c := store.Cluster{KeyHash: hash}
	if c.ID = h.ID; c.ID == "" || s.clusters[c.ID].ID != "" || !isID(string(c.ID)) {
		c.ID = model.ClusterID(newID())
	}
	return c, nil
}

func (d *Desk) nameIsFree(s *state, name string, id model.ClusterID) error {
	for other, c := range s.clusters {
		if c.Name == name && other != id {
			return fmt.Errorf("the cluster name %q belongs to another cluster (id %s): %w", name, other, errs.Conflict)
		}
	}
	return nil
}

func (d *Desk) holdsAnything(s *state, id model.ClusterID) bool {
	for _, in := range s.instances {
		if _, former := in.former[id]; former || in.Cluster == id {
			return true
		}
	}
	return false
}

func keyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func isID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 12
}

// Resync tells what differs between what a cluster holds and what it should.
// In recovery that is nothing yet: somebody who has not been heard may have
// been given the same slot later. A cluster that is removed between its welcome
// and this is told so: whoever removed it has not seen it connected.
func (d *Desk) Resync(ctx context.Context, id model.ClusterID, held []clusters.Held, tell func(clusters.Desired)) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		if _, known := s.clusters[id]; !known {
			return struct{}{}, clusters.ErrRemoved
		}
		w := &work{}
		tell(d.snapshot(s, id, held, w))
		if s.recovery {
			s.held[id] = held
		}
		d.commit(ctx, s, w)
		return struct{}{}, nil
	})
	return err
}

func (d *Desk) snapshot(s *state, id model.ClusterID, held []clusters.Held, w *work) clusters.Desired {
	list, unknown := compare(s, id, held, w)
	if s.recovery {
		list = nil
	}
	out := d.desired(true, list)
	out.Unknown = unknown
	return out
}

// compare lists orders the cluster lacks or has in another revision, sorted,
// and what it holds that the root has never heard of. A slot that the root
// gave to somebody else meanwhile and that was deleted comes back as a
// tombstone, under the grant the cluster holds.
func compare(s *state, id model.ClusterID, held []clusters.Held, w *work) (list []store.Instance, unknown []clusters.Held) {
	has := map[model.InstanceID]clusters.Held{}
	for _, h := range held {
		has[h.Instance] = h
		if _, known := s.instances[h.Instance]; !known {
			unknown = append(unknown, h)
		}
	}
	for _, in := range s.instances {
		h, holds := has[in.ID]
		switch {
		case in.Cluster == id:
			if !holds || h.Grant != in.Grant || h.Revision != in.Revision {
				list = append(list, in.Instance)
			}
		case holds:
			in.heldBy(id, h.Grant)
			if in.Tombstone {
				list = append(list, tombstone(in.Instance, h.Grant))
			}
		default: // it has nothing of it, and nothing more will be heard
			if _, former := in.former[id]; !former {
				continue
			}
			if delete(in.former, id); in.Tombstone && in.over() {
				w.finished = append(w.finished, in)
			}
		}
	}
	slices.SortFunc(list, func(a, b store.Instance) int { return compareID(a.ID, b.ID) })
	return list, unknown
}

// Lease gives a cluster the blocks it holds and one more. Errors: Unavailable
// in recovery, Exhausted.
func (d *Desk) Lease(ctx context.Context, id model.ClusterID, held []netip.Prefix) ([]netip.Prefix, error) {
	return call(ctx, d, func(s *state) ([]netip.Prefix, error) {
		if s.recovery {
			return nil, fmt.Errorf("the root is in recovery and gives out no subnets: %w", errs.Unavailable)
		}
		errHeld := d.claimBlocks(ctx, s, id, held)
		have := s.blocks.Of(id)
		for _, p := range have {
			if !slices.Contains(held, p) {
				return have, errHeld // one it did not know of is enough for now
			}
		}
		p, err := s.blocks.Next(id)
		if err != nil {
			return have, err
		}
		if err := d.deps.Store.Blocks().Lease(ctx, store.Block{Prefix: p, Cluster: id}); err != nil {
			s.blocks.Return(p)
			return nil, fmt.Errorf("store the lease of %s: %w", p, err)
		}
		d.log.Info("block leased", "cluster", id, "block", p.String())
		return s.blocks.Of(id), errHeld
	})
}

// claimBlocks enters blocks that a cluster holds already. One that belongs to
// another cluster is an error of the past that only people can mend.
func (d *Desk) claimBlocks(ctx context.Context, s *state, id model.ClusterID, held []netip.Prefix) error {
	for _, p := range held {
		if slices.Contains(s.blocks.Of(id), p) {
			continue
		}
		if err := s.blocks.Claim(p, id); err != nil {
			d.log.Error("a cluster holds a block it should not", "cluster", id, "block", p.String(), "error", err)
			continue
		}
		if err := d.deps.Store.Blocks().Lease(ctx, store.Block{Prefix: p, Cluster: id}); err != nil {
			s.blocks.Return(p)
			return fmt.Errorf("store the lease of %s: %w", p, err)
		}
	}
	return nil
}
