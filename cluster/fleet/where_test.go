package fleet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// TestWhereFollowsItsSlots: at random the index says what a walk over all slots
// finds.
func TestWhereFollowsItsSlots(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	w, all := newWhere(), map[model.InstanceID]*slot{}
	name := func() model.NodeID { return model.NodeID(fmt.Sprint("w", rnd.IntN(4))) }
	for range 3000 {
		id := model.InstanceID{Service: model.ServiceID(fmt.Sprint("s", rnd.IntN(3))), Number: rnd.IntN(3)}
		s := all[id]
		switch {
		case s == nil:
			s = &slot{}
			s.Instance = id
			all[id] = s
			w.add(s)
		case rnd.IntN(5) == 0:
			w.drop(s)
			delete(all, id)
		default:
			s.Placement.Node, s.Old = "", nil
			if rnd.IntN(2) == 0 {
				s.Placement.Node = name()
			}
			for range rnd.IntN(3) {
				s.Old = append(s.Old, store.Old{Node: name()})
			}
			w.move(s)
		}
		for n := range 4 {
			node := model.NodeID(fmt.Sprint("w", n))
			for id, s := range all {
				_, have := w.slots[node][id]
				if want := s.Placement.Node == node || oldOn(s, node); have != want {
					t.Fatalf("%s on %s: index says %v", id, node, have)
				}
			}
			for id := range w.slots[node] {
				if all[id] == nil {
					t.Fatalf("%s is gone and still on %s", id, node)
				}
			}
		}
	}
}

// TestManyWorkersHaveLongerToComeBack: after a start 1 000 workers have 2 s
// more than a few before silence counts, and are then judged without a report.
func TestManyWorkersHaveLongerToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.State{}
		for i := range 1000 {
			s.Nodes = append(s.Nodes, store.Node{Node: model.Node{ID: model.NodeID(fmt.Sprint("w", i)), Host: fmt.Sprint("w", i)}, Key: "k"})
		}
		f := New(Config{}, Deps{Book: newBook(), Link: memlink.New(), Network: quiet{}, Root: &above{facts: map[model.InstanceID]Facts{}}})
		c := newCore(t.Context(), f, s)
		lost := func(after time.Duration) (n int) {
			c.now = c.now.Add(after)
			c.tick()
			for _, v := range c.nodes {
				n += one(v.live == instance.Lost)
			}
			return n
		}
		if n := lost(21900 * time.Millisecond); n != 0 {
			t.Errorf("%d lost before their time", n)
		}
		if n := lost(200 * time.Millisecond); n != 1000 {
			t.Errorf("%d of 1000 lost after 22.1 s of silence", n)
		}
	})
}

// TestWhoIsMissingAmongManyIsLostInTime: of twenty workers nineteen report after
// a start; the last has ten seconds from then on, and no more because others
// might have been slow. Where three are missing all have the time of a start.
func TestWhoIsMissingAmongManyIsLostInTime(t *testing.T) {
	for away, within := range map[int]time.Duration{1: 13 * time.Second, 3: 21 * time.Second} {
		bubble(t, func(t *testing.T) {
			var names []string
			for i := range 20 {
				names = append(names, fmt.Sprint("w", i))
			}
			r := newRig(t, names...)
			time.Sleep(5 * time.Second)
			r.stop()
			for _, n := range names[:away] {
				r.nodes[n].link.Disconnect()
			}
			r.start()
			time.Sleep(within - 3*time.Second)
			if n := r.root.noted("node-lost"); n != 0 {
				t.Errorf("%d away: %d lost before their time", away, n)
			}
			time.Sleep(3 * time.Second)
			if n := r.root.noted("node-lost"); n != away {
				t.Errorf("%d away: %d lost after %s", away, n, within)
			}
		})
	}
}

// told counts how often the root hears of each worker, and of how many at once.
type told struct {
	above
	times map[model.NodeID]int
	most  int
}

func (r *told) Nodes(list []NodeView, _ []model.NodeID) {
	r.most = max(r.most, len(list))
	for _, n := range list {
		r.times[n.ID]++
	}
}

// TestALargeSiteIsToldInParts: each worker once per round, with no more than
// the limit at one time, and within five seconds.
func TestALargeSiteIsToldInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.State{}
		for i := range 5 * atOnce {
			s.Nodes = append(s.Nodes, store.Node{Node: model.Node{ID: model.NodeID(fmt.Sprint("w", i)), Host: fmt.Sprint("w", i)}, Key: "k"})
		}
		root := &told{times: map[model.NodeID]int{}}
		c := newCore(t.Context(), New(Config{}, Deps{Book: newBook(), Link: memlink.New(), Network: quiet{}, Root: root}), s)
		c.roomMoved = false
		c.publish()
		for range 20 {
			c.now = c.now.Add(50 * time.Millisecond) // less than silence means anything
			c.tick()
		}
		if len(root.times) != 5*atOnce || root.most > atOnce {
			t.Errorf("%d of %d told, %d at once", len(root.times), 5*atOnce, root.most)
		}
		for id, n := range root.times {
			if n != 1 {
				t.Fatalf("%s told %d times", id, n)
			}
		}
	})
}
