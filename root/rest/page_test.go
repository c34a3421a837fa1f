package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

func TestPagesAndFilters(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.call("ann", http.MethodPost, "/api/application/", fmt.Sprintf(`{"applications":[{"application_name":"app%d","application_namespace":"test"}]}`, i)).want(200)
	}
	var all []string
	path := "/api/applications/?limit=3"
	for pages := 1; path != ""; pages++ {
		a := r.call("ann", http.MethodGet, path, nil).want(200)
		var list []struct {
			Name string `json:"application_name"`
		}
		a.into(&list)
		for _, v := range list {
			all = append(all, v.Name)
		}
		cursor, link := a.Header().Get("X-Next-Cursor"), a.Header().Get("Link")
		if (cursor == "") != (pages == 3) || (link == "") != (cursor == "") {
			t.Fatalf("page %d: cursor %q, link %q", pages, cursor, link)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		if cursor != "" && !strings.Contains(path, "cursor="+url.QueryEscape(cursor)) {
			t.Fatalf("link %q without %q", link, cursor)
		}
	}
	if got := strings.Join(all, " "); got != "app0 app1 app2 app3 app4 app5 app6" {
		t.Errorf("%s", got)
	}
	count := func(path string) int {
		var list []any
		who := "ann"
		if strings.HasPrefix(path, "/api/nodes") { // needs a role
			who = "ida"
		}
		r.call(who, http.MethodGet, path, nil).want(200).into(&list)
		return len(list)
	}
	r.seed("ann")
	r.below.clusters = []control.ClusterView{{Cluster: model.Cluster{ID: "1", Name: "north"}, Active: true}, {Cluster: model.Cluster{ID: "2", Name: "south"}}}
	r.below.nodes = []control.NodeView{{Node: model.Node{ID: "w1"}, ClusterName: "north"}, {Node: model.Node{ID: "w2"}, ClusterName: "south"}}
	for path, want := range map[string]int{
		"/api/applications?name=APP3": 1, "/api/applications?name=app": 7, "/api/applications?name=%00": 0, "/api/applications?unknown=x": 8,
		"/api/services?name=nginx": 1, "/api/services?name=clientsrvr.test": 2, "/api/services?status=created": 2, "/api/services?status=RUNNING": 0,
		"/api/services?limit=1&name=curl": 1, "/api/clusters?status=active": 1, "/api/clusters?name=outh": 1, "/api/clusters/active?status=inactive": 0,
		"/api/nodes?name=north": 1, "/api/nodes?status=unseen": 2, "/api/nodes?limit=1": 1, "/api/applications?cursor=": 8,
	} {
		if got := count(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for query, name := range map[string]string{
		"limit=0": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=1001": "limit", "limit=": "limit", "cursor=!!": "cursor",
		"name=" + strings.Repeat("x", 201): "name", "limit=x&cursor=!": "limit",
	} {
		if p := r.call("ann", http.MethodGet, "/api/applications/?"+query, nil).refused(422); p.Errors[0].Path != name {
			t.Errorf("%s: %+v", query, p)
		}
	}
	if expose := r.call("ann", http.MethodGet, "/api/applications/", nil).Header().Get("Access-Control-Expose-Headers"); !strings.Contains(expose, "X-Next-Cursor") {
		t.Errorf("pages of other origins cannot see the cursor: %s", expose)
	}
}

// Whatever the size of a page, following the cursors gives every entry once,
// in order.
func TestPagesAreThePartsOfAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := make([]string, rapid.IntRange(0, 30).Draw(t, "n"))
		for i := range list {
			list[i] = fmt.Sprintf("k%02d", i)
		}
		q := query{limit: rapid.IntRange(1, 10).Draw(t, "limit"), name: rapid.SampledFrom([]string{"", "1", "k0"}).Draw(t, "name")}
		of := func(v string) entry { return entry{key: v, names: []string{v}} }
		whole, _ := page(query{name: q.name}, list, of)
		var parts []string
		for range 40 {
			part, next := page(q, list, of)
			if len(part) > q.limit || next != "" && len(part) < q.limit {
				t.Fatalf("a page of %d, next %q", len(part), next)
			}
			parts = append(parts, part...)
			if next == "" {
				break
			}
			v, err := readQuery(url.Values{"cursor": {next}})
			if err != nil {
				t.Fatal(err)
			}
			q.after = v.after
		}
		if strings.Join(parts, " ") != strings.Join(whole, " ") {
			t.Fatalf("%v, want %v", parts, whole)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{"limit=3&cursor=YQ&name=x&status=RUNNING", "limit=%zz", "cursor=%00", "limit=9223372036854775808", "name=\xff", "limit=3;cursor=4"} {
		f.Add(q)
	}
	list := []string{"a", "b", "c"}
	f.Fuzz(func(t *testing.T, raw string) {
		v, _ := url.ParseQuery(raw) // as the server does: what cannot be read is left out
		q, err := readQuery(v)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("class of %v", err)
			}
			return
		}
		out, next := page(q, list, func(s string) entry { return entry{key: s, names: []string{s}, status: "up"} })
		if len(out) > len(list) || q.limit > 0 && len(out) > q.limit || next != "" && len(out) == 0 {
			t.Errorf("%q: %v, next %q", raw, out, next)
		}
	})
}
