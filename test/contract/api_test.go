package contract

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/root/witness"
)

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// newAPI is a root with everything the rows refer to.
func newAPI(t *testing.T) *apiRig {
	t.Helper()
	r := startRoot(t, witness.Record{})
	r.everyone()
	r.good(http.MethodGet, "/api/openapi.json", "", nil, &r.doc)
	r.connected()
	return r
}

func rows() []row { return slices.Concat(accountRows(), workloadRows(), siteRows()) }

// TestAPI drives every operation of the document, in both slash forms, as
// every kind of caller.
func TestAPI(t *testing.T) {
	r := newAPI(t)
	declared := r.doc.operations()
	var want, have []string
	for name := range declared {
		want = append(want, name)
	}
	for _, row := range rows() {
		have = append(have, row.op)
	}
	slices.Sort(want)
	slices.Sort(have)
	if d := cmp.Diff(want, have); d != "" {
		t.Fatalf("/api/openapi.json - rows here +\n%s", d)
	}
	for _, row := range rows() {
		t.Run(strings.ReplaceAll(row.op, "/", "|"), func(t *testing.T) {
			op := declared[row.op]
			r.asEveryone(t, row, op)
			r.withUnknown(t, row)
			r.withoutJSON(t, row, op)
			r.withTooMuch(t, row, op)
		})
	}
	t.Run("undeclared methods", r.undeclared)
	t.Run("unknown paths", func(t *testing.T) {
		for _, path := range []string{"/", "/api", "/api/nothing", "/api/cluster", "/api/service/" + r.service + "/nothing"} {
			r.answers(t, call{path: path}, http.MethodGet, r.token("Admin"), http.StatusNotFound)
		}
	})
}

// asEveryone calls an operation with every token of every caller.
func (r *apiRig) asEveryone(t *testing.T, row row, op operation) {
	method, _, _ := strings.Cut(row.op, " ")
	statuses := strings.Fields(row.want)
	if len(statuses) != len(r.callers) {
		t.Fatalf("%d statuses for %d callers", len(statuses), len(r.callers))
	}
	seen, succeeded := false, false
	for i, as := range r.callers {
		want, err := strconv.Atoi(statuses[i])
		must(t, err)
		if as.name == "anonymous" && (want == http.StatusUnauthorized) != (len(op.Security) > 0) {
			t.Errorf("anonymous is answered %d, the document says Bearer: %v", want, op.Security)
		}
		for _, token := range as.tokens {
			for _, slash := range []string{"", "/"} {
				if as.name == "wrong" && token == as.tokens[wrongKind] && row.op == "POST /api/auth/refresh" {
					token = r.token("Admin") // there an access token is of the wrong kind
				}
				c := row.call(r, as)
				path, query, asked := strings.Cut(c.path, "?")
				if c.path = path + slash; asked {
					c.path += "?" + query
				}
				r.link.beat()
				a := r.answers(t, c, method, token, want)
				if a.code == http.StatusOK {
					succeeded = true
					if (as.name == "foreigner" || as.name == "orgadmin") && (contains(a.body, r.app) || contains(a.body, r.service)) {
						t.Errorf("%s is shown what is the owner's: %s", as.name, a.body)
					}
					seen = r.answered(t, op, row.shape, a) && r.inside(t, row, a) || seen
				}
			}
		}
	}
	if succeeded && !seen {
		t.Error("no caller was shown an element, so its fields are not known")
	}
}

// inside checks the elements of one field.
func (r *apiRig) inside(t *testing.T, row row, a answer) (seen bool) {
	field, shape, there := strings.Cut(row.inner, " ")
	if !there {
		return true
	}
	o, _ := parse(t, a.body).(map[string]any)
	wrong, seen := lacks("[]"+shape, field, o[field])
	if len(wrong) > 0 {
		t.Errorf("%s in %s", strings.Join(wrong, "; "), a.body)
	}
	return seen
}

// answers calls and checks the status and the body of a refusal.
func (r *apiRig) answers(t *testing.T, c call, method, token string, want int) answer {
	t.Helper()
	if c.token != "" {
		token = c.token
	}
	a := r.do(t, r.request(t.Context(), t, method, c.path, token, c.body), c.enough)
	if a.code != want {
		t.Errorf("%s %s: %d, want %d: %s", method, c.path, a.code, want, a.body)
	}
	if a.code != http.StatusOK {
		r.refused(t, a)
	}
	return a
}

// withUnknown asks for what does not exist.
func (r *apiRig) withUnknown(t *testing.T, row row) {
	method, path, _ := strings.Cut(row.op, " ")
	if !parameter.MatchString(path) {
		return
	}
	want := http.StatusNotFound
	if row.unknown != 0 {
		want = row.unknown
	}
	admin := r.callers[len(r.callers)-1]
	c := row.call(r, admin)
	for _, id := range []string{"000000000000000000000000", "nothing", "%2e%2e", "a%2fb", "%00", "%F0%9F%8C%B3"} {
		c.path = parameter.ReplaceAllString(strings.ReplaceAll(path, "{number}", "0"), id)
		r.answers(t, c, method, admin.tokens[0], want)
	}
	if strings.Contains(path, "{number}") {
		c.path = strings.NewReplacer("{id}", r.service, "{number}", "99").Replace(path)
		r.answers(t, c, method, admin.tokens[0], http.StatusNotFound)
	}
}

