package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
	"oakestra/root/control"
)

// stage is a world that a named test has set up.
type stage struct {
	*World
	t *testing.T
}

func scene(t *testing.T, f func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{New(t, Config{Seed: 1, Log: testkit.Logger(t)}), t}
		defer s.End()
		f(t, s)
	})
}

// site adds a cluster with workers and waits until they can be used.
func (s *stage) site(name string, workers int) (*Cluster, []*Machine) {
	c := s.AddCluster(name)
	var list []*Machine
	for i := range workers {
		m := s.NewMachine(c, fmt.Sprintf("%s%d", name, i), room())
		m.PowerOn()
		list = append(list, m)
	}
	time.Sleep(8 * time.Second)
	return c, list
}

// run stores a service and brings it to n instances at rest.
func (s *stage) run(v Service, n int) model.ServiceID {
	s.t.Helper()
	id, err := s.Root().Create(s.t.Context(), v)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Root().Control.Scale(s.t.Context(), admin, id, n); err != nil {
		s.t.Fatal(err)
	}
	s.Rest(s.t, 30*time.Second)
	return id
}

// paused counts the instances of which users read that they are not replaced.
func (s *stage) paused(id model.ServiceID) (n int) {
	s.t.Helper()
	v, err := s.Root().Control.Service(s.t.Context(), admin, id)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, in := range v.Slots {
		if strings.Contains(in.Detail, "is lost; replacement paused until ") && strings.HasSuffix(in.Detail, "oak cluster confirm-loss a") {
			n++
		}
	}
	return n
}

// on lists where the containers of a service live, by number.
func (s *stage) on(id model.ServiceID) map[int][]found {
	out := map[int][]found{}
	for _, m := range s.Machines() {
		for _, c := range m.Live() {
			if c.Spec.Service == id {
				out[c.Spec.Number] = append(out[c.Spec.Number], found{c.Spec.Attempt(), m})
			}
		}
	}
	return out
}

// one is the only live container of a slot.
func (s *stage) one(id model.ServiceID, number int) found {
	s.t.Helper()
	list := s.on(id)[number]
	if len(list) != 1 {
		s.t.Fatalf("%s/%d lives %d times: %v", id, number, len(list), places(list))
	}
	return list[0]
}

// most says how often one slot lives at most, and at least, over a time.
func (s *stage) most(id model.ServiceID, slots int, d time.Duration) (least, most int) {
	least = 1 << 30
	for range int(d / (250 * time.Millisecond)) {
		time.Sleep(250 * time.Millisecond)
		now := s.on(id)
		for n := range slots {
			least, most = min(least, len(now[n])), max(most, len(now[n]))
		}
	}
	return least, most
}

// stops says when an attempt was stopped and when another began to run.
func (s *stage) times(loser, winner instance.Attempt) (stopped, ran time.Time) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	return s.watch.ends[loser], s.watch.runs[winner.Instance][winner.Epoch]
}

// TestSplitBrain: a cluster that is cut off from the root loses a worker and
// heals by itself, while the root, which takes it for dead, runs everything
// elsewhere. When they meet again every slot runs once, under the root's higher
// grant, and what the cluster ran was stopped only after that ran.
func TestSplitBrain(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		a, aw := s.site("a", 3)
		id := s.run(Service{Name: "web", Memory: 100, Loss: "replace"}, 4)
		s.site("b", 3)
		before := s.on(id)
		a.cable.set(true)
		lost := before[0][0].machine
		lost.PowerOff()
		time.Sleep(30 * time.Second)
		healed := s.one(id, 0)
		if healed.machine.Home != a || healed.attempt.Epoch.Grant != before[0][0].attempt.Epoch.Grant || healed.attempt.Epoch.Try != 2 {
			t.Fatalf("the cluster did not heal by itself: %v", places([]found{healed}))
		}
		time.Sleep(60 * time.Second)
		apart := s.on(id)
		for n := range 4 {
			if len(apart[n]) != 2 {
				t.Fatalf("slot %d lives %d times while apart: %v", n, len(apart[n]), places(apart[n]))
			}
		}
		lost.PowerOn() // what it ran comes back, too
		time.Sleep(5 * time.Second)
		a.cable.set(false)
		took := s.Rest(t, 30*time.Second)
		t.Logf("COUNT: split brain: at rest %s after the heal", took)
		for n := range 4 {
			winner := s.one(id, n)
			if winner.machine.Home == a {
				t.Errorf("slot %d runs at the cluster that was cut off", n)
			}
			for _, l := range apart[n] {
				if l.attempt == winner.attempt {
					continue
				}
				stopped, ran := s.times(l.attempt, winner.attempt)
				if stopped.IsZero() || ran.IsZero() || !ran.Before(stopped) || !l.attempt.Epoch.Less(winner.attempt.Epoch) {
					t.Errorf("slot %d: %s was stopped at %s, %s ran at %s", n, l.attempt.Epoch, stopped, winner.attempt.Epoch, ran)
				}
			}
		}
		_ = aw
	})
}

