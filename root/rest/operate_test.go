package rest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/events"
)

func (r *rig) sites() {
	r.below.clusters = []control.ClusterView{{Cluster: model.Cluster{ID: "c1", Name: "kitchen"}}, {Cluster: model.Cluster{ID: "c2", Name: "cellar"}}}
	r.below.nodes = []control.NodeView{
		{Node: model.Node{ID: "w1"}, Cluster: "c1", ClusterName: "kitchen"}, {Node: model.Node{ID: "w1"}, Cluster: "c2", ClusterName: "cellar"},
		{Node: model.Node{ID: "w2"}, Cluster: "c2", ClusterName: "cellar", Draining: true},
	}
}

func TestNodesAreFoundAndOrdered(t *testing.T) {
	r := newRig(t)
	r.sites()
	_, svcs := r.seed("ann")
	nginx := model.InstanceID{Service: model.ServiceID(svcs["nginx"]), Number: 3}
	r.places.on = map[model.ClusterID]map[model.NodeID][]model.InstanceID{"c2": {"w2": {nginx}}}
	var n wire.Node
	r.call("ida", http.MethodGet, "/api/nodes/w2", nil).want(200).into(&n)
	if n.ClusterName != "cellar" || !n.Draining || !n.Stale || len(n.Instances) != 1 || n.Instances[0].JobName != "clientsrvr.test.nginx.test" {
		t.Errorf("%+v", n)
	}
	if p := r.call("ida", http.MethodGet, "/api/nodes/w1", nil).refused(409); !strings.Contains(p.Message, "kitchen, cellar") {
		t.Errorf("%s", p.Message)
	}
	r.call("ida", http.MethodGet, "/api/nodes/w1?cluster=c2", nil).want(200)
	r.call("ida", http.MethodGet, "/api/nodes/w9", nil).refused(404)
	r.places.moves = []control.Move{{Instance: nginx, To: "w1"}, {Instance: model.InstanceID{Service: "gone"}, Reason: "memory 1"}}
	var d wire.Drained
	r.call("ida", http.MethodPost, "/api/nodes/w1/drain?cluster=kitchen", nil).want(200).into(&d)
	if len(d.Moving) != 1 || d.Moving[0].JobName == "" || len(d.Staying) != 1 || d.Staying[0].Reason != "memory 1" {
		t.Errorf("%+v", d)
	}
	for _, c := range []struct{ method, path string }{
		{"POST", "/api/nodes/w2/cordon"}, {"POST", "/api/nodes/w2/uncordon/"}, {"DELETE", "/api/nodes/w2"},
	} {
		r.call("Admin", c.method, c.path, nil).want(200)
		r.call("ann", c.method, c.path, nil).refused(403)
	}
	r.call("ann", http.MethodGet, "/api/nodes", nil).refused(403)
	want := fmt.Sprint([]string{"c1/w1 3", "c2/w2 1", "c2/w2 2", "c2/w2 4"})
	if got := fmt.Sprint(r.places.asked); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.places.err = fmt.Errorf("cluster cellar is not connected: %w", errs.Unavailable)
	if p := r.call("ida", http.MethodPost, "/api/nodes/w2/cordon", nil).refused(503); !strings.Contains(p.Message, "cellar") {
		t.Errorf("%s", p.Message)
	}
}

// What was deleted and cannot be removed yet is listed where it is left.
func TestWhatIsToBeRemovedIsListed(t *testing.T) {
	r := newRig(t)
	r.sites()
	const lost = "worker w2 of cluster cellar is lost; if it will not return: oak node rm w2 --cluster cellar"
	for i := range 150 {
		r.places.ends = append(r.places.ends, control.Removal{Instance: model.InstanceID{Service: "s", Number: i}, Name: "a.b.c.d", Cluster: "c2", Node: "w2", Waits: lost})
	}
	r.places.ends = append(r.places.ends, control.Removal{Instance: model.InstanceID{Service: "s", Number: 200}, Cluster: "c1"}) // nobody knows on which worker
	wantFirst := wire.Removal{Slot: wire.Slot{MicroserviceID: "s", JobName: "a.b.c.d"}, WorkerID: "w2", WaitsFor: lost}
	var n wire.Node
	r.call("ida", http.MethodGet, "/api/nodes/w2", nil).want(200).into(&n)
	if len(n.ToRemove) != 100 || n.ToRemoveTotal != 150 || n.ToRemove[0] != wantFirst {
		t.Errorf("%d of %d, the first %+v", len(n.ToRemove), n.ToRemoveTotal, n.ToRemove[0])
	}
	r.call("ida", http.MethodGet, "/api/nodes/w1?cluster=cellar", nil).want(200).into(&n)
	if n.ToRemove == nil || len(n.ToRemove) != 0 || n.ToRemoveTotal != 0 {
		t.Errorf("%+v", n)
	}
	for name, want := range map[string]int{"cellar": 150, "kitchen": 1} {
		var c wire.Cluster
		r.call("ida", http.MethodGet, "/api/cluster/"+name, nil).want(200).into(&c)
		if c.ToRemoveTotal != want || len(c.ToRemove) != min(want, 100) {
			t.Errorf("%s: %d of %d", name, len(c.ToRemove), c.ToRemoveTotal)
		}
		c = wire.Cluster{}
		r.call("ann", http.MethodGet, "/api/cluster/"+name, nil).want(200).into(&c) // who may not see nodes
		if c.ToRemoveTotal != 0 || c.ToRemove != nil {
			t.Errorf("%s for a user: %+v", name, c.ToRemove)
		}
	}
}

