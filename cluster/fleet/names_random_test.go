package fleet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// crowd is some services of one job name on a few original agents, and whatever
// may happen to them.
type crowd struct {
	*rig
	rnd     *rand.Rand
	engines map[string]*engine
	want    map[model.InstanceID]Assignment // tombstones too, until they are gone
	grant   instance.Grant
}

// TestServicesOfOneNameAtRandom: at no moment is a slot told of as running
// while its worker runs another one under the name, no delete hits the container
// of another slot, and in the end everything is as it is wanted.
func TestServicesOfOneNameAtRandom(t *testing.T) {
	const seeds = 12
	for _, g := range generations {
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("%s/%d", g.name, seed), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := &crowd{rig: newRig(t), rnd: rand.New(rand.NewPCG(seed, 1)), engines: map[string]*engine{}, want: map[model.InstanceID]Assignment{}}
					for i := range 1 + w.rnd.IntN(3) {
						host := fmt.Sprint("w", i)
						w.engines[host] = w.engine(g, host)
					}
					for range 40 {
						w.step()
						w.settles(time.Duration(w.rnd.IntN(8000)) * time.Millisecond)
					}
					w.calm()
				})
			})
		}
	}
}

func (w *crowd) any() *engine {
	return w.engines[fmt.Sprint("w", w.rnd.IntN(len(w.engines)))]
}

func (w *crowd) one() (model.InstanceID, bool) {
	ids := slices.SortedFunc(maps.Keys(w.want), func(a, b model.InstanceID) int { return int(w.want[a].Grant) - int(w.want[b].Grant) })
	if len(ids) == 0 {
		return model.InstanceID{}, false
	}
	return ids[w.rnd.IntN(len(ids))], true
}

func (w *crowd) step() {
	id, some := w.one()
	switch w.rnd.IntN(12) {
	case 0, 1, 2: // a new one, often in the place of another
		w.grant++
		a := namesake(fmt.Sprintf("%024d", w.grant), w.grant, fmt.Sprintf("%024d", w.grant))
		a.Instance.Number = w.rnd.IntN(2)
		a.Service.Spec.OneShot = w.rnd.IntN(4) == 0
		list := []Assignment{a}
		if some && w.rnd.IntN(2) == 0 {
			list = append([]Assignment{ends(w.want[id])}, a)
		}
		w.gives(list...)
	case 3, 4:
		if some {
			w.gives(ends(w.want[id]))
		}
	case 5: // another revision
		if a := w.want[id]; some && !a.Tombstone {
			w.grant++
			a.Grant = w.grant
			w.gives(a)
		}
	case 6:
		w.any().exits(w.rnd.IntN(2))
	case 7:
		w.any().restarts()
	case 8:
		w.any().set(func(e *engine) { e.cut = !e.cut })
	case 9:
		w.any().set(func(e *engine) { e.pull = time.Duration(w.rnd.IntN(30000)) * time.Millisecond })
	case 10:
		w.hub.Fault(w.rnd.Uint64(), memlink.Faults{Drop: 0.2 * w.rnd.Float64()}, memlink.Faults{Drop: 0.5 * w.rnd.Float64(), Dup: 0.1})
	case 11:
		w.again()
	}
}

func (w *crowd) gives(list ...Assignment) {
	for _, a := range list {
		w.want[a.Instance] = a
	}
	w.tell(list...)
}

// settles lets time pass and looks at every moment.
func (w *crowd) settles(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		elapse(250 * time.Millisecond)
		for id, a := range w.want {
			f := w.root.get(id)
			if f.Gone && a.Tombstone {
				delete(w.want, id)
				continue
			}
			e := w.engines[string(f.Placement.Node)]
			if e == nil || f.Observed.State != instance.Running || f.Gone {
				continue
			}
			if has := e.imageOf(a); has != "" && has != a.Service.Spec.Image {
				w.t.Fatalf("%s is told of as running; under its name %s runs %s", id, f.Placement.Node, has)
			}
		}
		for host, e := range w.engines {
			if e.hits() > 0 {
				w.t.Fatalf("%s was told to delete one slot and has the container of another", host)
			}
		}
	}
}

// imageOf is the image of what runs under the job name and number of a slot.
func (e *engine) imageOf(a Assignment) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := key(a.Service.Name, a.Instance.Number)
	if !e.tasks[k] {
		return ""
	}
	return e.specs[k].Spec.Image
}

func (e *engine) hits() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wrong
}

// calm ends all faults: what is wanted runs where there is a worker for it, what
// is not is gone.
func (w *crowd) calm() {
	w.t.Helper()
	w.hub.Fault(1, memlink.Faults{}, memlink.Faults{})
	for _, e := range w.engines {
		e.set(func(e *engine) { e.cut, e.pull = false, time.Second })
	}
	w.settles(25 * time.Minute) // the longest wait for a pull, and the brake
	taken := map[string]bool{}
	for id, a := range w.want {
		f := w.root.get(id)
		if f.Placement.Verdict == instance.Placed && f.Observed.State != instance.Completed {
			taken[fmt.Sprint(f.Placement.Node, id.Number)] = true
		}
		switch {
		case a.Tombstone:
			w.t.Errorf("%s is not gone: %+v in the book", id, w.book.slot(id))
		case f.Observed.State == instance.Completed && a.Service.Spec.OneShot:
		case f.Placement.Verdict == instance.Placed && f.Observed.State == instance.Running:
			if has := w.engines[string(f.Placement.Node)].imageOf(a); has != a.Service.Spec.Image {
				w.t.Errorf("%s is told of as running on %s, which has %q under its name", id, f.Placement.Node, has)
			}
		case f.Placement.Verdict != instance.Refused:
			w.t.Errorf("%s neither runs nor is refused: %+v", id, f)
		}
	}
	for id := range w.want {
		if f := w.root.get(id); f.Placement.Verdict == instance.Refused {
			for host := range w.engines {
				if !taken[fmt.Sprint(host, id.Number)] {
					w.t.Errorf("%s is refused (%+v), while %s has nothing of the name", id, f.Placement.Reasons, host)
				}
			}
		}
	}
	for host, e := range w.engines {
		if n := len(e.images()); n > 2 {
			w.t.Errorf("%s runs %d", host, n)
		}
	}
}
