package clusters

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// What a cluster gives back to a root that lost its store is what it was
// assigned: docs/design/rollout.md says what that leaves out.
func TestWhatAClusterGivesBack(t *testing.T) {
	spec := model.ServiceSpec{
		Image: "i", Runtime: "container", Command: []string{"c"}, Environment: []string{"A=1"}, Demand: model.Resources{MilliCPU: 1, MemoryMB: 2, GPUs: 3, DiskMB: 4},
		Ports: []model.Port{{Host: 80, Container: 90, Protocol: model.TCP}}, PortText: "80:90",
		Constraints: []model.Constraint{{Type: "direct", Cluster: "c1", Nodes: []string{"n1"}}, {Type: "clusters", Allowed: []string{"c1"}}},
		Arch:        []string{"arm64"}, OneShot: true, OnClusterLoss: "replace", MaxUnavailable: 2, StartSeconds: 9, Kept: `{"args":["x"]}`,
	}
	svc := model.Service{
		ID: "aaaaaaaaaaaaaaaaaaaaaaaa", Application: "bbbbbbbbbbbbbbbbbbbbbbbb", Owner: "ann", Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: "d"},
		Spec: spec, Address: netip.MustParseAddr("10.30.0.1"), Chosen: true, NextNumber: 8, Revision: 5,
		History: []model.Revision{{Number: 4, Spec: spec}}, Rollout: model.Rollout{State: model.RolloutRunning, From: 4},
	}
	app := model.Application{ID: svc.Application, Name: "a", Namespace: "b", Description: "d", Owner: "ann"}
	in := store.Instance{ID: model.InstanceID{Service: svc.ID, Number: 7}, Address: netip.MustParseAddr("10.30.0.2"), Cluster: "c", Grant: 6, Revision: 3, Service: svc}
	got := claimsFrom(&linkv1.Claims{Assignments: []*linkv1.Assignment{assignmentTo(in, app)}}, "c", Claims{})

	want := in
	want.Service = svc.Assigned() // no history, no rollout
	want.Service.Spec.MaxUnavailable, want.Service.Spec.StartSeconds, want.Service.Spec.Kept = 0, 0, ""
	if d := cmp.Diff([]store.Instance{want}, got.Orders, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("want - got +\n%s", d)
	}
	if d := cmp.Diff(map[model.ApplicationID]model.Application{app.ID: app}, got.Applications, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("want - got +\n%s", d)
	}
}
