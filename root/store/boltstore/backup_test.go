package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// While several write, a backup holds, of each writer, everything up to some
// point and nothing after it, with index and claim of every record.
func TestABackupUnderWritersIsAConsistentPrefix(t *testing.T) {
	dir := t.TempDir()
	s, _, err := Open(filepath.Join(dir, "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const writers, most = 4, 60
	address := func(w, i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 30, byte(w + 1), byte(i)}) }
	id := func(w int) model.ServiceID { return model.ServiceID(fmt.Sprintf("%024d", w)) }
	for w := range writers {
		err := s.Descriptors().Commit(t.Context(), store.Descriptor{
			Applications: []model.Application{{ID: model.ApplicationID(id(w)), Name: fmt.Sprint("app", w), Namespace: "x", Owner: "ann"}},
			Services: []model.Service{{ID: id(w), Application: model.ApplicationID(id(w)), Owner: "ann", Address: address(w, 250),
				Name: model.ServiceName{App: fmt.Sprint("app", w), AppNamespace: "x", Service: "web", ServiceNamespace: "x"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			<-begin
			for i := range most {
				if _, err := s.Instances().Add(t.Context(), id(w), address(w, i), time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(begin)
	var copies [][]byte
	for len(copies) < 8 {
		var b bytes.Buffer
		if n, err := s.Backup(t.Context(), &b); err != nil || n != int64(b.Len()) {
			t.Fatalf("%d of %d bytes, %v", n, b.Len(), err)
		}
		copies = append(copies, b.Bytes())
	}
	wg.Wait()
	for c, data := range copies {
		file := filepath.Join(dir, fmt.Sprint("backup", c))
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, fmt.Sprint("restored", c), "root.db")
		if kept, err := Restore(file, target, time.Now()); err != nil || kept != "" {
			t.Fatalf("%q, %v", kept, err)
		}
		back, fresh, err := Open(target)
		if err != nil || fresh {
			t.Fatalf("fresh %v, %v", fresh, err)
		}
		claims, err := back.Claims().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slots := 0
		for w := range writers {
			list, err := back.Instances().List(t.Context(), id(w))
			if err != nil {
				t.Fatal(err)
			}
			svc, err := back.Services().Get(t.Context(), id(w))
			if err != nil || svc.NextNumber != len(list) {
				t.Errorf("next number is %d after %d instances, %v", svc.NextNumber, len(list), err)
			}
			for i, in := range list {
				if in.ID.Number != i || in.Address != address(w, i) {
					t.Errorf("writer %d: record %d is %+v", w, i, in)
				}
			}
			slots += len(list)
		}
		if len(claims) != slots+writers {
			t.Errorf("%d claims of %d instances and %d services", len(claims), slots, writers)
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestoreKeepsWhatWasThereAndRefusesWhatIsNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.db")
	s, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "backup")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(file, path, time.Now()); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a store in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"empty": {}, "text": []byte("hello"), "cut": data[:len(data)/2]} {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(f, path, time.Now()); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Restore(filepath.Join(dir, "none"), path, time.Now()); !errors.Is(err, errs.NotFound) {
		t.Errorf("none: %v", err)
	}
	kept, err := Restore(file, path, time.Unix(0, 0))
	if err != nil || filepath.Base(kept) != "root.db.before-19700101-000000" {
		t.Fatalf("%q, %v", kept, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".restore"); err == nil {
		t.Error("a temporary file is left")
	}
}
