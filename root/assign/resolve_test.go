package assign

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
)

// Of several services of one name the oldest answers, whichever come and go.
func TestTheOldestOfOneNameAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newResolver()
		names := map[model.ServiceID]string{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := model.ServiceID(rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "id"))
			exists := rapid.Bool().Draw(t, "exists")
			if _, known := names[id]; !known {
				names[id] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
			}
			s := model.Service{ID: id, Name: model.ServiceName{App: names[id], AppNamespace: "n", Service: "s", ServiceNamespace: "n"}}
			if r.replace(id, &s, exists, nil); !exists {
				delete(names, id)
			}
			for _, name := range []string{"a", "b"} {
				var ids []model.ServiceID
				for id, n := range names {
					if n == name {
						ids = append(ids, id)
					}
				}
				got, ok := r.find(name + ".n.s.n")
				if ok != (len(ids) > 0) || ok && got.ID != slices.Min(ids) {
					t.Fatalf("%s is %q %v, want the least of %v", name, got.ID, ok, ids)
				}
			}
			if len(r.shadowed["a.n.s.n"])+len(r.shadowed["b.n.s.n"]) > len(names) {
				t.Fatalf("names are kept that nobody has: %v, %v exist", r.shadowed, names)
			}
		}
	})
}
