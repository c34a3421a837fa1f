package assign_test

import (
	"slices"
	"strings"
	"testing"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/root/events"
)

// removals is what is left to remove, as "instance cluster node: what it waits for".
func (r *rig) removals() []string {
	r.t.Helper()
	list, err := r.desk.Removals(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	out := []string{}
	for _, v := range list {
		out = append(out, v.Name+" "+string(v.Node)+": "+v.Waits)
	}
	return out
}

// waitings lists the events that say that the removal of a slot waits.
func (r *rig) waitings(id model.InstanceID) (out []string) {
	for _, e := range r.told.List(events.Instance, id.String()) {
		if e.Reason == "RemovalWaits" {
			out = append(out, string(e.Kind)+" "+e.Message)
		}
	}
	return out
}

// holdsStill has the cluster say that a worker, lost or not, still holds a tombstone.
func (f *fake) holdsStill(id model.ServiceID, number int, on ...string) {
	f.tell(func(f *fake) *linkv1.Up {
		fact := &linkv1.InstanceFacts{ServiceId: string(id), Number: uint32(number), Grant: f.held[key(string(id), number)].Grant, LeftOn: on}
		return &linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{fact}}}}
	})
}

func (f *fake) hasNode(id string, l linkv1.NodeLiveness) {
	f.tell(func(*fake) *linkv1.Up {
		return &linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: &linkv1.NodeUpdate{Nodes: []*linkv1.Node{{Id: id, Liveness: l}}}}}
	})
}

func (r *rig) wantRemovals(want ...string) {
	r.t.Helper()
	if got := r.removals(); !slices.Equal(got, want) {
		r.t.Errorf("to be removed:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is deleted while its worker is lost, or its cluster away, waits; who is
// waited for is told once.
func TestARemovalThatWaitsSaysForWhom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("north").join(r)
		r.deploy(svc.ID, 2)
		a.set(func(f *fake) { f.mute = true })
		a.hasNode("w3", linkv1.NodeLiveness_NODE_LIVENESS_ALIVE)
		r.undeploy(svc.ID, 0)
		a.holdsStill(svc.ID, 0, "w3")
		r.wantRemovals("one.test.web.test w3: ") // on its way
		pass(seconds(50))
		if got := r.waitings(r1(svc.ID)); len(got) != 0 {
			t.Errorf("its worker is alive, and yet: %q", got)
		}
		const lost = "worker w3 of cluster north is lost; if it will not return: oak node rm w3 --cluster north"
		a.hasNode("w3", linkv1.NodeLiveness_NODE_LIVENESS_LOST)
		pass(seconds(11))
		r.wantRemovals("one.test.web.test w3: " + lost)
		if got := r.waitings(r1(svc.ID)); !slices.Equal(got, []string{"warning " + lost}) {
			t.Errorf("%q", got)
		}
		pass(seconds(120))
		if got := r.waitings(r1(svc.ID)); len(got) != 1 {
			t.Errorf("told again: %q", got)
		}
		// The other one ends while its cluster is away, and after its service.
		a.leave()
		r.undeploy(svc.ID, 1)
		if err := r.ctl.DeleteService(t.Context(), admin, svc.ID); err != nil {
			t.Fatal(err)
		}
		pass(seconds(45))
		const away = "cluster north is not connected; if it will not return: oak cluster rm north"
		r.wantRemovals("one.test.web.test w3: "+away, "one.test.web.test w1: "+away)
		second := model.InstanceID{Service: svc.ID, Number: 1}
		if got := r.waitings(second); !slices.Equal(got, []string{"warning " + away}) {
			t.Errorf("%q", got)
		}
		if got := r.waitings(r1(svc.ID)); len(got) != 1 {
			t.Errorf("the first was told again: %q", got)
		}
		a.set(func(f *fake) { f.mute = false }).join(r)
		pass(seconds(2))
		r.wantRemovals()
	})
}

// A root that has just started knows of no worker, and still says which cluster
// is waited for.
func TestARemovalWaitsOverARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("north").join(r)
		r.deploy(svc.ID, 1)
		a.leave()
		r.undeploy(svc.ID, 0)
		r = r.restart()
		const away = "cluster north is not connected; if it will not return: oak cluster rm north"
		r.wantRemovals("one.test.web.test : " + away)
		pass(seconds(45))
		if got := r.waitings(r1(svc.ID)); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}
