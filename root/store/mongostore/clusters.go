package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type clusters struct{ s *Store }

func (c clusters) Get(ctx context.Context, id model.ClusterID) (store.Cluster, error) {
	r, err := c.s.clusters.get(ctx, string(id))
	if err != nil {
		return store.Cluster{}, err
	}
	return r.model(), nil
}

func (c clusters) List(ctx context.Context) ([]store.Cluster, error) {
	list, err := c.s.clusters.find(ctx, nil)
	var out []store.Cluster
	for _, r := range list {
		out = append(out, r.model())
	}
	return out, err
}

// Put inserts or replaces; Conflict when another cluster has the name.
func (c clusters) Put(ctx context.Context, in store.Cluster) error {
	if in.ID == "" {
		return fmt.Errorf("cluster %q has no id: %w", in.Name, errs.Invalid)
	}
	err := c.s.clusters.put(ctx, string(in.ID), func(*clusterRecord) (*clusterRecord, error) { return fromCluster(in), nil })
	if err == nil {
		return nil
	}
	if holder := c.s.clusters.other(ctx, bson.D{{Key: "name", Value: in.Name}}, string(in.ID)); holder != "" {
		return fmt.Errorf("cluster name %q is taken by cluster %s: %w", in.Name, holder, errs.Conflict)
	}
	return err
}

func (c clusters) Delete(ctx context.Context, id model.ClusterID) error {
	if _, err := c.s.clusters.get(ctx, string(id)); err != nil {
		return err
	}
	return c.s.clusters.erase(ctx, string(id), nil)
}

type blocks struct{ s *Store }

const blocksID = "leases"

// lease reads the text of a stored lease.
func (l leaseFields) block() (store.Block, error) {
	p, err := netip.ParsePrefix(l.Prefix)
	if err != nil {
		return store.Block{}, fmt.Errorf("stored block %q: %w", l.Prefix, errors.Join(errs.Internal, err))
	}
	return store.Block{Prefix: p, Cluster: model.ClusterID(l.Cluster)}, nil
}

func (b blocks) List(ctx context.Context) (out []store.Block, err error) {
	r, err := b.s.blocks.get(ctx, blocksID)
	if errors.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, l := range r.Leases {
		one, err := l.block()
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b store.Block) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return out, nil
}

// change runs f over the leases and stores what it returns.
func (b blocks) change(ctx context.Context, f func([]leaseFields) ([]leaseFields, error)) error {
	return b.s.blocks.put(ctx, blocksID, func(was *blocksRecord) (*blocksRecord, error) {
		if was == nil {
			was = &blocksRecord{}
		}
		list, err := f(was.Leases)
		if list == nil {
			list = []leaseFields{}
		}
		return &blocksRecord{Leases: list}, err
	})
}

// Lease inserts; the same cluster may lease again, Conflict for another one.
func (b blocks) Lease(ctx context.Context, in store.Block) error {
	if !in.Prefix.IsValid() || in.Cluster == "" {
		return fmt.Errorf("lease of %q to %q needs a prefix and a cluster: %w", in.Prefix, in.Cluster, errs.Invalid)
	}
	in.Prefix = in.Prefix.Masked()
	return b.change(ctx, func(list []leaseFields) ([]leaseFields, error) {
		for _, l := range list {
			have, err := l.block()
			if err != nil {
				return nil, err
			}
			if have == in {
				return list, nil
			}
			if have.Prefix.Overlaps(in.Prefix) {
				return nil, fmt.Errorf("block %s overlaps %s of cluster %s: %w", in.Prefix, have.Prefix, have.Cluster, errs.Conflict)
			}
		}
		return append(list, leaseFields{in.Prefix.String(), string(in.Cluster)}), nil
	})
}

// Return of a block that nobody leases is no error.
func (b blocks) Return(ctx context.Context, p netip.Prefix) error {
	return b.change(ctx, func(list []leaseFields) ([]leaseFields, error) {
		return slices.DeleteFunc(list, func(l leaseFields) bool { return l.Prefix == p.Masked().String() }), nil
	})
}
