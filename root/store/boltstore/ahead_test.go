package boltstore

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// gathers opens a store with one service, which is to gather instances.
func gathers(t testing.TB, path string) *Store {
	t.Helper()
	s, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a := model.Application{ID: "a", Name: "a", Namespace: "b", Owner: "ann"}
	v := model.Service{ID: "s", Application: "a", Owner: "ann", Revision: 1, Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: "d"}}
	if err := s.Descriptors().Commit(t.Context(), store.Descriptor{Applications: []model.Application{a}, Services: []model.Service{v}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// grow adds n instances by 32 writers.
func grow(t testing.TB, s *Store, from, n int) {
	t.Helper()
	var all sync.WaitGroup
	for w := range 32 {
		all.Go(func() {
			for k := from + w; k < from+n; k += 32 {
				a := netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)})
				if _, err := s.Instances().Add(t.Context(), "s", a, time.Unix(0, 0).UTC()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// What is written ahead must touch no page, whatever else goes on: the file is
// checked as bbolt checks it, before and after it was opened again.
func TestZerosAheadTouchNoPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.db")
	s := gathers(t, path)
	const each = 2500
	for round := range 2 {
		grow(t, s, round*each, each)
		if err := s.db.View(func(tx *bolt.Tx) error {
			if s.ahead.filled <= tx.Size()-aheadStep {
				t.Errorf("round %d: zeros up to %d, pages up to %d", round, s.ahead.filled, tx.Size())
			}
			for err := range tx.Check() {
				t.Error(err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		list, err := s.Instances().List(t.Context(), "s")
		if err != nil || len(list) != (round+1)*each {
			t.Fatalf("round %d: %d instances, %v", round, len(list), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, _, err = Open(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkAheadOfHoles compares the rate of 32 writers with and without zeros
// ahead, by turns.
func BenchmarkAheadOfHoles(b *testing.B) {
	const adds, rounds = 12_000, 5
	var rates [2][]float64
	for range rounds {
		for with := range rates {
			s := gathers(b, filepath.Join(b.TempDir(), "root.db"))
			if with == 0 {
				s.ahead.filled = 1 << 62
			}
			began := time.Now()
			grow(b, s, 0, adds)
			rates[with] = append(rates[with], adds/time.Since(began).Seconds())
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, r := range rates {
		slices.Sort(r)
	}
	without, with := rates[0], rates[1]
	fmt.Printf("adds/s by 32 writers: into holes %.0f (%.0f - %.0f), into zeros %.0f (%.0f - %.0f); ratio %.2f\n",
		without[rounds/2], without[0], without[rounds-1], with[rounds/2], with[0], with[rounds-1], with[rounds/2]/without[rounds/2])
	b.ReportMetric(with[rounds/2]/without[rounds/2], "x-holes")
	b.ReportMetric(0, "ns/op")
}
