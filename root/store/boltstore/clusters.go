package boltstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

type clusters struct{ s *Store }

func getCluster(tx *txn, id model.ClusterID) (store.Cluster, error) {
	r, err := load[clusterRecord](tx.Bucket(bucketClusters), []byte(id))
	if err != nil {
		return store.Cluster{}, fmt.Errorf("cluster %q: %w", id, err)
	}
	return r.model(), nil
}

func (c clusters) Get(ctx context.Context, id model.ClusterID) (out store.Cluster, err error) {
	err = c.s.view(ctx, func(tx *txn) error {
		out, err = getCluster(tx, id)
		return err
	})
	return out, err
}

func (c clusters) List(ctx context.Context) (out []store.Cluster, err error) {
	err = c.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketClusters), nil, func(_ []byte, r clusterRecord) error {
			out = append(out, r.model())
			return nil
		})
	})
	return out, err
}

// Put inserts or replaces; Conflict when another cluster has the name.
func (c clusters) Put(ctx context.Context, in store.Cluster) error {
	return c.s.update(ctx, func(tx *txn) error {
		names := tx.Bucket(indexClusterNames)
		if holder := names.Get([]byte(in.Name)); holder != nil && string(holder) != string(in.ID) {
			return fmt.Errorf("cluster name %q is taken by cluster %s: %w", in.Name, holder, errs.Conflict)
		}
		was, err := getCluster(tx, in.ID)
		if err != nil && !errors.Is(err, errs.NotFound) {
			return err
		}
		if err == nil && was.Name != in.Name {
			if err := remove(names, []byte(was.Name)); err != nil {
				return err
			}
		}
		if err := put(names, []byte(in.Name), []byte(in.ID)); err != nil {
			return err
		}
		return save(tx.Bucket(bucketClusters), []byte(in.ID), fromCluster(in))
	})
}

func (c clusters) Delete(ctx context.Context, id model.ClusterID) error {
	return c.s.update(ctx, func(tx *txn) error {
		was, err := getCluster(tx, id)
		if err != nil {
			return err
		}
		if err := remove(tx.Bucket(indexClusterNames), []byte(was.Name)); err != nil {
			return err
		}
		return remove(tx.Bucket(bucketClusters), []byte(id))
	})
}

type blocks struct{ s *Store }

func (b blocks) List(ctx context.Context) (out []store.Block, err error) {
	err = b.s.view(ctx, func(tx *txn) error {
		return scan(tx.Bucket(bucketBlocks), nil, func(key []byte, r blockRecord) error {
			p, err := netip.ParsePrefix(string(key))
			if err != nil {
				return fmt.Errorf("block with key %q: %w", key, errors.Join(errs.Internal, err))
			}
			out = append(out, store.Block{Prefix: p, Cluster: r.Cluster})
			return nil
		})
	})
	return out, err
}

// Lease inserts; the same cluster may lease again, Conflict for another one.
func (b blocks) Lease(ctx context.Context, in store.Block) error {
	if !in.Prefix.IsValid() || in.Cluster == "" {
		return fmt.Errorf("lease of %q to %q needs a prefix and a cluster: %w", in.Prefix, in.Cluster, errs.Invalid)
	}
	in.Prefix = in.Prefix.Masked()
	return b.s.update(ctx, func(tx *txn) error {
		bucket := tx.Bucket(bucketBlocks)
		err := scan(bucket, nil, func(key []byte, r blockRecord) error {
			p, err := netip.ParsePrefix(string(key))
			if err != nil {
				return fmt.Errorf("block with key %q: %w", key, errors.Join(errs.Internal, err))
			}
			if p.Overlaps(in.Prefix) && (p != in.Prefix || r.Cluster != in.Cluster) {
				return fmt.Errorf("block %s overlaps %s of cluster %s: %w", in.Prefix, p, r.Cluster, errs.Conflict)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return save(bucket, []byte(in.Prefix.String()), blockRecord{current(), in.Cluster})
	})
}

// Return of a block that nobody leases is no error.
func (b blocks) Return(ctx context.Context, p netip.Prefix) error {
	return b.s.update(ctx, func(tx *txn) error {
		return remove(tx.Bucket(bucketBlocks), []byte(p.Masked().String()))
	})
}
