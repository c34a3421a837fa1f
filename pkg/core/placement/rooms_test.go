package placement

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
)

// world is a root over clusters that do what they are told: what is placed
// goes through the root, and the clusters report now and then.
type world struct {
	root     *Index
	clusters map[string]*Index
	most     int // rooms in a report
	keys     int
	placed   map[string]string // key -> cluster
	reported map[string]bool   // counted in the cluster's last report
	freed    map[string]bool   // has more room than it said
}

func drawWorld(t *rapid.T) *world {
	w := &world{root: NewIndex(), clusters: map[string]*Index{}, placed: map[string]string{}, reported: map[string]bool{}, freed: map[string]bool{}, most: rapid.SampledFrom([]int{1, 3, 8, 48}).Draw(t, "most")}
	for i := range rapid.IntRange(1, 3).Draw(t, "clusters") {
		id := fmt.Sprint("c", i)
		x := NewIndex()
		for n := range rapid.IntRange(0, 12).Draw(t, "workers") {
			x.Apply(Delta{Upsert: []Candidate{drawWorker(t, fmt.Sprint("w", n))}})
		}
		w.clusters[id] = x
		w.report(id)
	}
	return w
}

// drawWorker is one of three sorts: alike, anything, or more of the one
// resource for less of the other, so that many surpass one another in nothing.
func drawWorker(t *rapid.T, id string) Candidate {
	c := plain(id)
	switch rapid.IntRange(0, 2).Draw(t, "sort") {
	case 0:
		c = drawCandidate(t, id)
		c.Rooms = nil
	case 1:
		n := rapid.Int64Range(0, 12).Draw(t, "mix")
		c.Capacity = model.Resources{MilliCPU: 500 * n, MemoryMB: 128 * (12 - n), DiskMB: 1000 * rapid.Int64Range(0, 1).Draw(t, "disk")}
	}
	return c
}

// report tells the root what a cluster has, as an aggregate does; what it
// counts is promised no more.
func (w *world) report(id string) {
	x := w.clusters[id]
	c := Candidate{ID: id, Rooms: []Room{}}
	x.tree.each(func(e *entry) {
		c.Capacity, c.Held = c.Capacity.Add(e.Capacity), c.Held.Add(e.reserved)
		c.Runtimes, c.Architectures, c.Network = append(c.Runtimes, e.Runtimes...), append(c.Architectures, e.Architectures...), c.Network || e.Network
	})
	var rooms []Room
	rooms, c.Partial = x.Rooms(w.most)
	c.Rooms = append(c.Rooms, rooms...)
	for k, at := range w.placed {
		if at == id && !w.reported[k] {
			w.root.Release(k)
			w.reported[k] = true
		}
	}
	w.root.Apply(Delta{Upsert: []Candidate{c}})
	w.freed[id] = false
}

// scan says whether a worker of a cluster has room for a request.
func (w *world) scan(id string, r Request) bool {
	_, ok := oracle(w.clusters[id], r)
	return ok
}

// place asks the root, then the cluster it names.
func (w *world) place(t *rapid.T, r Request) {
	w.keys++
	key := fmt.Sprint("k", w.keys)
	choice, err := w.root.Place(r)
	if err != nil {
		w.mustBeFull(t, r, err)
		return
	}
	sure := w.root.reject(w.root.byID[choice.ID], r, false) == nil
	node, err := w.clusters[choice.ID].Place(r)
	switch {
	case err != nil && sure:
		t.Fatalf("the root was sure that %s takes %+v, which says: %v\nit knows %+v", choice.ID, r, err, w.root.byID[choice.ID].Rooms)
	case err != nil: // refused: the next cluster
		r.Exclude = append(slices.Clone(r.Exclude), choice.ID)
		w.place(t, r)
		return
	}
	w.root.Reserve(key, choice.ID, r)
	w.clusters[choice.ID].Reserve(key, node.ID, r)
	w.placed[key] = choice.ID
}

// mustBeFull: a request that no cluster was asked for fits nowhere, unless
// something is on its way there or has left since it reported.
func (w *world) mustBeFull(t *rapid.T, r Request, err error) {
	for id := range w.clusters {
		e := w.root.byID[id]
		if slices.Contains(r.Exclude, id) || e.promised.count > 0 || w.freed[id] {
			continue
		}
		if w.scan(id, r) {
			t.Fatalf("%s has room for %+v, the root says %v\nit knows %+v", id, r, err, e.Rooms)
		}
	}
}

func (w *world) release(t *rapid.T) {
	if len(w.placed) == 0 {
		return
	}
	keys := make([]string, 0, len(w.placed))
	for k := range w.placed {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	k := rapid.SampledFrom(keys).Draw(t, "released")
	w.root.Release(k)
	w.clusters[w.placed[k]].Release(k)
	w.freed[w.placed[k]] = true
	delete(w.placed, k)
}

// The root sends nothing to a cluster that does not fit there, given what went
// through it, and passes nobody by who has room, however it was told.
func TestTheRootPromisesWhatClustersHave(t *testing.T) {
	sent := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				r := drawRequest(t, []string{"none"})
				r.Ports, r.Only, r.Restricted, r.Exclude, r.Avoid, r.Taken = nil, nil, false, nil, nil, nil
				if rapid.Bool().Draw(t, "large") {
					r.Demand = model.Resources{MilliCPU: 500 * rapid.Int64Range(0, 10).Draw(t, "cpu"), MemoryMB: 128 * rapid.Int64Range(0, 10).Draw(t, "mem")}
				}
				for range rapid.IntRange(1, 6).Draw(t, "of it") {
					w.place(t, r)
				}
			},
			"release": w.release,
			"report": func(t *rapid.T) {
				for id := range w.clusters {
					if rapid.Bool().Draw(t, id) {
						w.report(id)
					}
				}
			},
		})
		sent += w.keys
	})
	if sent < 500 {
		t.Errorf("%d requests: this tests too little", sent)
	}
}

