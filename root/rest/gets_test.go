package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/model"
	"oakestra/root/auth"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/metrics"
	"oakestra/root/store"
)

// get is one GET of the router with the golden of its answer by a root that
// runs the quick start. In path {app}, {nginx}, {curl} and {root} are ids.
type get struct {
	route, golden, path string
	empty               string // a golden's name: the answer of a root that has nothing; else see bare
	bare                string // a path: the same of something that has nothing in it
}

// gets has every GET. Where another has the same answer the golden is shared.
var gets = []get{
	{route: "/api/applications", golden: "applications", path: "/api/applications/", empty: "none"},
	{route: "/api/aplications", golden: "applications", path: "/api/aplications", empty: "none"},
	{route: "/api/applications/:user", golden: "applications", path: "/api/applications/Admin", empty: "none"},
	{route: "/api/services", golden: "services", path: "/api/services/", empty: "none"},
	{route: "/api/services/:app", golden: "services", path: "/api/services/{app}", bare: "/api/services/{bareapp}"},
	{route: "/api/application/:id", golden: "application", path: "/api/application/{app}", bare: "/api/application/{bareapp}"},
	{route: "/api/service/:id", golden: "service-nginx", path: "/api/service/{nginx}", bare: "/api/service/{bare}"},
	{route: "/api/service/:id", golden: "service-curl", path: "/api/service/{curl}"},
	{route: "/api/service/:id/explain", golden: "explain", path: "/api/service/{nginx}/explain", bare: "/api/service/{bare}/explain"},
	{route: "/api/service/:id/revisions", golden: "revisions", path: "/api/service/{nginx}/revisions", bare: "/api/service/{bare}/revisions"},
	{route: "/api/clusters", golden: "clusters", path: "/api/clusters/", empty: "none"},
	{route: "/api/clusters/active", golden: "clusters-active", path: "/api/clusters/active", empty: "none"},
	{route: "/api/cluster/:id", golden: "cluster", path: "/api/cluster/c1", bare: "/api/cluster/c2"},
	{route: "/api/clusters/:id", golden: "cluster", path: "/api/clusters/cccccccccccccccccccccccc", bare: "/api/clusters/c2"},
	{route: "/api/nodes", golden: "nodes", path: "/api/nodes/", empty: "none"},
	{route: "/api/orphans", golden: "orphans", path: "/api/orphans", empty: "none"},
	{route: "/api/nodes/:id", golden: "node", path: "/api/nodes/w1", bare: "/api/nodes/w2"},
	{route: "/api/application/:id/events", golden: "events-application", path: "/api/application/{app}/events", bare: "/api/application/{bareapp}/events"},
	{route: "/api/service/:id/events", golden: "events-service", path: "/api/service/{nginx}/events", bare: "/api/service/{bare}/events"},
	{route: "/api/service/:id/instance/:number/events", golden: "events-instance", path: "/api/service/{nginx}/instance/1/events", bare: "/api/service/{bare}/instance/0/events"},
	{route: "/api/service/:id/instance/:number/logs", golden: "logs.txt", path: "/api/service/{nginx}/instance/1/logs?tail=2"},
	{route: "/api/cluster/:id/events", golden: "events-cluster", path: "/api/cluster/c1/events", bare: "/api/cluster/c2/events"},
	{route: "/api/clusters/:id/events", golden: "events-cluster", path: "/api/clusters/c1/events", bare: "/api/clusters/c2/events"},
	{route: "/api/nodes/:id/events", golden: "events-node", path: "/api/nodes/w1/events", bare: "/api/nodes/w2/events"},
	{route: "/api/recovery", golden: "recovery", path: "/api/recovery", empty: "recovery-empty"},

	{route: "/api/user/:name", golden: "user", path: "/api/user/ann", bare: "/api/user/bare"},
	{route: "/api/users", golden: "users", path: "/api/users", bare: "/api/users"},
	{route: "/api/users/:organization", golden: "users-lab", path: "/api/users/lab", bare: "/api/users/hollow"},
	{route: "/api/permission/:name", golden: "permission", path: "/api/permission/Admin", bare: "/api/permission/bare"},
	{route: "/api/organization", golden: "organizations", path: "/api/organization/", bare: "/api/organization/"},
	{route: "/api/tokens", golden: "tokens", path: "/api/tokens", empty: "none"},

	{route: "/healthz", golden: "healthz", path: "/healthz", empty: "healthz"},
	{route: "/readyz", golden: "readyz", path: "/readyz", empty: "readyz"},
	{route: "/metrics", golden: "metrics.txt", path: "/metrics"},
	{route: "/api/events", golden: "stream.txt", path: "/api/events?after=0"},
	{route: "/api/admin/backup", golden: "backup.txt", path: "/api/admin/backup"},
}

