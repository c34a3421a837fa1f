package placement

import (
	"fmt"
	"testing"

	"oakestra/pkg/core/model"
)

// BenchmarkPlaceOneService fills identical workers with one service, round by
// round: every share ties with thousands of others.
func BenchmarkPlaceOneService(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := NewIndex()
			for i := range n {
				x.Apply(Delta{Upsert: []Candidate{{ID: fmt.Sprintf("w%05d", i), Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true,
					Capacity: model.Resources{MilliCPU: 8000, MemoryMB: 8192, DiskMB: 1 << 16}}}})
			}
			keys := make([]string, n*4)
			for i := range keys {
				keys[i] = fmt.Sprint("k", i)
			}
			r := Request{Service: "s", Runtime: "container", Network: true, Demand: model.Resources{MilliCPU: 1000, MemoryMB: 1024}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				key := keys[i%len(keys)]
				x.Release(key)
				c, err := x.Place(r)
				if err != nil {
					b.Fatal(err)
				}
				x.Reserve(key, c.ID, r)
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placements/s")
		})
	}
}

// BenchmarkRefused asks for what no worker has. "moved" changes one reservation
// before each question, as a busy cluster does; "quiet" asks again when nothing
// has changed, as each refused instance does whenever room may have been freed.
func BenchmarkRefused(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		for _, moves := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/%s", n, map[bool]string{true: "moved", false: "quiet"}[moves]), func(b *testing.B) {
				x := NewIndex()
				for i := range n {
					x.Apply(Delta{Upsert: []Candidate{{ID: fmt.Sprintf("w%05d", i), Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true,
						Cordoned: i%50 == 0, Capacity: model.Resources{MilliCPU: 8000, MemoryMB: 8192, DiskMB: 1 << 16}}}})
				}
				small := Request{Service: "t", Demand: model.Resources{MilliCPU: 100}}
				r := Request{Service: "s", Runtime: "container", Network: true, Demand: model.Resources{MilliCPU: 1000, MemoryMB: 9000}}
				b.ReportAllocs()
				for b.Loop() {
					if moves {
						x.Reserve("k", "w00001", small)
					}
					if _, err := x.Place(r); err == nil {
						b.Fatal("placed")
					}
				}
			})
		}
	}
}
