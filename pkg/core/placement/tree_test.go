package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"oakestra/pkg/core/model"
)

// check compares the tree with a sorted list of what stands in it.
func (t *tree) check() string {
	n := 0
	var last *entry
	for i := range t.dir {
		l := &t.dir[i]
		if len(l.items) == 0 || len(l.items) > leafSize || l.first != l.items[0].key {
			return fmt.Sprintf("leaf %d begins at %v and has %d items", i, l.first, len(l.items))
		}
		want := leaf{items: l.items}
		want.sum()
		if want.most != l.most || want.features != l.features {
			return fmt.Sprintf("leaf %d says %+v %x, its items %+v %x", i, l.most, l.features, want.most, want.features)
		}
		for _, v := range l.items {
			if v.room != room(v.e) || v.share != share(v.e) || last != nil && !before(last, v.e) {
				return fmt.Sprintf("%s stands at %d with %+v", v.e.ID, v.share, v.room)
			}
			last = v.e
			n++
		}
	}
	return fmt.Sprint(n)
}

// Leaves split and join as workers come and go, with ids that share beginnings
// and shares that tie.
func TestATreeOfManyLeavesStaysInOrder(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		x := NewIndex()
		id := func() string {
			n := rnd.IntN(600)
			return []string{"worker-", "w", ""}[n%3] + fmt.Sprint(n)
		}
		var keys []string
		for step := range 2500 {
			switch p := rnd.IntN(10); {
			case p < 3:
				c := plain(id())
				c.Capacity.MemoryMB = 1024 * (1 + rnd.Int64N(4))
				c.Cordoned = rnd.IntN(20) == 0
				x.Apply(Delta{Upsert: []Candidate{c}})
			case p == 3 || p == 4 && step > 2000:
				x.Apply(Delta{Remove: []string{id()}})
			case p < 7 && len(keys) > 0:
				at := rnd.IntN(len(keys))
				x.Release(keys[at])
				keys = slices.Delete(keys, at, at+1)
			default:
				r := Request{Service: model.ServiceID(fmt.Sprint("s", rnd.IntN(40))), Runtime: "container", Demand: model.Resources{MilliCPU: 250 * rnd.Int64N(5), MemoryMB: 1024 * rnd.Int64N(3)}}
				want, ok := oracle(x, r)
				got, err := x.Place(r)
				if ok != (err == nil) || got.ID != want {
					t.Fatalf("seed %d, step %d: Place = %q, %v; a scan finds %q", seed, step, got.ID, err, want)
				}
				if ok {
					keys = append(keys, fmt.Sprint(step))
					x.Reserve(keys[len(keys)-1], got.ID, r)
				}
			}
			if step%8 != 0 {
				continue
			}
			if got := x.tree.check(); got != fmt.Sprint(x.open) {
				t.Fatalf("seed %d, step %d: %s, %d are open", seed, step, got, x.open)
			}
		}
		if len(x.tree.dir) < 4 && seed == 0 {
			t.Errorf("only %d leaves", len(x.tree.dir))
		}
	}
}

// A candidate with many services counts them as one with few does.
func TestTallies(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var got tally
	want := map[model.ServiceID]int{}
	for range 2000 {
		s := model.ServiceID(fmt.Sprint(rnd.IntN(50)))
		if want[s] > 0 && rnd.IntN(2) == 0 {
			got.add(s, -1)
			want[s]--
		} else {
			got.add(s, 1)
			want[s]++
		}
		total := 0
		got.each(func(s model.ServiceID, n int) {
			total += n
			if n != want[s] || got.of(s) != n {
				t.Fatalf("%s: %d and %d, want %d", s, n, got.of(s), want[s])
			}
		})
		for _, n := range want {
			total -= n
		}
		if total != 0 {
			t.Fatalf("%d too many", total)
		}
	}
	for s, n := range want {
		got.add(s, -n)
	}
	if !got.empty() {
		t.Error("not empty")
	}
}
