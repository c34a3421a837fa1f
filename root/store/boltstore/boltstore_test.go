package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"oakestra/pkg/core/model"
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

// A bucket so long that it is decoded on all cores, and not remembered.
func TestALongBucketIsListedWholeAndInOrder(t *testing.T) {
	s, _ := open(t, filepath.Join(t.TempDir(), "root.db"))
	const n = 40_000
	d := store.Descriptor{Applications: []model.Application{{ID: "a", Name: "a", Namespace: "n", Owner: "o"}}}
	for i := range n {
		d.Services = append(d.Services, model.Service{
			ID: model.ServiceID(fmt.Sprintf("%024d", i)), Application: "a", Owner: "o",
			Name: model.ServiceName{App: "a", AppNamespace: "n", Service: fmt.Sprint("s", i), ServiceNamespace: "n"},
		})
	}
	if err := s.Descriptors().Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	list, err := s.Services().List(t.Context(), "")
	if err != nil || len(list) != n {
		t.Fatalf("%d of %d: %v", len(list), n, err)
	}
	for i, v := range list {
		if want := d.Services[i]; v.ID != want.ID || v.Name != want.Name {
			t.Fatalf("at %d is %s %s, want %s %s", i, v.ID, v.Name, want.ID, want.Name)
		}
	}
}
