package fleet

import (
	"fmt"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// wish is an assignment of the first slot of a service.
func wish(service string, change func(*model.ServiceSpec)) Assignment {
	a := Assignment{Instance: model.InstanceID{Service: model.ServiceID(service)}, Grant: 7, Revision: 1,
		Service: model.Service{ID: model.ServiceID(service), Name: model.ServiceName{App: "a", AppNamespace: "b", Service: service, ServiceNamespace: "d"},
			Spec: model.ServiceSpec{Runtime: "container"}}}
	change(&a.Service.Spec)
	return a
}

func memory(mb int64) func(*model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.Demand.MemoryMB = mb }
}

func (r *rig) wish(list ...Assignment) {
	r.t.Helper()
	if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: list}); err != nil {
		r.t.Fatal(err)
	}
}

// node is where a slot is placed, "" while it is not.
func (r *rig) node(a Assignment) string {
	f := r.root.get(a.Instance)
	if f.Placement.Verdict != instance.Placed {
		return ""
	}
	return string(f.Placement.Node)
}

// Room that is freed is used at once, not with the next retry, whatever freed
// it.
func TestFreedRoomPlacesWhatWaits(t *testing.T) {
	waits := wish("waits", memory(3000))
	for name, c := range map[string]struct {
		first Assignment
		free  func(r *rig, first Assignment)
	}{
		"a slot is removed": {wish("first", memory(3000)), func(r *rig, first Assignment) {
			first.Tombstone = true
			r.wish(first)
		}},
		"a slot moves to another cluster and back, smaller": {wish("first", memory(3000)), func(r *rig, first Assignment) {
			first.Grant, first.Service.Spec.Demand.MemoryMB = 8, 100
			r.wish(first)
		}},
		"what runs once has ended": {wish("first", func(s *model.ServiceSpec) { s.OneShot, s.Demand.MemoryMB = true, 3000 }), func(r *rig, _ Assignment) {
			r.nodes["w1"].set(instance.Completed)
			time.Sleep(2 * time.Second) // its report
		}},
		"another worker comes": {wish("first", memory(3000)), func(r *rig, _ Assignment) {
			r.join("w2")
			time.Sleep(2 * time.Second) // its report: it may hold something
		}},
		"a worker has more than it had": {wish("first", memory(3000)), func(r *rig, _ Assignment) {
			if _, err := r.f.Register(r.ctx, Registration{Host: "w1", Key: "w1", Runtimes: []string{"container"}, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 8000}}); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "w1")
				r.wish(c.first)
				time.Sleep(5 * time.Second)
				r.wish(waits)
				time.Sleep(time.Second)
				if f := r.root.get(waits.Instance); r.node(c.first) != "w1" || f.Placement.Verdict != instance.Refused {
					t.Fatalf("at first: %+v", f)
				}
				c.free(r, c.first)
				time.Sleep(500 * time.Millisecond)
				if r.node(waits) == "" {
					t.Errorf("it waits on: %+v", r.root.get(waits.Instance).Placement)
				}
			})
		})
	}
}

// What runs once and has ended holds no room, and is not run again: not when
// the manager restarts, not when its worker is gone, and not by a drain.
func TestWhatRanOnceStaysCompleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		once := wish("once", func(s *model.ServiceSpec) { s.OneShot, s.Demand.MemoryMB = true, 3000 })
		r.wish(once)
		time.Sleep(5 * time.Second)
		on := r.nodes[r.node(once)]
		on.set(instance.Completed)
		time.Sleep(5 * time.Second)
		completed := func(when string) {
			t.Helper()
			f := r.root.get(once.Instance)
			if _, started := r.total(); started != 1 || f.Observed.State != instance.Completed {
				t.Fatalf("%s: %d starts, %+v", when, started, f)
			}
		}
		completed("at first")
		if _, err := r.f.Order(r.ctx, on.link.ID(), Drain); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		completed("its worker is drained")
		r.stop()
		r.start()
		time.Sleep(time.Minute)
		completed("the manager restarted")
		on.mu.Lock()
		clear(on.has) // its worker was set up anew
		on.mu.Unlock()
		r.stop()
		r.start()
		time.Sleep(time.Minute)
		completed("its worker forgot it")
		on.link.Disconnect()
		r.stop()
		r.start()
		time.Sleep(time.Minute)
		completed("its worker is gone")
		e, err := r.f.Explain(r.ctx, Question{Service: wish("x", memory(4000)).Service})
		if err != nil || e.Qualify != 1 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// The filters of the cluster as they come from descriptors: worker lists, host
// ports and the overlay.
func TestWorkersAreChosenByWhatIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2", "w3")
		only := func(nodes ...string) func(*model.ServiceSpec) {
			return func(s *model.ServiceSpec) {
				s.Constraints = []model.Constraint{{Type: "direct", Cluster: "here", Nodes: nodes}}
			}
		}
		port := func(s *model.ServiceSpec) { s.Ports = []model.Port{{Host: 80, Container: 80, Protocol: model.TCP}} }
		listed, elsewhere := wish("listed", only("w3", "w9")), wish("elsewhere", only("w9"))
		overlay := wish("overlay", func(*model.ServiceSpec) {})
		overlay.Service.Chosen = true // a service address was asked for
		r.wish(listed, elsewhere, overlay)
		time.Sleep(2 * time.Second)
		if r.node(listed) != "w3" {
			t.Errorf("listed is on %q", r.node(listed))
		}
		for _, c := range []struct {
			a      Assignment
			reason string
		}{{elsewhere, "constraint"}, {overlay, "network"}} {
			p := r.root.get(c.a.Instance).Placement
			if p.Verdict != instance.Refused || len(p.Reasons) != 1 || p.Reasons[0].Name != c.reason || p.Reasons[0].Count != 3 || p.Reasons[0].Detail == "" {
				t.Errorf("%s: %+v", c.a.Instance, p)
			}
		}
		// Services with one host port go to a worker each; a fourth has none
		// left. Instances of the same service share it.
		for i := range 3 {
			a := wish(fmt.Sprint("port", i), port)
			a.Service.Spec.PortText = "80:80"
			if _, err := r.f.Register(r.ctx, Registration{Host: fmt.Sprint("w", i+1), Key: fmt.Sprint("w", i+1), Runtimes: []string{"container"},
				Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 4000}, Network: true}); err != nil {
				t.Fatal(err)
			}
			r.wish(a)
		}
		again, fourth := wish("port0", port), wish("port3", port)
		again.Instance.Number = 1
		r.wish(again, fourth)
		time.Sleep(2 * time.Second)
		used := map[string]bool{}
		for i := range 3 {
			used[r.node(wish(fmt.Sprint("port", i), port))] = true
		}
		if len(used) != 3 || used[""] || r.node(again) != r.node(wish("port0", port)) {
			t.Errorf("workers %v, the second instance on %q", used, r.node(again))
		}
		if p := r.root.get(fourth.Instance).Placement; p.Verdict != instance.Refused || p.Reasons[0].Name != "port" || p.Reasons[0].Count != 3 {
			t.Errorf("fourth: %+v", p)
		}
	})
}

// Instances of one service spread over the workers, and demands over their
// shares.
func TestInstancesSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2", "w3")
		var list []Assignment
		for i := range 9 {
			a := wish("s", memory(100))
			a.Instance.Number = i
			list = append(list, a)
		}
		r.wish(list...)
		time.Sleep(2 * time.Second)
		count := map[string]int{}
		for _, a := range list {
			count[r.node(a)]++
		}
		if count["w1"] != 3 || count["w2"] != 3 || count["w3"] != 3 {
			t.Errorf("%v", count)
		}
	})
}