// withoutJSON sends a body that cannot be read where one is wanted.
func (r *apiRig) withoutJSON(t *testing.T, row row, op operation) {
	if op.RequestBody == nil {
		return
	}
	method, _, _ := strings.Cut(row.op, " ")
	owner := r.callers[slices.IndexFunc(r.callers, func(c caller) bool { return c.name == "owner" })]
	admin := r.callers[len(r.callers)-1]
	for _, as := range []caller{owner, admin} {
		c := row.call(r, as)
		if statuses := strings.Fields(row.want); statuses[slices.IndexFunc(r.callers, func(c caller) bool { return c.name == as.name })] == "403" {
			continue
		}
		for _, text := range []string{"{", "nonsense", `{"a":1} {`} {
			c.body = text
			r.answers(t, c, method, as.tokens[0], http.StatusBadRequest)
		}
	}
}

// withTooMuch sends a body that nobody may send.
func (r *apiRig) withTooMuch(t *testing.T, row row, op operation) {
	if op.RequestBody == nil {
		return
	}
	method, _, _ := strings.Cut(row.op, " ")
	admin := r.callers[len(r.callers)-1]
	c := row.call(r, admin)
	if strings.HasSuffix(row.want, "403") {
		return // refused by the name in the path, unread
	}
	c.body = `{"a":"` + strings.Repeat("a", 1<<20) + `"}`
	r.answers(t, c, method, admin.tokens[0], http.StatusRequestEntityTooLarge)
}

// undeclared: what the document does not have is 405, so that DELETE on a
// collection deletes nothing.
func (r *apiRig) undeclared(t *testing.T) {
	tried := 0
	for path, methods := range r.doc.Paths {
		filled := parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), "x")
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if _, there := methods[strings.ToLower(method)]; there {
				continue
			}
			if filled == "/api/clusters/active" && method == http.MethodDelete {
				continue // of a cluster of that name
			}
			for _, slash := range []string{"", "/"} {
				r.answers(t, call{path: filled + slash}, method, r.token("Admin"), http.StatusMethodNotAllowed)
				tried++
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d were tried", tried)
	}
	for _, path := range []string{"/api/applications", "/api/services", "/api/users", "/api/nodes", "/api/clusters", "/api/organization", "/api/tokens", "/api/service/" + r.service + "/instance"} {
		r.answers(t, call{path: path}, http.MethodDelete, r.token("Admin"), http.StatusMethodNotAllowed)
	}
	r.good(http.MethodGet, "/api/service/"+r.service, r.token("owner"), nil, nil)
}

// TestEventsAreStreamed reads the first event of a stream as who may see some.
func TestEventsAreStreamed(t *testing.T) {
	r := newAPI(t)
	for _, name := range []string{"owner", "infra", "Admin"} {
		a := r.answers(t, call{path: "/api/events?after=0", enough: func(b []byte) bool {
			_, data, found := strings.Cut(string(b), "\ndata:")
			return found && strings.Contains(data, "\n\n")
		}}, http.MethodGet, r.token(name), http.StatusOK)
		_, data, _ := strings.Cut(string(a.body), "\ndata:")
		line, _, _ := strings.Cut(data, "\n")
		v := parse(t, []byte(line))
		wrong, _ := lacks(event, "event", v)
		if wrong = append(wrong, r.doc.wrong(schema{Ref: "#/components/schemas/Event"}, "event", v)...); len(wrong) > 0 {
			t.Errorf("%s: %v in %s", name, wrong, line)
		}
	}
}

// TestRecoveryIsAcceptedOnce: a root that lost its store refuses changes until
// an Admin says otherwise.
func TestRecoveryIsAcceptedOnce(t *testing.T) {
	r := startRoot(t, witness.Record{Version: 1, Incarnation: 7, Clusters: []witness.Cluster{{ID: "bbbbbbbbbbbbbbbbbbbbbbbb", Name: "lost"}}})
	r.everyone()
	r.good(http.MethodGet, "/api/openapi.json", "", nil, &r.doc)
	if a := r.answers(t, call{path: "/api/recovery"}, http.MethodGet, r.token("owner"), http.StatusOK); !contains(a.body, `"recovery":true`) {
		t.Errorf("%s", a.body)
	}
	a := r.answers(t, call{path: "/api/application/", body: descriptor("", "app")}, http.MethodPost, r.token("owner"), http.StatusServiceUnavailable)
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	for i, as := range r.callers {
		for _, token := range as.tokens {
			want := []int{401, 401, 403, 403, 403, 403, 200}[i]
			a := r.answers(t, call{path: "/api/recovery/accept"}, http.MethodPost, token, want)
			if want == http.StatusOK && !contains(a.body, `"message":"ok"`) {
				t.Errorf("%s", a.body)
			}
		}
	}
	r.answers(t, call{path: "/api/recovery/accept/"}, http.MethodPost, r.token("Admin"), http.StatusConflict)
	r.answers(t, call{path: "/api/application/", body: descriptor("", "app")}, http.MethodPost, r.token("owner"), http.StatusOK)
}