func TestALossIsConfirmed(t *testing.T) {
	r := newRig(t)
	r.sites()
	for _, path := range []string{"/api/cluster/c1/confirm-loss", "/api/clusters/kitchen/confirm-loss/"} {
		r.call("ida", http.MethodPost, path, nil).want(200)
		r.call("ann", http.MethodPost, path, nil).refused(403)
	}
	r.places.said = "nothing was paused"
	if got := r.call("ida", http.MethodPost, "/api/cluster/c1/confirm-loss", nil).want(200).Body.String(); !strings.Contains(got, `"nothing was paused"`) {
		t.Errorf("%s", got)
	}
	r.call("ida", http.MethodPost, "/api/cluster/c9/confirm-loss", nil).refused(404)
	if got := fmt.Sprint(r.places.asked); got != "[c1/ 5 c1/ 5 c1/ 5]" {
		t.Errorf("%s", got)
	}
	r.places.err = fmt.Errorf("cluster kitchen is not connected: %w", errs.Unavailable)
	r.call("ida", http.MethodPost, "/api/cluster/c1/confirm-loss", nil).refused(503)
}

func TestClustersAreShownAndRemoved(t *testing.T) {
	r := newRig(t)
	r.sites()
	for _, path := range []string{"/api/cluster/c1", "/api/clusters/kitchen/"} {
		var c wire.Cluster
		r.call("ann", http.MethodGet, path, nil).want(200).into(&c)
		if c.Name != "kitchen" {
			t.Errorf("%+v", c)
		}
	}
	r.call("ann", http.MethodGet, "/api/cluster/c9", nil).refused(404)
	r.call("ann", http.MethodDelete, "/api/cluster/c1", nil).refused(403)
	r.call("ida", http.MethodDelete, "/api/cluster/c1?force=maybe", nil).refused(422)
	r.places.orphans = []model.InstanceID{{Service: "s", Number: 2}}
	var gone wire.ClusterRemoved
	r.call("ida", http.MethodDelete, "/api/clusters/kitchen?force=true", nil).want(200).into(&gone)
	if len(gone.Orphaned) != 1 || fmt.Sprint(r.places.asked) != "[c1 true]" {
		t.Errorf("%+v, %v", gone, r.places.asked)
	}
	r.below.recovers = true
	r.call("ida", http.MethodDelete, "/api/cluster/c1", nil).refused(503)
}

