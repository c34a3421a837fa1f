package boltstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"oakestra/cluster/store"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

var (
	metaBucket   = []byte("meta")
	slotBucket   = []byte("slots")
	nodeBucket   = []byte("nodes")
	subnetBucket = []byte("subnets")

	identityKey = []byte("identity")
	blocksKey   = []byte("blocks")
	revisionKey = []byte("revision")
)

// Store is a store.Store in a file.
type Store struct{ db *bolt.DB }

var _ store.Store = (*Store)(nil)

// Open opens or makes the book in dir. A book that another process holds is
// an errs.Conflict after 2 s.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w: %w", dir, err, errs.Unavailable)
	}
	file := filepath.Join(dir, "cluster.db")
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process: %w", file, errs.Conflict)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", file, err, errs.Unavailable)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{metaBucket, slotBucket, nodeBucket, subnetBucket} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w: %w", file, err, errs.Unavailable), db.Close())
	}
	return &Store{db}, nil
}

// Close ends the use of the file.
func (s *Store) Close() error { return s.db.Close() }

// Load reads the book.
func (s *Store) Load(context.Context) (store.State, error) {
	var out store.State
	err := s.db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if err := errors.Join(read(meta, identityKey, &out.Identity), read(meta, blocksKey, &out.Blocks), read(meta, revisionKey, &out.Revision)); err != nil {
			return err
		}
		var err error
		if out.Slots, err = all[store.Slot](tx.Bucket(slotBucket)); err != nil {
			return err
		}
		out.Nodes, err = all[store.Node](tx.Bucket(nodeBucket))
		return err
	})
	return out, err
}

func read[T any](b *bolt.Bucket, key []byte, into *T) error {
	raw := b.Get(key)
	if raw == nil {
		return nil
	}
	v, err := decode[T](key, raw)
	*into = v
	return err
}

func all[T any](b *bolt.Bucket) ([]T, error) {
	var out []T
	err := b.ForEach(func(k, raw []byte) error {
		v, err := decode[T](k, raw)
		out = append(out, v)
		return err
	})
	return out, err
}

func put(b *bolt.Bucket, key string, v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), raw)
}

func (s *Store) update(what string, fn func(tx *bolt.Tx) error) error {
	if err := s.db.Update(fn); err != nil {
		return fmt.Errorf("store %s: %w: %w", what, err, errs.Unavailable)
	}
	return nil
}

// Commit writes a batch as one transaction.
func (s *Store) Commit(_ context.Context, b store.Batch) error {
	return s.update("decisions", func(tx *bolt.Tx) error {
		slots, nodes, meta := tx.Bucket(slotBucket), tx.Bucket(nodeBucket), tx.Bucket(metaBucket)
		for _, v := range b.Slots {
			if err := put(slots, v.Instance.String(), v); err != nil {
				return err
			}
		}
		for _, id := range b.DropSlots {
			if err := slots.Delete([]byte(id.String())); err != nil {
				return err
			}
		}
		for _, n := range b.Nodes {
			if err := put(nodes, string(n.ID), n); err != nil {
				return err
			}
		}
		for _, id := range b.DropNodes {
			if err := nodes.Delete([]byte(id)); err != nil {
				return err
			}
		}
		if b.Blocks != nil {
			if err := put(meta, string(blocksKey), *b.Blocks); err != nil {
				return err
			}
		}
		if b.Revision != nil {
			return put(meta, string(revisionKey), *b.Revision)
		}
		return nil
	})
}

// SaveIdentity replaces the identity.
func (s *Store) SaveIdentity(_ context.Context, id store.Identity) error {
	return s.update("identity", func(tx *bolt.Tx) error { return put(tx.Bucket(metaBucket), string(identityKey), id) })
}

// LoadSubnets reads which node has which subnet.
func (s *Store) LoadSubnets(context.Context) (map[model.NodeID]netip.Prefix, error) {
	out := map[model.NodeID]netip.Prefix{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(subnetBucket).ForEach(func(k, raw []byte) error {
			p, err := decode[netip.Prefix](k, raw)
			out[model.NodeID(k)] = p
			return err
		})
	})
	return out, err
}

// SaveSubnet notes a node's subnet.
func (s *Store) SaveSubnet(_ context.Context, id model.NodeID, p netip.Prefix) error {
	return s.update("subnet", func(tx *bolt.Tx) error { return put(tx.Bucket(subnetBucket), string(id), p) })
}

// DropSubnet forgets a node's subnet; an unknown one is no error.
func (s *Store) DropSubnet(_ context.Context, id model.NodeID) error {
	return s.update("subnet", func(tx *bolt.Tx) error { return tx.Bucket(subnetBucket).Delete([]byte(id)) })
}
