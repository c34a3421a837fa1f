package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func TestExplainJudgesEveryWorkerAndPlacesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2", "w3")
		r.desire(false) // 100 MiB on w1
		time.Sleep(3 * time.Second)
		if _, err := r.f.Order(r.ctx, "w2", Cordon); err != nil {
			t.Fatal(err)
		}
		q := Question{Most: 2, Service: model.Service{ID: "other", Spec: model.ServiceSpec{Runtime: "container", Demand: model.Resources{MemoryMB: 3950}}}}
		for range 2 { // asking changes nothing
			got, err := r.f.Explain(r.ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			memory := instance.Reason{Name: "memory", Count: 1, Detail: "w1: 3950 > 3900 MiB free"}
			cordon := instance.Reason{Name: "cordon", Count: 1, Detail: "w2"}
			want := Explanation{Workers: 3, Qualify: 1, Node: "w3", Reasons: []instance.Reason{cordon, memory},
				Judged: []Judged{{Node: "w1", Host: "w1", Reason: &memory}, {Node: "w2", Host: "w2", Reason: &cordon}}}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		}
		q.Service.Spec.Demand.MemoryMB = 5000
		got, err := r.f.Explain(r.ctx, q)
		if err != nil || got.Node != "" || got.Qualify != 0 || len(got.Reasons) != 2 || got.Reasons[0].Count != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