// A burst on equal workers is promised to the last place, without a report in
// between.
func TestABurstOfEqualsFillsACluster(t *testing.T) {
	x := NewIndex()
	for i := range 45 {
		x.Apply(Delta{Upsert: []Candidate{plain(fmt.Sprint("w", i))}})
	}
	rooms, partial := x.Rooms(48)
	if len(rooms) != 1 || partial || rooms[0].Count != 45 {
		t.Fatalf("%+v, %v", rooms, partial)
	}
	root := NewIndex()
	c := plain("c1")
	c.Capacity, c.Rooms = model.Resources{MilliCPU: 45 * 4000, MemoryMB: 45 * 4096, DiskMB: 45 * 1000}, rooms
	root.Apply(Delta{Upsert: []Candidate{c}})
	r := Request{Service: "s", Runtime: "container", Demand: model.Resources{MilliCPU: 1000, MemoryMB: 100}}
	n := 0
	for ; n < 1000; n++ {
		if _, err := root.Place(r); err != nil {
			break
		}
		root.Reserve(fmt.Sprint(n), "c1", r)
	}
	if n != 45*4 {
		t.Errorf("%d promised, %d fit", n, 45*4)
	}
}

// A cluster that has more workers than it can tell of is asked for what may
// fit, after one that is sure.
func TestAGuessIsTheLastResort(t *testing.T) {
	w := &world{root: NewIndex(), clusters: map[string]*Index{"a": NewIndex(), "b": NewIndex()}, placed: map[string]string{}, reported: map[string]bool{}, freed: map[string]bool{}, most: 1}
	for n := range int64(21) {
		c := plain(fmt.Sprint("w", n))
		c.Capacity = model.Resources{MilliCPU: 500 * n, MemoryMB: 100 * (20 - n)} // none surpasses another
		w.clusters["a"].Apply(Delta{Upsert: []Candidate{c}})
	}
	b := plain("w")
	b.Capacity = model.Resources{MilliCPU: 4000, MemoryMB: 1200}
	w.clusters["b"].Apply(Delta{Upsert: []Candidate{b}})
	w.report("a")
	w.report("b")
	r := Request{Service: "s", Runtime: "container", Demand: model.Resources{MilliCPU: 4000, MemoryMB: 1200}}
	if c, err := w.root.Place(r); err != nil || c.ID != "b" {
		t.Fatalf("%v, %v", c, err)
	}
	w.root.Reserve("k", "b", r)
	if c, err := w.root.Place(r); err != nil || c.ID != "a" { // its 9th worker has it, which the root cannot know
		t.Fatalf("%v, %v", c, err)
	}
	r.Demand.MemoryMB = 3000 // more than any has
	if c, err := w.root.Place(r); err == nil {
		t.Fatalf("%v", c)
	}
}

// Many different workers are told of in few groups, which promise nothing that
// is not there and know what no worker surpasses.
func TestRoomsOfManyWorkers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x := NewIndex()
	for i := range 1000 {
		c := plain(fmt.Sprint("w", i))
		c.Capacity = model.Resources{MilliCPU: 250 * (1 + rnd.Int64N(64)), MemoryMB: 128 * (1 + rnd.Int64N(256)), DiskMB: 1 << (10 + rnd.Int64N(8))}
		x.Apply(Delta{Upsert: []Candidate{c}})
	}
	const most = 48
	rooms, _ := x.Rooms(most)
	workers := 0
	for _, r := range rooms {
		workers += r.Count
		have := 0
		for _, e := range x.byID {
			if fits(e.free(), r.Free) {
				have++
			}
		}
		if have < r.Count {
			t.Errorf("%d workers are said to have %+v, %d do", r.Count, r.Free, have)
		}
	}
	if workers != 1000 || len(rooms) > most {
		t.Errorf("%d rooms with %d workers", len(rooms), workers)
	}
	for range 1000 {
		want := model.Resources{MilliCPU: rnd.Int64N(16000), MemoryMB: rnd.Int64N(32768)}
		told := slices.ContainsFunc(rooms, func(r Room) bool { return fits(r.Free, want) })
		_, err := x.Place(Request{Service: "s", Runtime: "container", Demand: want})
		if told && err != nil {
			t.Errorf("%+v is promised: %v", want, err)
		}
	}
	var refusal *Refusal
	if _, err := x.Place(Request{Service: "s", Demand: model.Resources{MilliCPU: 1 << 40}}); !errors.As(err, &refusal) {
		t.Error(err)
	}
}

// BenchmarkRooms is what an aggregate costs a cluster manager.
func BenchmarkRooms(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := randomWorkers(n)
			b.ReportAllocs()
			for b.Loop() {
				if rooms, _ := x.Rooms(48); len(rooms) == 0 {
					b.Fatal("no rooms")
				}
			}
		})
	}
}

func randomWorkers(n int) *Index {
	rnd := rand.New(rand.NewPCG(1, 2))
	x := NewIndex()
	for i := range n {
		x.Apply(Delta{Upsert: []Candidate{{ID: fmt.Sprintf("w%05d", i), Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true,
			Capacity: model.Resources{MilliCPU: 1000 * (2 + rnd.Int64N(14)), MemoryMB: 1024 * (1 + rnd.Int64N(31)), DiskMB: 1 << 16}}}})
	}
	return x
}
