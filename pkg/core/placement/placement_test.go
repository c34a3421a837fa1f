package placement

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// oracle is the rule of doc.go as a scan.
func oracle(x *Index, r Request) (string, bool) {
	var best *entry
	better := func(a, b *entry) bool {
		switch {
		case share(a) != share(b):
			return share(a) < share(b)
		case a.services.of(r.Service) != b.services.of(r.Service):
			return a.services.of(r.Service) < b.services.of(r.Service)
		}
		return a.ID < b.ID
	}
	for _, guess := range []bool{false, true} {
		for _, avoid := range [][]string{r.Avoid, nil} {
			for _, e := range x.byID {
				if e.known && x.reject(e, r, guess) == nil && !slices.Contains(avoid, e.ID) && (best == nil || better(e, best)) {
					best = e
				}
			}
			if best != nil {
				return best.ID, true
			}
		}
	}
	return "", false
}

func plain(id string) Candidate {
	return Candidate{ID: id, Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 4096, DiskMB: 1000}}
}

func drawCandidate(t *rapid.T, id string) Candidate {
	pick := func(label string, options ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(options), 0, len(options), rapid.ID).Draw(t, label)
	}
	if rapid.IntRange(0, 2).Draw(t, "plain") > 0 { // many alike, so that shares tie
		return plain(id)
	}
	c := Candidate{
		ID: id, Name: "host" + id[len(id)-1:], Runtimes: pick("runtimes", "container", "wasm"), Architectures: pick("arch", "amd64", "arm64"),
		Capacity: model.Resources{MilliCPU: rapid.Int64Range(0, 8).Draw(t, "cpu") * 1000, MemoryMB: rapid.Int64Range(0, 8).Draw(t, "mem") * 256, GPUs: rapid.Int64Range(0, 1).Draw(t, "gpu"), DiskMB: 1000},
		Network:  rapid.Bool().Draw(t, "network"), Cordoned: rapid.IntRange(0, 5).Draw(t, "cordon") == 0, Inactive: rapid.IntRange(0, 5).Draw(t, "inactive") == 0,
	}
	if rapid.IntRange(0, 3).Draw(t, "cluster") == 0 {
		c.Rooms, c.Partial, c.Loose = []Room{}, rapid.Bool().Draw(t, "partial"), rapid.Bool().Draw(t, "loose")
		for i := range rapid.IntRange(0, 3).Draw(t, "rooms") {
			c.Rooms = append(c.Rooms, Room{Runtimes: c.Runtimes, Architectures: c.Architectures, Network: c.Network, Count: i + 1,
				Free: model.Resources{MilliCPU: int64(i) * 1000, MemoryMB: int64(3-i) * 256, DiskMB: 1000}})
		}
	}
	return c
}

func drawRequest(t *rapid.T, ids []string) Request {
	if rapid.IntRange(0, 2).Draw(t, "plain") > 0 {
		return Request{
			Service: model.ServiceID(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service")), Runtime: "container",
			Demand: model.Resources{MilliCPU: rapid.Int64Range(0, 1).Draw(t, "cpu") * 1000},
		}
	}
	r := Request{
		Service: model.ServiceID(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")),
		Demand:  model.Resources{MilliCPU: rapid.Int64Range(0, 3).Draw(t, "cpu") * 500, MemoryMB: rapid.Int64Range(0, 3).Draw(t, "mem") * 128, GPUs: rapid.Int64Range(0, 5).Draw(t, "gpu") / 5},
		Runtime: rapid.SampledFrom([]string{"", "container", "wasm"}).Draw(t, "runtime"),
		Network: rapid.Bool().Draw(t, "network"),
	}
	if rapid.Bool().Draw(t, "arch?") {
		r.Architectures = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"amd64", "arm64", "arm"}), 1, 2, rapid.ID).Draw(t, "arch")
	}
	if rapid.Bool().Draw(t, "port?") {
		r.Ports = []model.Port{{Host: uint16(rapid.IntRange(80, 82).Draw(t, "port")), Container: 80, Protocol: model.TCP}}
	}
	some := rapid.SliceOfN(rapid.SampledFrom(append(ids, "host1", "host2", "nobody")), 0, 3)
	if rapid.IntRange(0, 3).Draw(t, "restricted") == 0 {
		r.Restricted, r.Only = true, some.Draw(t, "only")
	}
	r.Exclude, r.Avoid, r.Taken = some.Draw(t, "exclude"), some.Draw(t, "avoid"), some.Draw(t, "taken")
	return r
}