// TestTwoMachinesOfOneName: both are workers, each keeps its id and its work.
func TestTwoMachinesOfOneName(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		c, _ := s.site("a", 0)
		x, y := s.NewMachine(c, "twin", room()), s.NewMachine(c, "twin", room())
		x.PowerOn()
		y.PowerOn()
		time.Sleep(8 * time.Second)
		id := s.run(Service{Name: "web", Memory: 100, VCPUs: 1}, 8)
		ids, live := []model.NodeID{x.ID(), y.ID()}, [2]int{len(x.Live()), len(y.Live())}
		if ids[0] == ids[1] || live[0] == 0 || live[1] == 0 {
			t.Fatalf("ids %v, containers %v", ids, live)
		}
		for range 3 {
			x.StopEngine(true)
			y.PowerOff()
			time.Sleep(4 * time.Second)
			y.PowerOn()
			x.StartEngine()
			s.Rest(t, 30*time.Second)
		}
		if got := []model.NodeID{x.ID(), y.ID()}; !slices.Equal(got, ids) {
			t.Errorf("ids went from %v to %v", ids, got)
		}
		if n := len(s.on(id)); n != 8 {
			t.Errorf("%d slots live", n)
		}
	})
}

// TestAgentLostIsNotNodeLost: while NetManager is heard a silent NodeEngine
// has 5 minutes; both silent, the worker is lost after 10 s.
func TestAgentLostIsNotNodeLost(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		s.site("a", 3)
		id := s.run(Service{Name: "web", Memory: 100}, 1)
		first := s.one(id, 0)
		first.machine.StopEngine(true)
		if least, most := s.most(id, 1, 4*time.Minute+45*time.Second); least != 1 || most != 1 {
			t.Fatalf("within 5 min of a silent agent: %d to %d live", least, most)
		}
		if got := s.one(id, 0); got.attempt != first.attempt {
			t.Fatalf("replaced by %s", got.attempt.Epoch)
		}
		time.Sleep(30 * time.Second)
		if n := len(s.on(id)[0]); n != 2 {
			t.Fatalf("after 5 min: %d live", n)
		}
		first.machine.StartEngine()
		s.Rest(t, 30*time.Second)

		second := s.one(id, 0)
		begin := time.Now()
		second.machine.cable.set(true)
		for len(s.on(id)[0]) < 2 {
			time.Sleep(100 * time.Millisecond)
			if time.Since(begin) > time.Minute {
				t.Fatal("a lost worker is not replaced")
			}
		}
		took := time.Since(begin)
		t.Logf("COUNT: worker cut off -> replacement runs: %s", took)
		if took < 9*time.Second || took > 16*time.Second {
			t.Errorf("replaced after %s", took)
		}
		second.machine.cable.set(false)
		s.Rest(t, 30*time.Second)
	})
}

