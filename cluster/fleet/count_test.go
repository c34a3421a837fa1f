package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/model"
)

func TestCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		if err := r.f.Desired(r.ctx, Desired{Revision: 2, Changed: []Assignment{{
			Instance: model.InstanceID{Service: "bbbbbbbbbbbbbbbbbbbbbbbb"}, Grant: 7, Revision: 2,
			Service: model.Service{ID: "bbbbbbbbbbbbbbbbbbbbbbbb", Spec: model.ServiceSpec{Runtime: "container", Demand: model.Resources{MemoryMB: 100_000}}},
		}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		other := "w1"
		if r.root.get(slotID).Placement.Host == "w1" {
			other = "w2"
		}
		r.nodes[other].link.Disconnect()
		time.Sleep(30 * time.Second)
		got, err := r.f.Count(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got.Reports["report"] < 20 {
			t.Errorf("%d reports of two workers", got.Reports["report"])
		}
		got.Reports = nil
		want := Count{Nodes: map[string]int{"unseen": 0, "alive": 1, "suspect": 0, "lost": 1}, Instances: map[string]int{"RUNNING": 1, "NO_WORKER_CAPACITY": 1}, Refused: map[string]int{"memory": 1, "inactive": 1}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("want - got +\n%s", d)
		}
	})
}