// The tree never disagrees with a scan, whatever came before.
func TestPlaceAgreesWithAScan(t *testing.T) {
	placed, tied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex()
		ids := make([]string, 12)
		for i := range ids {
			ids[i] = fmt.Sprintf("n%02d", i)
		}
		for _, id := range ids[:rapid.IntRange(0, 6).Draw(t, "at first")] {
			x.Apply(Delta{Upsert: []Candidate{plain(id)}})
		}
		keys := 0
		var live []string
		t.Repeat(map[string]func(*rapid.T){
			"upsert": func(t *rapid.T) {
				x.Apply(Delta{Upsert: []Candidate{drawCandidate(t, rapid.SampledFrom(ids).Draw(t, "id"))}})
			},
			"remove": func(t *rapid.T) { x.Apply(Delta{Remove: []string{rapid.SampledFrom(ids).Draw(t, "id")}}) },
			"release": func(t *rapid.T) {
				if len(live) > 0 {
					x.Release(live[0])
					live = live[1:]
				}
			},
			"place": func(t *rapid.T) {
				r := drawRequest(t, ids)
				placed++
				want, ok := oracle(x, r)
				got, err := x.Place(r)
				if ok != (err == nil) || ok && got.ID != want {
					t.Fatalf("Place = %q, %v; a scan finds %q, %v", got.ID, err, want, ok)
				}
				if err != nil {
					checkRefusal(t, x, err)
					_, again := x.Place(r) // from memory
					for _, err := range []error{err, again} {
						var refusal *Refusal
						reasons, qualify := Tally(x.Explain(r))
						if !errors.As(err, &refusal) || qualify != 0 || !cmp.Equal(refusal.Reasons, reasons) {
							t.Fatalf("%v; in words %+v", err, reasons)
						}
					}
					return
				}
				if x.ties(got.ID, r) {
					tied++
				}
				keys++
				key := fmt.Sprint("k", keys)
				x.Reserve(key, got.ID, r)
				live = append(live, key)
			},
			"": func(t *rapid.T) { checkSums(t, x) },
		})
	})
	if tied < 20 {
		t.Errorf("of %d placements only %d chose among equal shares by the instances held", placed, tied)
	}
}

// ties says whether a candidate with an equal share holds more instances than
// the chosen one and has a lower id: the case that a search may get wrong.
func (x *Index) ties(id string, r Request) bool {
	best := x.byID[id]
	for _, e := range x.byID {
		if e.inTree && e.share == best.share && e.ID < id && e.services.of(r.Service) > best.services.of(r.Service) && x.reject(e, r, true) == nil {
			return true
		}
	}
	return false
}

// Demands of nothing leave all shares equal: only the instances held and the
// ids decide, through many rounds and with candidates that come and go.
func TestPlaceWithoutDemandsSpreadsEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex()
		ids := []string{"n0", "n1", "n2", "n3"}
		for _, id := range ids {
			x.Apply(Delta{Upsert: []Candidate{plain(id)}})
		}
		r := Request{Service: "s"}
		var live []string
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0:
				c := plain(rapid.SampledFrom(ids).Draw(t, "id"))
				c.Cordoned = rapid.Bool().Draw(t, "cordoned")
				x.Apply(Delta{Upsert: []Candidate{c}})
			case 1, 2:
				if len(live) > 0 {
					at := rapid.IntRange(0, len(live)-1).Draw(t, "released")
					x.Release(live[at])
					live = slices.Delete(live, at, at+1)
				}
			default:
				want, ok := oracle(x, r)
				got, err := x.Place(r)
				if ok != (err == nil) || got.ID != want {
					t.Fatalf("Place = %q, %v; a scan finds %q", got.ID, err, want)
				}
				if ok {
					live = append(live, fmt.Sprint(i))
					x.Reserve(live[len(live)-1], got.ID, r)
				}
			}
			checkSums(t, x)
		}
	})
}