// TestBrake: many workers lost at once are not replaced for 5 min. Those that
// return meanwhile go on; those that do not are replaced then.
func TestBrake(t *testing.T) {
	for _, returns := range []bool{true, false} {
		scene(t, func(t *testing.T, s *stage) {
			_, list := s.site("a", 10)
			id := s.run(Service{Name: "web", Memory: 100, VCPUs: 1}, 10)
			before := s.on(id)
			for _, m := range list[:6] {
				m.cable.set(true)
			}
			if least, most := s.most(id, 10, 4*time.Minute); least != 1 || most > 2 {
				t.Fatalf("%d to %d live", least, most)
			}
			replaced := 0
			for _, l := range s.on(id) {
				if len(l) > 1 {
					replaced++
				}
			}
			if s.Counts()["brake"] != 1 || replaced > 3 {
				t.Fatalf("brakes %d, replaced %d", s.Counts()["brake"], replaced)
			}
			t.Logf("COUNT: 6 of 10 workers lost at once: %d of their instances were replaced before the brake held", replaced)
			if n := s.paused(id); n != 6-replaced {
				t.Errorf("of %d instances users read that they are not replaced, want %d", n, 6-replaced)
			}
			if !returns {
				time.Sleep(2 * time.Minute)
				if n := s.paused(id); n != 0 {
					t.Errorf("after the brake users read of %d instances that they are not replaced", n)
				}
				for n, l := range s.on(id) {
					if slices.ContainsFunc(list[:6], func(m *Machine) bool { return before[n][0].machine == m }) && len(l) != 2 {
						t.Errorf("slot %d lives %d times after the brake", n, len(l))
					}
				}
			}
			for _, m := range list[:6] {
				m.cable.set(false)
			}
			s.Rest(t, 30*time.Second)
			if !returns {
				return
			}
			kept := 0
			for n := range 10 {
				if s.one(id, n).attempt == before[n][0].attempt {
					kept++
				}
			}
			if kept < 10-replaced {
				t.Errorf("%d of 10 go on, %d were replaced", kept, replaced)
			}
		})
	}
}

// TestDrain: everything moves, and at every instant every slot lives.
func TestDrain(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		_, list := s.site("a", 4)
		id := s.run(Service{Name: "web", Memory: 100, VCPUs: 0.5}, 12)
		s.SetBus(LossyBus)
		for _, m := range list[:2] {
			if _, err := s.Root().Control.OrderNode(t.Context(), admin, m.ID(), "a", control.Drain); err != nil {
				t.Fatal(err)
			}
		}
		// What moved to the other one that is drained moves twice.
		if least, most := s.most(id, 12, time.Minute); least < 1 || most > 3 {
			t.Errorf("%d to %d live", least, most)
		}
		s.Rest(t, 30*time.Second)
		for _, m := range list[:2] {
			if n := len(m.Live()); n != 0 {
				t.Errorf("%d left on %s", n, m.Name)
			}
		}
	})
}

// TestReturns: P2. A worker or a cluster is cut off for some time and comes
// back. Meanwhile a slot lives once more at most, and three reports after it
// was heard again everything is as it must be.
func TestReturns(t *testing.T) {
	for _, c := range []struct {
		name   string
		away   time.Duration
		extra  int  // how often a slot may live besides
		keeps  bool // the same attempts run afterwards
		target func(s *stage, m *Machine) *cable
	}{
		{"a blink", 4 * time.Second, 0, true, func(_ *stage, m *Machine) *cable { return m.cable }},
		{"just not lost", 8 * time.Second, 0, true, func(_ *stage, m *Machine) *cable { return m.cable }},
		{"lost and replaced", 30 * time.Second, 1, false, func(_ *stage, m *Machine) *cable { return m.cable }},
		{"lost for long", 10 * time.Minute, 1, false, func(_ *stage, m *Machine) *cable { return m.cable }},
		{"its cluster is cut off for 10 min, keep", 10 * time.Minute, 0, true, func(_ *stage, m *Machine) *cable { return m.Home.cable }},
	} {
		t.Run(c.name, func(t *testing.T) {
			scene(t, func(t *testing.T, s *stage) {
				s.site("a", 3)
				id := s.run(Service{Name: "web", Memory: 100}, 3)
				s.site("b", 3)
				before := s.on(id)
				at := before[0][0].machine
				w := c.target(s, at)
				w.set(true)
				if least, most := s.most(id, 3, c.away); least < 1 || most > 1+c.extra {
					t.Errorf("%d to %d live while apart", least, most)
				}
				w.set(false)
				took := s.Rest(t, 15*time.Second)
				t.Logf("COUNT: %s: at rest %s after the heal", c.name, took)
				for n := range 3 {
					if after := s.one(id, n); c.keeps && after.attempt != before[n][0].attempt {
						t.Errorf("slot %d: %s instead of %s", n, after.attempt.Epoch, before[n][0].attempt.Epoch)
					}
				}
			})
		})
	}
}