// A GET that is new has no row here, and so no golden.
func TestEveryGetHasAGolden(t *testing.T) {
	var want, have []string
	for _, route := range newEngine(Deps{}).Routes() {
		if route.Method == http.MethodGet && !documentation(route.Path) && !strings.Contains(route.Path, "/exec") { // those have tests of their own
			want = append(want, strings.TrimSuffix(route.Path, "/"))
		}
	}
	for _, g := range gets {
		have = append(have, g.route)
		if g.empty == "" && g.bare == "" && !strings.HasSuffix(g.golden, ".txt") && g.golden != "service-curl" {
			t.Errorf("%s: no answer of a root that has nothing", g.route)
		}
		if _, err := os.Stat(goldenFile(g.golden)); err != nil {
			t.Errorf("%s: %v", g.route, err)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if d := cmp.Diff(slices.Compact(want), slices.Compact(have)); d != "" {
		t.Errorf("GETs of the router - rows with a golden +\n%s", d)
	}
}

func goldenFile(name string) string {
	if !strings.HasSuffix(name, ".txt") {
		name += ".json"
	}
	return filepath.Join("testdata", name)
}

var (
	moment   = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	fileName = regexp.MustCompile(`-\d{8}-\d{6}\.db`)
	keyName  = regexp.MustCompile(`\b(oak_)?[0-9a-f]{16}"`)
)

// steady replaces what differs from run to run; ids are the golden's business.
func steady(text string) string {
	text = moment.ReplaceAllStringFunc(text, func(at string) string {
		if strings.HasPrefix(at, "2025-03-04T05:06:07") { // seenAt
			return at
		}
		return "<time>"
	})
	text = fileName.ReplaceAllString(text, "-<time>.db")
	return keyName.ReplaceAllString(text, `$1<key>"`)
}

// readAsText is the part of an answer that is no JSON and that is the same
// every time.
func readAsText(t *testing.T, a answer) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"Content-Type", "Content-Disposition", "Cache-Control", "Trailer"} {
		if v := a.Header().Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	b.WriteByte('\n')
	for line := range strings.Lines(a.Body.String()) {
		switch name, _, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); {
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"): // of the library
		case strings.HasPrefix(line, "# TYPE "), !strings.HasPrefix(a.Header().Get("Content-Type"), "text/plain; version"):
			b.WriteString(line)
		}
	}
	return b.String()
}

// nulls lists where a document has one.
func nulls(at string, v any) (out []string) {
	switch v := v.(type) {
	case nil:
		return []string{at}
	case []any:
		for i, e := range v {
			out = append(out, nulls(fmt.Sprintf("%s[%d]", at, i), e)...)
		}
	case map[string]any:
		for name, e := range v {
			out = append(out, nulls(at+"."+name, e)...)
		}
	}
	return out
}

// withoutNull reads an answer and fails for any null in it: a list is [], also
// when nobody ever put anything in.
func withoutNull(t *testing.T, path string, raw []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v in %s", path, err, raw)
	}
	for _, at := range nulls("answer", v) {
		t.Errorf("GET %s: %s is null in %s", path, at, raw)
	}
}

// answersOf reads every GET; fill replaces {names}.
func (r *rig) answersOf(g *golden, fill *strings.Replacer) {
	r.t.Helper()
	for _, get := range gets {
		path := fill.Replace(get.path)
		if strings.HasSuffix(get.golden, ".txt") {
			a := r.reads(path)
			if a.Code != http.StatusOK {
				r.t.Fatalf("%s: %d %s", path, a.Code, a.Body)
			}
			g.compare(get.golden, steady(readAsText(r.t, a)))
			continue
		}
		raw := r.call("Admin", http.MethodGet, path, nil).want(http.StatusOK).Body.Bytes()
		withoutNull(r.t, path, raw)
		g.check(get.golden, raw)
	}
}

// reads is call as Admin; of a stream it takes what is there and hangs up.
func (r *rig) reads(path string) answer {
	r.t.Helper()
	if !strings.HasPrefix(path, "/api/events") {
		return r.call("Admin", http.MethodGet, path, nil)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	req.RemoteAddr = "192.168.7.7:4711"
	req.Header.Set("Authorization", "Bearer "+r.token("Admin"))
	w := &hangsUp{ResponseRecorder: httptest.NewRecorder(), after: "NotPlaced", cancel: cancel}
	r.handler.ServeHTTP(w, req)
	return answer{w.ResponseRecorder, r.t}
}

// hangsUp ends the request once it has read a word.
type hangsUp struct {
	*httptest.ResponseRecorder
	after  string
	cancel func()
}

func (h *hangsUp) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(h.after)) {
		defer h.cancel()
	}
	return h.ResponseRecorder.Write(b)
}

// organized adds what accounts have: an organization, a token, a user.
func (r *rig) organized() {
	r.t.Helper()
	lab := store.Organization{ID: "ffffffffffffffffffffffff", Name: "lab"} // lists are by id: after the root's
	lab.Members = []store.Member{{User: "u-ann", Roles: []string{auth.RoleOrgAdmin, auth.RoleApplication}}}
	must(r.t, r.store.Organizations().Put(r.t.Context(), lab))
	r.call("Admin", http.MethodPost, "/api/tokens", body{"name": "ci", "scopes": []string{auth.ScopeRead, auth.ScopeDeploy}}).want(200)
}