func checkRefusal(t *rapid.T, x *Index, err error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, errs.Exhausted) {
		t.Fatalf("error %v is no refusal", err)
	}
	n := 0
	for _, r := range refusal.Reasons {
		n += r.Count
	}
	if n != x.Len() || refusal.Candidates != n {
		t.Fatalf("%d candidates, but reasons for %d: %v", x.Len(), n, err)
	}
}

// Reservations add up, and a plain worker never holds more than it has.
func checkSums(t *rapid.T, x *Index) {
	sums := map[string]model.Resources{}
	for _, v := range x.held {
		sums[v.on.ID] = sums[v.on.ID].Add(v.demand)
	}
	open, counts := 0, map[model.ServiceID]map[int]int{}
	for _, e := range x.byID {
		if !e.inTree {
			continue
		}
		open++
		e.services.each(func(s model.ServiceID, n int) {
			if counts[s] == nil {
				counts[s] = map[int]int{}
			}
			counts[s][n]++
		})
	}
	spreads := map[model.ServiceID]map[int]int{}
	for s, v := range x.spread {
		spreads[s] = v.counts
	}
	if x.open != open || !reflect.DeepEqual(spreads, counts) {
		t.Fatalf("%d candidates %v are open, the index counts %d %v", open, counts, x.open, spreads)
	}
	for id, e := range x.byID {
		if e.reserved != sums[id] {
			t.Fatalf("%s: reserved %+v, reservations say %+v", id, e.reserved, sums[id])
		}
	}
}

func TestRefusalCountsReasonsWithOneExample(t *testing.T) {
	x := NewIndex()
	x.Apply(Delta{Upsert: []Candidate{
		{ID: "w1", Runtimes: []string{"container"}, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 300}},
		{ID: "w2", Runtimes: []string{"container"}, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 200}},
		{ID: "w3", Runtimes: []string{"container"}, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 9000}, Cordoned: true},
	}})
	_, err := x.Place(Request{Service: "s", Runtime: "container", Demand: model.Resources{MilliCPU: 1000, MemoryMB: 512}})
	const want = "none of 3 qualifies: memory 2 (w1: 512 > 300 MiB free), cordon 1 (w3)"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\n want = %s", err, want)
	}
	if _, err := NewIndex().Place(Request{}); err == nil || err.Error() != "there is nothing to place on" {
		t.Errorf("empty index: %v", err)
	}
}

func TestInstancesOfOneServiceShareAHostPortOthersClash(t *testing.T) {
	x := NewIndex()
	x.Apply(Delta{Upsert: []Candidate{{ID: "w1"}}})
	ports := []model.Port{{Host: 80, Container: 80, Protocol: model.TCP}}
	x.Reserve("a/0", "w1", Request{Service: "a", Ports: ports})
	if _, err := x.Place(Request{Service: "a", Ports: ports}); err != nil {
		t.Errorf("second instance of the same service: %v", err)
	}
	if _, err := x.Place(Request{Service: "b", Ports: ports}); err == nil {
		t.Error("another service got the same host port")
	}
	x.Reserve("a/1", "w1", Request{Service: "a", Ports: ports})
	x.Release("a/0")
	if _, err := x.Place(Request{Service: "b", Ports: ports}); err == nil {
		t.Error("the port was freed while an instance still uses it")
	}
	x.Release("a/1")
	if _, err := x.Place(Request{Service: "b", Ports: ports}); err != nil {
		t.Errorf("the port is free again: %v", err)
	}
}

