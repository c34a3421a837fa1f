package boltstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"oakestra/pkg/errs"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/store/storetest"
)

func open(t *testing.T, path string) (*boltstore.Store, bool) {
	t.Helper()
	s, fresh, err := boltstore.Open(path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s, fresh
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		s, _ := open(t, filepath.Join(dir, "root.db"))
		return s
	})
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "root.db")
	s, fresh := open(t, path)
	if !fresh {
		t.Error("a new file is not called fresh")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v), want 0600: it holds password records", info.Mode(), err)
	}
	if _, _, err := boltstore.Open(path); !errors.Is(err, errs.Unavailable) {
		t.Errorf("opening a second time gave %v, want class Unavailable", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, fresh = open(t, path)
	if fresh {
		t.Error("a file that was opened before is called fresh")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.db")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := boltstore.Open(path); !errors.Is(err, errs.Internal) {
		t.Errorf("opening a file that is no store gave %v, want class Internal", err)
	}
}
