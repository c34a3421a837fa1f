package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// lockTimeout is how long Open waits for another process to let the file go.
const lockTimeout = 2 * time.Second

// Store is the bbolt backend. Safe for concurrent use.
type Store struct {
	db     *bolt.DB
	group  group
	ahead  *ahead
	memory *memory
	now    func() time.Time // for the end of a quarantine
	watch  observer
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, or makes it with its folder. fresh is true
// when it holds nothing yet. Errors: Unavailable when another process uses the
// file, Internal when it is damaged or was written by a newer version.
func Open(path string) (s *Store, fresh bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, fmt.Errorf("store folder: %w", errors.Join(errs.Unavailable, err))
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:        lockTimeout,
		NoFreelistSync: true, // one page less per write; rebuilt at open
		FreelistType:   bolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, false, fmt.Errorf("store %s is in use by another process, stop it first: %w", path, errs.Unavailable)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open store %s: %w", path, errors.Join(errs.Internal, err))
	}
	fresh, err = prepare(db)
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	var further *ahead
	if err == nil {
		further, err = openAhead(path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open store %s: %w", path, errors.Join(err, db.Close()))
	}
	return &Store{db: db, ahead: further, memory: newMemory(), now: time.Now}, fresh, nil
}

// prepare makes the buckets and checks the format.
func prepare(db *bolt.DB) (fresh bool, err error) {
	err = db.Update(func(tx *bolt.Tx) error {
		fresh = tx.Bucket(bucketMeta) == nil
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return storage(err)
			}
		}
		meta := &bucket{Bucket: tx.Bucket(bucketMeta)}
		if fresh {
			return setNumber(meta, keyFormat, formatVersion)
		}
		found, err := number(meta, keyFormat)
		if err != nil {
			return err
		}
		if found != formatVersion {
			return fmt.Errorf("has format %d, this program reads %d: %w", found, formatVersion, errs.Internal)
		}
		return nil
	})
	return fresh, err
}

// syncFolder makes the file's name durable, not only its content.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return storage(err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close waits for running writes and gives the file free.
func (s *Store) Close() error {
	if err := errors.Join(s.db.Close(), s.ahead.file.Close()); err != nil {
		return fmt.Errorf("close store: %w", storage(err))
	}
	return nil
}

// storage gives a class to an error of the file below: Exhausted when the
// disk is full, else Unavailable.
func storage(err error) error {
	class := errs.Unavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		class = errs.Exhausted
	}
	return fmt.Errorf("write to disk: %w", errors.Join(class, err))
}

// view runs a read in one consistent snapshot.
func (s *Store) view(ctx context.Context, f func(tx *txn) error) (err error) {
	defer s.watch.since(false, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("read store: %w", errors.Join(errs.Unavailable, err))
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return storage(err)
	}
	defer func() { _ = tx.Rollback() }() // the only way to end a read; cannot fail
	return f(&txn{tx, s.memory})
}

// update runs a write and returns when it is on disk. f runs again when
// another write of the same group fails, so it must be repeatable.
func (s *Store) update(ctx context.Context, f func(tx *txn) error) (err error) {
	defer s.watch.since(true, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write store: %w", errors.Join(errs.Unavailable, err))
	}
	return s.group.do(s, f)
}

// The aggregates.
func (s *Store) Applications() store.Applications { return applications{s} }

// Services of all applications.
func (s *Store) Services() store.Services { return services{s} }

// Instances of all services.
func (s *Store) Instances() store.Instances { return instances{s} }

// Claims of service and instance addresses.
func (s *Store) Claims() store.Claims { return claims{s} }

// Blocks of node subnets.
func (s *Store) Blocks() store.Blocks { return blocks{s} }

// Clusters that ever registered.
func (s *Store) Clusters() store.Clusters { return clusters{s} }

// Users that can log in.
func (s *Store) Users() store.Users { return users{s} }

// Organizations of users.
func (s *Store) Organizations() store.Organizations { return organizations{s} }

// Tokens of users.
func (s *Store) Tokens() store.Tokens { return tokens{s} }

// Meta of the store itself.
func (s *Store) Meta() store.Meta { return meta{s} }

// Descriptors commits whole descriptors.
func (s *Store) Descriptors() store.Descriptors { return descriptors{s} }

// Leases between processes; a file has one, which holds every lease it asks for.
func (s *Store) Leases() store.Leases { return leases{s} }