// A cluster's rooms are as old as its last aggregate. What was promised since
// counts against its sum, and a sum that no single worker has is no room.
func TestAClusterIsBoundByItsSumAndByItsLargestWorker(t *testing.T) {
	x := NewIndex()
	c := plain("c1")
	c.Capacity, c.Held = model.Resources{MilliCPU: 4000, MemoryMB: 4000}, model.Resources{MemoryMB: 1000}
	for _, mb := range []int64{2000, 1000} {
		c.Rooms = append(c.Rooms, Room{Runtimes: c.Runtimes, Architectures: c.Architectures, Count: 1, Free: model.Resources{MilliCPU: 2000, MemoryMB: mb}})
	}
	x.Apply(Delta{Upsert: []Candidate{c}})
	ask := func(mb int64) Request {
		return Request{Service: "s", Runtime: "container", Demand: model.Resources{MemoryMB: mb}}
	}
	for _, step := range []struct {
		mb     int64
		reason string
	}{
		{2500, "c1: 2500 > 2000 MiB free"}, // the sum has it, no worker does
		{2000, ""},
		{1500, "c1: 1500 > 1000 MiB free"}, // the rooms still have it, the sum does not
		{1000, ""},                         // one promise cannot be on both
		{1, "c1: 1 > 0 MiB free"},
	} {
		_, err := x.Place(ask(step.mb))
		var refusal *Refusal
		switch {
		case step.reason == "" && err == nil:
			x.Reserve(fmt.Sprint(step.mb), "c1", ask(step.mb))
		case !errors.As(err, &refusal) || len(refusal.Reasons) != 1 || refusal.Reasons[0].Detail != step.reason:
			t.Fatalf("%d MiB: got %v, want %q", step.mb, err, step.reason)
		}
	}
}

func TestConstraints(t *testing.T) {
	cs := []model.Constraint{{Type: "direct", Cluster: "c1", Nodes: []string{"a", "b"}}, {Type: "clusters", Allowed: []string{"c1", "c2"}}, {Type: "direct", Nodes: []string{"b"}}}
	if only, yes := OnlyNodes(cs); !yes || fmt.Sprint(only) != "[b]" {
		t.Errorf("nodes: %v %v", only, yes)
	}
	if only, yes := OnlyClusters(cs); !yes || fmt.Sprint(only) != "[c1]" {
		t.Errorf("clusters: %v %v", only, yes)
	}
	if _, yes := OnlyNodes(nil); yes {
		t.Error("no constraint restricts")
	}
}

// BenchmarkPlace places and reserves on n workers that are kept about half
// full, which is the common case.
func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := NewIndex()
			rnd := rand.New(rand.NewPCG(1, 2))
			for i := range n {
				x.Apply(Delta{Upsert: []Candidate{{ID: fmt.Sprintf("w%05d", i), Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true,
					Capacity: model.Resources{MilliCPU: 1000 * (2 + rnd.Int64N(14)), MemoryMB: 1024 * (1 + rnd.Int64N(31)), DiskMB: 1 << 16}}}})
			}
			keys := make([]string, n*4)
			for i := range keys {
				keys[i] = fmt.Sprint("k", i)
			}
			requests := make([]Request, 64)
			for i := range requests {
				requests[i] = Request{Service: model.ServiceID(fmt.Sprint("s", i)), Runtime: "container", Network: true,
					Demand: model.Resources{MilliCPU: 250 * (1 + rnd.Int64N(4)), MemoryMB: 64 * (1 + rnd.Int64N(4))}}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := requests[i%len(requests)]
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

// TestRoom: of what a candidate has left, with one's own reservation given back.
func TestRoom(t *testing.T) {
	x := NewIndex()
	x.Apply(Delta{Upsert: []Candidate{{ID: "w", Capacity: model.Resources{MemoryMB: 100}, Cordoned: true}}})
	web := Request{Service: "web", Demand: model.Resources{MemoryMB: 60}, Ports: []model.Port{{Host: 80, Container: 80, Protocol: model.TCP}}}
	room := func(what string, r Request, want bool) {
		t.Helper()
		if got := x.Room("w", "web/0", r); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	room("empty, and cordoned", web, true)
	x.Reserve("web/0", "w", web)
	room("its own", web, true)
	x.Reserve("web/1", "w", Request{Service: "web", Demand: model.Resources{MemoryMB: 40}, Ports: web.Ports})
	room("beside another of its service", web, true)
	x.Reserve("web/2", "w", Request{Service: "web", Demand: model.Resources{MemoryMB: 1}})
	room("its memory was given away", web, false)
	x.Release("web/2")
	x.Release("web/0")
	x.Release("web/1")
	x.Reserve("db/0", "w", Request{Service: "db", Ports: web.Ports})
	room("its port was given away", web, false)
	if x.Room("nobody", "web/0", web) {
		t.Error("room on a candidate that does not exist")
	}
}