func TestEventsAreForTheirOwners(t *testing.T) {
	r := newRig(t)
	r.sites()
	app, svcs := r.seed("ann")
	nginx := svcs["nginx"]
	r.call("ann", http.MethodPost, "/api/service/"+nginx+"/instance", nil).want(200)
	r.journal.Record(events.OfCluster("c1", "kitchen").Say(events.Normal, "Joined", "hello"))
	r.journal.Record(events.OfNode("c1", "kitchen", "w1").Say(events.Warning, "Lost", ""))
	words := func(user, path string) string {
		t.Helper()
		var list []wire.Event
		r.call(user, http.MethodGet, path, nil).want(200).into(&list)
		var out []string
		for _, e := range list {
			out = append(out, e.Subject.Type+" "+e.Reason)
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct{ user, path, want string }{
		{"ann", "/api/application/" + app + "/events", "application Created, service Created, service Created, instance Wanted"},
		{"Admin", "/api/service/" + nginx + "/events", "service Created, instance Wanted"},
		{"ann", "/api/service/" + nginx + "/instance/0/events", "instance Wanted"},
		{"ida", "/api/cluster/kitchen/events", "cluster Joined, node Lost"},
		{"ann", "/api/clusters/c1/events", ""},
		{"ida", "/api/nodes/w1/events?cluster=c1", "node Lost"},
	} {
		if got := words(c.user, c.path); got != c.want {
			t.Errorf("%s as %s: %s, want %s", c.path, c.user, got, c.want)
		}
	}
	for _, path := range []string{"/api/application/" + app + "/events", "/api/service/" + nginx + "/events", "/api/service/" + nginx + "/instance/0/events"} {
		r.call("bob", http.MethodGet, path, nil).refused(404)
	}
	for _, n := range []string{"7", "x", "-1"} {
		r.call("ann", http.MethodGet, "/api/service/"+nginx+"/instance/"+n+"/events", nil).refused(404)
	}
	r.call("ann", http.MethodGet, "/api/nodes/w1/events?cluster=c1", nil).refused(403)
}

// stream follows events of a live server; lines arrive on the channel.
func (r *rig) stream(t *testing.T, user, query, last string) (lines <-chan string, stop func()) {
	t.Helper()
	server := httptest.NewServer(r.handler)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/events"+query, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+r.token(user))
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	out := make(chan string, 100)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if s.Text() != "" {
				out <- s.Text()
			}
		}
	}()
	return out, func() { cancel(); server.Close() }
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case l := <-lines:
		return l
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
		return ""
	}
}

func TestEventsStreamAndResume(t *testing.T) {
	r := newRig(t)
	r.seed("bob")
	lines, stop := r.stream(t, "ann", "", "")
	next(t, lines) // the first comment
	r.journal.Record(events.OfCluster("c1", "kitchen").Say(events.Normal, "Joined", "not for ann"))
	r.seedAs("ann")
	first := next(t, lines)
	if name, data := next(t, lines), next(t, lines); name != "event: event" || !strings.Contains(data, `"Created"`) || !strings.Contains(data, `"application"`) {
		t.Errorf("%s\n%s", name, data)
	}
	stop()
	// What came after the first event comes again, in order, and nothing else.
	again, stop := r.stream(t, "ann", "?type=service", strings.TrimPrefix(first, "id: "))
	defer stop()
	next(t, again)
	if id := next(t, again); id <= first || !strings.HasPrefix(id, "id: ") {
		t.Errorf("resumed at %s after %s", id, first)
	}
	// An id of another start: what came in between nobody knows.
	missed, stop2 := r.stream(t, "Admin", "?reason=Joined&kind=normal", "0-99")
	defer stop2()
	next(t, missed)
	if l := next(t, missed); l != "event: missed" {
		t.Errorf("%s", l)
	}
	next(t, missed)
	next(t, missed)
	next(t, missed)
	if l := next(t, missed); !strings.Contains(l, "not for ann") {
		t.Errorf("%s", l)
	}
	r.call("ann", http.MethodGet, "/api/events?after=x", nil).refused(422)
}

// seedAs posts a descriptor that clashes with nobody's.
func (r *rig) seedAs(user string) {
	r.t.Helper()
	r.call(user, http.MethodPost, "/api/application/", `{"sla_version":"v2.0","applications":[{"application_name":"other","application_namespace":"x","microservices":[
		{"microservice_name":"a","microservice_namespace":"x","virtualization":"container","code":"docker.io/library/nginx:latest"}]}]}`).want(200)
}

func TestStreamsEndWithTheRoot(t *testing.T) {
	stopping := make(chan struct{})
	r := newRig(t, func(d *Deps) { d.Stopping = stopping })
	lines, stop := r.stream(t, "ann", "?after=0", "")
	defer stop()
	next(t, lines)
	close(stopping)
	for range lines { // ends
	}
}

func TestMetricsAreForNeighbours(t *testing.T) {
	r := newRig(t)
	for from, want := range map[string]int{"127.0.0.1:1": 503, "192.168.1.2:1": 503, "8.8.8.8:1": 403} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.RemoteAddr = from
		r.do(req).refused(want)
	}
}

func TestABackupIsForAdministratorsAndSaysWhatItIs(t *testing.T) {
	r := newRig(t)
	r.call("Admin", http.MethodGet, "/api/admin/backup", nil).refused(503)
	r = newRig(t, measured)
	r.call("ann", http.MethodGet, "/api/admin/backup", nil).refused(403)
	a := r.call("Admin", http.MethodGet, "/api/admin/backup", nil)
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if a.Code != 200 || a.Body.String() != "abc" || a.Result().Trailer.Get("X-Checksum-Sha256") != sum || !strings.Contains(a.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("%d %s, %v %v", a.Code, a.Body, a.Header(), a.Result().Trailer)
	}
}
