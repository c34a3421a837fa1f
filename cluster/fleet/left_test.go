package fleet

import (
	"slices"
	"testing"
	"time"

	"oakestra/pkg/core/model"
)

// What is to end names the workers that may hold something of it still, be it
// an attempt that was given up long ago.
func TestATombstoneNamesTheWorkersItWaitsFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		left := func(when string, want ...model.NodeID) {
			t.Helper()
			if got := r.root.get(slotID).LeftOn; !slices.Equal(got, want) {
				t.Errorf("%s: left on %v, want %v", when, got, want)
			}
		}
		r.desire(false)
		elapse(10 * time.Second)
		left("while it is wanted")
		first := r.where()
		r.nodes[first].link.Disconnect()
		elapse(30 * time.Second)
		second := string(r.root.get(slotID).Placement.Node)
		if second == first {
			t.Fatal("it was not replaced")
		}
		r.nodes[second].link.Disconnect()
		r.desire(true)
		elapse(time.Minute)
		left("both are lost", "w1", "w2")
		r.nodes[second].link.Connect()
		elapse(30 * time.Second)
		left("the second is back", model.NodeID(first))
		r.order(first, Remove)
		elapse(10 * time.Second)
		if f := r.root.get(slotID); !f.Gone {
			t.Errorf("the first was removed, and it waits still: %+v", f)
		}
	})
}
