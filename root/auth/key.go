package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"oakestra/pkg/errs"
)

// KeySize is the length of a signing key in bytes.
const KeySize = 32

// LoadKey reads the signing key of path, or makes one there (mode 0600) when
// the file does not exist, so that tokens outlive a restart. A file of any
// other length, or one that others may read, is an error: a broken key must
// never be replaced silently.
func LoadKey(path string) ([]byte, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make signing key: %w", errors.Join(errs.Internal, err))
	}
	if err := writeKey(path, key); err != nil {
		if errors.Is(err, fs.ErrExist) { // another process was faster
			return readKey(path)
		}
		return nil, fmt.Errorf("store signing key %s: %w", path, errors.Join(errs.Internal, err))
	}
	return key, nil
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("signing key %s may be read by others (mode %04o), type: chmod 600 %s: %w",
			path, info.Mode().Perm(), path, errs.Invalid)
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("signing key %s has %d bytes, want %d: %w", path, len(key), KeySize, errs.Invalid)
	}
	return key, nil
}

// writeKey makes the file appear complete or not at all: the bytes are synced
// under another name, then linked, which fails when path exists meanwhile.
func writeKey(path string, key []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".key-*") // CreateTemp uses mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(key)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
