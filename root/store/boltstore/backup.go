package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"oakestra/pkg/errs"
)

// Backup writes one consistent snapshot of the whole store while others read
// and write. A slow w costs room: pages that are freed meanwhile are not used
// again before it is done.
func (s *Store) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	err = s.view(ctx, func(tx *txn) error {
		n, err = tx.WriteTo(w)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("back up the store: %w", err)
	}
	return n, nil
}

// Restore makes a backup the store at path. What is there is kept beside it,
// under the name it returns ("" when there was nothing). Errors: Unavailable
// when the store is in use, Invalid when the backup is damaged or no store.
// Whoever opens it next must recover: its clusters may hold more and later
// orders than it knows.
func Restore(backup, path string, now time.Time) (kept string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("store folder: %w", errors.Join(errs.Unavailable, err))
	}
	tmp := path + ".restore"
	if err := copyFile(backup, tmp); err != nil {
		return "", errors.Join(err, os.Remove(tmp))
	}
	if err := check(tmp); err != nil {
		return "", fmt.Errorf("%s is no backup of a root, or damaged: %w", backup, errors.Join(errs.Invalid, err, os.Remove(tmp)))
	}
	if _, err := os.Stat(path); err == nil {
		s, _, err := Open(path) // takes the lock: nobody uses it
		if err != nil && errors.Is(err, errs.Unavailable) {
			return "", errors.Join(err, os.Remove(tmp))
		}
		if err == nil {
			if err := s.Close(); err != nil {
				return "", err
			}
		} // one that is damaged is a reason to restore
		kept = path + ".before-" + now.UTC().Format("20060102-150405")
		if err := os.Rename(path, kept); err != nil {
			return "", storage(err)
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return kept, storage(err)
	}
	return kept, syncFolder(filepath.Dir(path))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("backup: %w", errors.Join(errs.NotFound, err))
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return storage(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return storage(err)
	}
	return nil
}

// check reads every page of a file and the format of the store in it.
func check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bolt.Tx) error {
		if info.Size() < tx.Size() { // its pages are mapped: reading past the end would be fatal
			return fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size())
		}
		var bad []error
		for err := range tx.Check() {
			bad = append(bad, err)
		}
		if len(bad) > 0 {
			return errors.Join(bad...)
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return fmt.Errorf("it holds no store")
		}
		found, err := number(&bucket{Bucket: meta}, keyFormat)
		if err == nil && found != formatVersion {
			err = fmt.Errorf("it has format %d, this program reads %d", found, formatVersion)
		}
		return err
	})
	return errors.Join(err, db.Close())
}
