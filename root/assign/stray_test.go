package assign_test

import (
	"testing"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// tombstones lists what a cluster was told to remove, with the grants.
func (f *fake) tombstones() map[string]instance.Grant {
	out := map[string]instance.Grant{}
	for _, d := range got(f, desired) {
		for _, a := range d.Changed {
			if a.Tombstone {
				out[key(a.ServiceId, int(a.Number))] = instance.Grant(a.Grant)
			}
		}
	}
	return out
}

// TestAStrayOfARemovedSlotIsEnded: an order that was on its way when its slot
// was removed may start something afterwards. This root gave that grant out
// and has no record any more: it knows that nobody wants it. What it has not
// given out it leaves alone.
func TestAStrayOfARemovedSlotIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		grant := r.instance(svc.ID, 0).Grant
		r.undeploy(svc.ID, 0)
		if !r.gone(svc.ID, 0) {
			t.Fatal("the record is there")
		}
		orphan := func(number uint32, g instance.Grant) *linkv1.Orphan {
			return &linkv1.Orphan{NodeId: "w1", ServiceId: string(svc.ID), ServiceName: "x.x.x.x", Number: number, Grant: uint64(g), Try: 1}
		}
		a.set(func(f *fake) {
			f.lost = []*linkv1.Orphan{orphan(0, grant), orphan(7, grant+1000), orphan(8, instance.MakeGrant(5, 1))}
		})
		a.tell(func(f *fake) *linkv1.Up { return f.report(true) })
		pass(seconds(15))
		got := a.tombstones()
		if len(got) != 1 || got[key(string(svc.ID), 0)] != grant {
			t.Errorf("a was told to remove %v", got)
		}
	})
}

// TestAStrayOfASlotThatRunsElsewhereIsEnded: its cluster lost its book.
func TestAStrayOfASlotThatRunsElsewhereIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		old := r.instance(svc.ID, 0).Grant
		a.leave()
		b := newFake("b").set(func(f *fake) { f.mute = true }).join(r)
		if _, err := r.desk.RemoveCluster(t.Context(), model.ClusterID(a.id), true); err != nil {
			t.Fatal(err)
		}
		pass(seconds(5))
		again := newFake("a").set(func(f *fake) {
			f.key = "another key of 0123456789"
			f.lost = []*linkv1.Orphan{{NodeId: "w1", ServiceId: string(svc.ID), Number: 0, Grant: uint64(old), Try: 1}}
		}).join(r)
		pass(seconds(15))
		if got := again.tombstones(); len(got) != 0 {
			t.Fatalf("told to remove %v before the successor runs", got)
		}
		b.runsNow(svc.ID, 0, linkv1.State_STATE_RUNNING)
		pass(seconds(15))
		if got := again.tombstones(); got[key(string(svc.ID), 0)] != old {
			t.Errorf("told to remove %v", got)
		}
	})
}
