package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/store"
)

// While its cluster replaces nothing, what ran on a lost worker waits like what
// found no room, and everything that is said of it says until when and what
// ends it.
func TestAPauseOfReplacementIsExplained(t *testing.T) {
	r := newRig(t)
	_, svcs := r.seed("ann")
	id := model.InstanceID{Service: model.ServiceID(svcs["nginx"])}
	r.call("ann", http.MethodPost, "/api/service/"+svcs["nginx"]+"/instance", nil).want(200)
	_, err := r.store.Instances().Update(t.Context(), id, func(in store.Instance) (store.Instance, error) {
		in.Cluster, in.Grant = "c1", instance.MakeGrant(1, 1)
		return in, nil
	})
	must(t, err)
	north := control.ClusterView{Cluster: model.Cluster{ID: "c1", Name: "north"}, Active: true, LastSeen: seenAt, PausedUntil: seenAt.Add(5 * time.Minute)}
	r.below.clusters = []control.ClusterView{north}
	r.below.facts[id] = control.InstanceView{Node: instance.Lost, Placement: instance.Placement{Try: 1, Node: "w3", Verdict: instance.Placed},
		Observed: instance.Observed{Epoch: instance.Epoch{Grant: instance.MakeGrant(1, 1), Try: 1}, State: instance.Running}}
	r.places.dry = control.DryRun{OneMore: control.Verdicts{Choice: "c1", Clusters: []control.Verdict{{Cluster: "c1"}}}}
	r.places.answers = map[model.ClusterID]control.Answer{"c1": {State: control.Answered, Workers: 1, Qualify: 1, Node: "w1"}}

	const line = "replacement paused until 2025-03-04T05:11:07Z since many workers were lost at once: oak cluster confirm-loss north"
	var s wire.Service
	r.call("ann", http.MethodGet, "/api/service/"+svcs["nginx"], nil).want(200).into(&s)
	if got := s.Instances[0]; got.Status != "FAILED" || got.StatusDetail != "node w3 is lost; "+line || !strings.Contains(s.StatusDetail, line) {
		t.Errorf("instance %s %q, service %q", got.Status, got.StatusDetail, s.StatusDetail)
	}
	var e wire.Explanation
	explain := func() {
		e = wire.Explanation{}
		r.call("ann", http.MethodGet, "/api/service/"+svcs["nginx"]+"/explain", nil).want(200).into(&e)
	}
	explain()
	if e.WaitingTotal != 1 || len(e.Waiting) != 1 || e.Waiting[0].Outlook.Message != line || e.Waiting[0].StatusDetail != "node w3 is lost; "+line || e.Waiting[0].Outlook.Possible {
		t.Errorf("waiting: %+v", e.Waiting)
	}
	if got := e.OneMore.Clusters[0].StatusDetail; got != line || !e.OneMore.Possible { // another one may start
		t.Errorf("one more: %+v", e.OneMore)
	}
	var c wire.Cluster
	r.call("ann", http.MethodGet, "/api/cluster/north", nil).want(200).into(&c)
	if c.StatusDetail != line || c.PausedUntil != "2025-03-04T05:11:07Z" {
		t.Errorf("cluster: %q, until %q", c.StatusDetail, c.PausedUntil)
	}

	north.PausedUntil = time.Time{}
	r.below.clusters = []control.ClusterView{north}
	if explain(); e.WaitingTotal != 0 || len(e.Waiting) != 0 || e.OneMore.Clusters[0].StatusDetail != "" {
		t.Errorf("after the pause: %+v", e)
	}
}

func TestAnExplanationListsAsManyWorkersAsAsked(t *testing.T) {
	r := newRig(t)
	_, svcs := r.seed("ann")
	path := "/api/service/" + svcs["nginx"] + "/explain"
	r.below.clusters = []control.ClusterView{{Cluster: model.Cluster{ID: "c1", Name: "north"}, Active: true}}
	var judged []control.Judged
	for i := range 300 {
		judged = append(judged, control.Judged{Node: model.NodeID(fmt.Sprint("w", i))})
	}
	r.places.dry = control.DryRun{OneMore: control.Verdicts{Choice: "c1", Clusters: []control.Verdict{{Cluster: "c1"}}}}
	r.places.answers = map[model.ClusterID]control.Answer{"c1": {State: control.Answered, Workers: 300, Qualify: 300, Node: "w1", Judged: judged}}
	for query, want := range map[string]int{"": 100, "?limit=1": 1, "?limit=250": 250, "?limit=1000": 300} {
		var e wire.Explanation
		r.call("ann", http.MethodGet, path+query, nil).want(200).into(&e)
		if c := e.OneMore.Clusters[0]; len(c.Nodes) != want || c.NodesOmitted != 300-want {
			t.Errorf("%q lists %d workers and omits %d, want %d listed", query, len(c.Nodes), c.NodesOmitted, want)
		}
	}
	for _, bad := range []string{"0", "-3", "1001", "many", "", "1e3"} {
		p := r.call("ann", http.MethodGet, path+"?limit="+bad, nil).refused(422)
		if len(p.Errors) != 1 || p.Errors[0].Path != "limit" || p.Errors[0].Value != bad {
			t.Errorf("limit %q: %+v", bad, p)
		}
	}
}