// happened records what the tiers below would.
func (r *rig) happened(services map[string]string) {
	c1 := events.Subject{Type: events.Cluster, ID: "cccccccccccccccccccccccc", Name: "c1"}
	r.journal.Record(events.Event{Subject: c1, Kind: events.Normal, Reason: "Connected", Message: "from 192.0.2.10"})
	w1 := events.Subject{Type: events.Node, ID: c1.ID + "/w1", Name: "w1"}
	r.journal.Record(events.Event{Subject: w1, Also: []events.Subject{c1}, Kind: events.Warning, Reason: "Lost", Message: "silent for 10 s"})
	id := services["nginx"]
	r.journal.Record(events.Event{
		Subject: events.Subject{Type: events.Instance, ID: id + "/1", Name: "clientsrvr.test.nginx.test.instance.1"},
		Also:    []events.Subject{{Type: events.Service, ID: id, Name: "clientsrvr.test.nginx.test"}},
		Kind:    events.Warning, Reason: "NotPlaced", Message: "vcpus: 1", Owner: "Admin",
	})
}

// measured gives a root what /metrics shows, and a store to copy.
func measured(d *Deps) {
	m := metrics.New(metrics.Sources{
		Clusters: d.Below.Clusters, Nodes: d.Below.Nodes, Recovery: d.Below.Recovery, Events: d.Events.Stats,
		Words: func() map[string]int { return map[string]int{"RUNNING": 1} },
	})
	m.Store(true, time.Millisecond, nil)
	d.Meter = m
	d.Backup = func(_ context.Context, w io.Writer) (int64, error) { return io.Copy(w, strings.NewReader("abc")) }
}

func TestAnswersOfARootThatHasNothing(t *testing.T) {
	r := newRig(t, measured)
	g := golden{t, map[string]string{}}
	for _, get := range gets {
		if get.empty == "" {
			continue
		}
		raw := r.call("Admin", http.MethodGet, get.path, nil).want(http.StatusOK).Body.Bytes()
		withoutNull(t, get.path, raw)
		if get.empty == "none" {
			if text := string(bytes.TrimSpace(raw)); text != "[]" {
				t.Errorf("%s: %s", get.path, text)
			}
			continue
		}
		g.check(get.empty, raw)
	}
}

// What was made with the least that can be said, or has come to nothing: every
// list in it is there, and is empty.
func TestListsAreNeverNull(t *testing.T) {
	r := newRig(t, measured)
	r.below.clusters = []control.ClusterView{{Cluster: model.Cluster{ID: "dddddddddddddddddddddddd", Name: "c2"}}}
	r.below.nodes = []control.NodeView{{Node: model.Node{ID: "w2"}}}
	must(t, r.store.Users().Put(t.Context(), store.User{ID: "u-bare", Name: "bare"}))
	r.organize("hollow")
	var apps []struct{ ApplicationID string }
	r.call("Admin", http.MethodPost, "/api/application", `{"applications":[{"application_name":"bare","application_namespace":"t"}]}`).want(200).into(&apps)
	var made struct {
		Job string `json:"job_id"`
	}
	least := `{"applicationID":"` + apps[0].ApplicationID + `","application_name":"bare","application_namespace":"t","microservices":[{"microservice_name":"s","microservice_namespace":"t","code":"img","virtualization":"container","connectivity":[{"target_microservice_id":"x"}]}]}`
	r.call("Admin", http.MethodPost, "/api/application", `{"applications":[{"application_name":"none","application_namespace":"t"}]}`).want(200).into(&apps)
	r.call("Admin", http.MethodPost, "/api/service", `{"applications":[`+least+`]}`).want(200).into(&made)
	r.call("Admin", http.MethodPost, "/api/service/"+made.Job+"/instance", nil).want(200)
	fill := strings.NewReplacer("{bareapp}", apps[len(apps)-1].ApplicationID, "{bare}", made.Job)
	for _, get := range gets {
		if get.bare == "" {
			continue
		}
		path := fill.Replace(get.bare)
		withoutNull(t, path, r.call("Admin", http.MethodGet, path, nil).want(http.StatusOK).Body.Bytes())
	}
	for _, get := range gets { // the lists, with one such in them
		if get.empty != "" {
			withoutNull(t, get.path, r.call("Admin", http.MethodGet, get.path, nil).want(http.StatusOK).Body.Bytes())
		}
	}
	r.call("Admin", http.MethodDelete, "/api/service/"+made.Job+"/instance/0", nil).want(200) // once it had some
	path := "/api/service/" + made.Job
	withoutNull(t, path, r.call("Admin", http.MethodGet, path, nil).want(http.StatusOK).Body.Bytes())
}