// TestReturnBeforeTheReplacementRuns: it is cancelled, and what ran goes on.
func TestReturnBeforeTheReplacementRuns(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		_, list := s.site("a", 2)
		id := s.run(Service{Name: "web", Memory: 5000}, 1)
		first := s.one(id, 0)
		i := slices.IndexFunc(list, func(m *Machine) bool { return m != first.machine })
		list[i].PowerOff() // nowhere to go
		first.machine.cable.set(true)
		if least, most := s.most(id, 1, time.Minute); least != 1 || most != 1 {
			t.Errorf("%d to %d live", least, most)
		}
		first.machine.cable.set(false)
		s.Rest(t, 15*time.Second)
		if now := s.one(id, 0); now.attempt != first.attempt {
			t.Errorf("%s runs instead of %s", now.attempt.Epoch, first.attempt.Epoch)
		}
	})
}

// TestClusterStoreLost: F9. A cluster manager comes back without its store. Its
// name belongs to the key that is lost; where an administrator removes the old
// cluster instead of approving the key, it is a new one, and what its workers
// run is stopped only after a successor runs.
func TestClusterStoreLost(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		a, _ := s.site("a", 3)
		id := s.run(Service{Name: "web", Memory: 100, Port: "80:80"}, 4)
		s.site("b", 3)
		s.SetBus(LossyBus)
		a.Kill()
		a.LoseDisk()
		a.Start()
		if least, most := s.most(id, 4, time.Minute); least != 1 || most != 1 {
			t.Fatalf("%d to %d live while the name is refused", least, most)
		}
		if _, err := s.Root().Control.RemoveCluster(t.Context(), admin, "a", true); err != nil {
			t.Fatal(err)
		}
		if least, most := s.most(id, 4, 10*time.Second); least < 1 {
			t.Errorf("%d to %d live", least, most)
		}
		took := s.Rest(t, 30*time.Second)
		t.Logf("COUNT: cluster store lost: at rest %s after the removal of the old cluster", 10*time.Second+took)
	})
}

// TestClusterApproved: F9. A cluster manager that lost its store is the old
// cluster again once an administrator has approved its new key: same id, and
// every container goes on.
func TestClusterApproved(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		a, _ := s.site("a", 3)
		id := s.run(Service{Name: "web", Memory: 100, Port: "80:80"}, 4)
		s.site("b", 3)
		before, was := s.on(id), s.clusterID(a)
		s.SetBus(LossyBus)
		a.Kill()
		a.LoseDisk()
		a.Start()
		time.Sleep(10 * time.Second)
		if _, err := s.Root().Control.ApproveCluster(t.Context(), admin, "a"); err != nil {
			t.Fatal(err)
		}
		took := s.Rest(t, 30*time.Second)
		t.Logf("COUNT: cluster approved: at rest %s after the approval", took)
		if now := s.clusterID(a); now != was {
			t.Errorf("id %s became %s", was, now)
		}
		for n := range 4 {
			if now := s.one(id, n); now.attempt != before[n][0].attempt {
				t.Errorf("slot %d: %s instead of %s", n, now.attempt.Epoch, before[n][0].attempt.Epoch)
			}
		}
		if _, err := s.Root().Control.Scale(t.Context(), admin, id, 7); err != nil {
			t.Fatal(err)
		}
		s.Rest(t, 30*time.Second)
	})
}

// TestRootStoreLost: F12. The root comes back without its store, with what its
// witness remembers: nothing is stopped, everything is adopted.
func TestRootStoreLost(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		s.site("a", 3)
		id := s.run(Service{Name: "web", Memory: 100}, 4)
		before := s.on(id)
		s.KillRoot()
		if err := os.Remove(filepath.Join(s.dir, "root.db")); err != nil {
			t.Fatal(err)
		}
		s.StartRoot()
		took := s.Rest(t, 30*time.Second)
		t.Logf("COUNT: root store lost: at rest %s after the start", took)
		for n := range 4 {
			if got := s.one(id, n); got.attempt != before[n][0].attempt || got.machine != before[n][0].machine {
				t.Errorf("slot %d: %s", n, got.attempt.Epoch)
			}
		}
		if p, err := s.look(s.Root()); err != nil || len(p.wanted) != 4 {
			t.Errorf("%d slots are wanted: %v", len(p.wanted), err)
		}
	})
}
