package model

import (
	"fmt"
	"testing"
)

func TestAChangeKeepsTheLastTenRevisions(t *testing.T) {
	s := Service{Revision: 1, Spec: ServiceSpec{Image: "v1"}}
	for n := 2; n <= 15; n++ {
		s = s.Change(ServiceSpec{Image: fmt.Sprintf("v%d", n)})
		s.Revision++ // as the store does
		if s.Rollout.From != 1 || s.Rollout.State != RolloutRunning {
			t.Fatalf("rollout at %d: %+v", n, s.Rollout)
		}
	}
	if len(s.History) != MaxHistory-1 || s.History[0].Number != 6 || s.History[8].Number != 14 || s.History[8].Spec.Image != "v14" {
		t.Errorf("history: %+v", s.History)
	}
	if a := s.Assigned(); a.History != nil || a.Rollout != (Rollout{}) || a.Spec.Image != "v15" {
		t.Errorf("assigned: %+v", a)
	}
}

func TestNoDifferenceIsNoChange(t *testing.T) {
	s := Service{Revision: 3, Spec: ServiceSpec{Image: "a", Command: []string{}}}
	if c := s.Change(ServiceSpec{Image: "a"}); len(c.History) != 0 || c.Rollout.State != RolloutDone {
		t.Errorf("%+v", c)
	}
	s.Rollout = Rollout{State: RolloutFailed, From: 2, Message: "no"}
	if c := s.Change(ServiceSpec{Image: "a"}); c.Rollout != (Rollout{State: RolloutRunning, From: 2}) {
		t.Errorf("a failed one begins again: %+v", c.Rollout)
	}
}

func TestWhatOnlyUsersSeeNeedsNoReplacement(t *testing.T) {
	a := ServiceSpec{Image: "a", Ports: []Port{{80, 80, TCP}}, PortText: "80"}
	b := a
	b.PortText, b.Kept, b.OnClusterLoss, b.MaxUnavailable, b.StartSeconds = "80:80/tcp", "{}", "replace", 2, 9
	if !a.Runs(b) || a.Equal(b) {
		t.Error("both run the same and read differently")
	}
	for _, change := range []func(*ServiceSpec){
		func(s *ServiceSpec) { s.Image = "b" }, func(s *ServiceSpec) { s.Command = []string{"x"} }, func(s *ServiceSpec) { s.Demand.MemoryMB = 1 },
		func(s *ServiceSpec) { s.Ports = nil }, func(s *ServiceSpec) { s.Constraints = []Constraint{{Type: "direct", Cluster: "c"}} },
		func(s *ServiceSpec) { s.OneShot = true }, func(s *ServiceSpec) { s.Environment = []string{"A=1"} }, func(s *ServiceSpec) { s.Runtime = "x" },
	} {
		c := a
		if change(&c); a.Runs(c) {
			t.Errorf("%+v must be replaced", c)
		}
	}
}
