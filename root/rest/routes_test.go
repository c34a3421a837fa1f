package rest

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
)

// operation is one method of one path, in the document's spelling.
type operation struct {
	method, path string
	guarded      bool
}

var ginParameter = regexp.MustCompile(`:([a-z]+)`)

// served walks the router; both slash forms count as one route.
func served(e *gin.Engine) map[string]bool {
	out := map[string]bool{}
	for _, r := range e.Routes() {
		if documentation(r.Path) {
			continue
		}
		path := strings.TrimSuffix(ginParameter.ReplaceAllString(r.Path, "{$1}"), "/")
		out[r.Method+" "+path] = true
	}
	return out
}

func TestDocumentDescribesExactlyWhatIsServed(t *testing.T) {
	var have, want []string
	for r := range served(newEngine(Deps{})) {
		have = append(have, r)
	}
	for r := range described(t, document) {
		want = append(want, r)
	}
	sort.Strings(have)
	sort.Strings(want)
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("document - router + (after a change of the comments: make generate)\n%s", d)
	}
}

// open lists what needs no access token.
var open = map[string]bool{
	"POST /api/auth/login": true, "GET /healthz": true, "GET /readyz": true, "GET /metrics": true, "POST /api/user": true, "PUT /api/user": true,
}

func TestEveryOperationButLoginAsksForATokenAndSaysSo(t *testing.T) {
	r := newRig(t)
	access := r.token("Admin")
	for name, op := range described(t, document) {
		t.Run(strings.ReplaceAll(name, "/", "|"), func(t *testing.T) {
			if op.guarded == open[name] {
				t.Errorf("the document says Bearer: %v", op.guarded)
			}
			path := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(op.path, "0")
			for _, form := range []string{path, path + "/"} {
				for _, header := range []string{"", "Bearer", "Bearer ", "Basic QWRtaW46QWRtaW4=", "Bearer nonsense", access} {
					req := httptest.NewRequest(op.method, form, nil)
					req.RemoteAddr = "127.0.0.1:1"
					req.Header.Set("Authorization", header)
					a := answer{httptest.NewRecorder(), t}
					r.handler.ServeHTTP(a, req)
					if open[name] {
						if a.Code == http.StatusUnauthorized {
							t.Errorf("%s asks for a token", form)
						}
						continue
					}
					a.refused(http.StatusUnauthorized)
					if a.Header().Get("WWW-Authenticate") == "" {
						t.Error("WWW-Authenticate is missing")
					}
				}
			}
		})
	}
}

func TestLoginOverHTTP(t *testing.T) {
	r := newRig(t)
	login := func(from string, body any, header ...string) answer {
		raw, err := json.Marshal(body)
		must(t, err)
		req := httptest.NewRequest(http.MethodPost, "/api/auth/login", strings.NewReader(string(raw)))
		req.RemoteAddr = from
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		return r.do(req)
	}
	admin := map[string]string{"username": "Admin", "password": "Admin"}
	var s struct {
		Token, RefreshToken string
		Refresh             string `json:"refresh_token"`
		Must                *bool  `json:"must_change_password"`
	}
	login("127.0.0.1:1", admin).want(200).into(&s)
	if s.Token == "" || s.Refresh == "" || s.Must == nil || !*s.Must {
		t.Errorf("session is %+v", s)
	}
	login("[::1]:1", admin).want(200)
	login("10.1.2.3:1", map[string]string{"username": "Admin", "password": "Admin", "organization_name": "root"}).want(200)
	login("10.1.2.3:1", map[string]string{"username": "Admin", "password": "Admin", "organization_name": "other"}).refused(404)
	login("10.1.2.3:1", map[string]string{"username": "Admin", "password": "wrong"}).refused(401)
	login("10.1.2.3:1", map[string]string{}).refused(401)
	login("10.1.2.3:1", map[string]int{"username": 3}).refused(400)
	for _, header := range []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 10.0.0.1, 203.0.113.9", "X-Real-Ip: 203.0.113.9", "X-Forwarded-For: unknown", "Forwarded: for=203.0.113.9"} {
		if p := login("127.0.0.1:1", admin, header).refused(403); !strings.Contains(p.Message, "OAKESTRA_ADMIN_PASSWORD") {
			t.Errorf("behind a proxy (%s): message %q", header, p.Message)
		}
	}
	if p := login("203.0.113.9:1", admin, "X-Forwarded-For: 10.0.0.1").refused(403); !strings.Contains(p.Message, "OAKESTRA_ADMIN_PASSWORD") {
		t.Errorf("message %q", p.Message)
	}
	var fresh struct{ Token string }
	req := httptest.NewRequest(http.MethodPost, "/api/auth/refresh", nil)
	req.Header.Set("Authorization", "Bearer "+s.Refresh)
	r.do(req).want(200).into(&fresh)
	r.tokens["fresh"] = fresh.Token
	r.call("fresh", http.MethodGet, "/api/applications/", nil).want(200)

	r.call("Admin", http.MethodPost, "/api/user/bob", map[string]string{"oldPassword": "Admin", "newPassword": "long enough"}).refused(403)
	if p := r.call("Admin", http.MethodPost, "/api/user/Admin", map[string]string{"oldPassword": "Admin", "newPassword": "short"}).refused(422); p.Errors[0].Path != "newPassword" || p.Errors[0].Value != "" {
		t.Errorf("the refusal is %+v", p)
	}
	r.call("Admin", http.MethodPost, "/api/user/Admin", map[string]string{"oldPassword": "Admin", "newPassword": "long enough"}).want(200)
	r.call("Admin", http.MethodGet, "/api/nodes", nil).refused(401) // the old token has ended
	login("203.0.113.9:1", map[string]string{"username": "Admin", "password": "long enough"}).want(200)

	for range 10 {
		login("203.0.113.9:1", map[string]string{"username": "Admin", "password": "x"})
	}
	a := login("203.0.113.9:1", map[string]string{"username": "Admin", "password": "long enough"})
	a.refused(http.StatusTooManyRequests)
	if a.Header().Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	for _, secret := range []string{"long enough", s.Token, s.Refresh, "argon2"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestBothSlashFormsAnswerAlike(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/api/applications", "/api/aplications", "/api/services", "/api/clusters", "/api/clusters/active", "/api/nodes", "/api/recovery"} {
		without := r.call("Admin", http.MethodGet, path, nil).want(200).Body.String()
		if with := r.call("Admin", http.MethodGet, path+"/", nil).want(200).Body.String(); with != without {
			t.Errorf("%s: %s with and %s without slash", path, with, without)
		}
	}
	if strings.TrimSpace(r.call("Admin", http.MethodGet, "/api/applications", nil).Body.String()) != "[]" {
		t.Error("an empty list is no empty array")
	}
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/api", "/api/nope", "/api/service/x/y", "/api/docs/nope.js", "/api/docs/../../go.mod"} {
		if a := r.call("Admin", http.MethodGet, path, nil); a.Code != 404 {
			t.Errorf("%s: status %d, want 404", path, a.Code)
		}
	}
	r.call("Admin", http.MethodGet, "/api/nope", nil).refused(404)
	for _, path := range []string{"/api/application", "/api/applications/", "/api/service/", "/api/services", "/api/service/0/instance", "/api/clusters"} {
		r.call("Admin", http.MethodDelete, path, nil).refused(405)
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/api/application/", "/api/service/0/instance/0", "/api/auth/login"} {
		req := httptest.NewRequest(http.MethodOptions, path, nil)
		req.Header.Set("Origin", "http://dash.example")
		req.Header.Set("Access-Control-Request-Method", "DELETE")
		req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		a := r.do(req)
		h := a.Header()
		if a.Code != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight of %s: %d %v", path, a.Code, h)
		}
		for _, m := range []string{"GET", "POST", "PUT", "DELETE"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Methods"), m) {
				t.Errorf("preflight of %s does not allow %s", path, m)
			}
		}
		for _, name := range []string{"authorization", "content-type"} {
			if !strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), name) {
				t.Errorf("preflight of %s does not allow %s", path, name)
			}
		}
	}
	if r.call("", http.MethodGet, "/api/nodes", nil).Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Error("a page cannot read why it was refused")
	}
}

func TestDocsPage(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]string{"/api/docs": "/api/docs/index.html", "/api/docs/": "/api/docs/index.html"} {
		a := r.call("", http.MethodGet, path, nil)
		if a.Code != http.StatusFound || a.Header().Get("Location") != want {
			t.Errorf("%s: %d to %q", path, a.Code, a.Header().Get("Location"))
		}
	}
	for path, kind := range map[string]string{
		"index.html": "text/html", "doc.json": "application/json", "swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript",
		"swagger-ui-standalone-preset.js": "text/javascript", "swagger-initializer.js": "text/javascript", "favicon-32x32.png": "image/png", "index.css": "text/css",
	} {
		a := r.call("", http.MethodGet, "/api/docs/"+path, nil)
		if a.Code != 200 || !strings.HasPrefix(a.Header().Get("Content-Type"), kind) || a.Body.Len() == 0 {
			t.Errorf("%s: %d %s, %d bytes", path, a.Code, a.Header().Get("Content-Type"), a.Body.Len())
		}
	}
	for _, path := range []string{"swagger-ui-bundle.js.map", "swagger-ui-es-bundle.js", "..", "nope.json"} {
		if a := r.call("", http.MethodGet, "/api/docs/"+path, nil); a.Code == 200 {
			t.Errorf("%s: served, though the page does not need it", path)
		}
	}
	plain := r.call("", http.MethodGet, "/api/docs/swagger-ui.css", nil)
	for header, packed := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "br": false} {
		req := httptest.NewRequest(http.MethodGet, "/api/docs/swagger-ui.css", nil)
		req.Header.Set("Accept-Encoding", header)
		a := r.do(req)
		var body io.Reader = a.Body
		if packed {
			var err error
			body, err = gzip.NewReader(a.Body)
			must(t, err)
		}
		if text, err := io.ReadAll(body); err != nil || (a.Header().Get("Content-Encoding") == "gzip") != packed || string(text) != plain.Body.String() {
			t.Errorf("Accept-Encoding %q: %v, %d bytes, %v", header, a.Header(), len(text), err)
		}
	}
}

func TestRequestIDAndAudit(t *testing.T) {
	r := newRig(t)
	r.call("Admin", http.MethodGet, "/api/nodes", nil).want(200)
	r.log.Reset()
	a := r.call("Admin", http.MethodGet, "/api/nodes?secret=1", nil).want(200)
	if r.log.Len() != 0 {
		t.Errorf("a read is logged: %s", r.log)
	}
	if a.Header().Get(headerRequest) == "" {
		t.Error("no request id")
	}
	req := httptest.NewRequest(http.MethodDelete, "/api/application/0?secret=1", nil)
	req.Header.Set("Authorization", "Bearer "+r.token("Admin"))
	req.Header.Set(headerRequest, "my-id-1")
	req.RemoteAddr = "192.168.1.2:3"
	a = r.do(req)
	a.refused(404)
	if !strings.Contains(a.Body.String(), `"request_id":"my-id-1"`) || a.Header().Get(headerRequest) != "my-id-1" {
		t.Errorf("the caller's id is lost: %s", a.Body)
	}
	line := r.log.String()
	for _, want := range []string{"audit", "method=DELETE", "path=/api/application/0", "status=404", "user=Admin", "from=192.168.1.2", "request=my-id-1"} {
		if !strings.Contains(line, want) {
			t.Errorf("the audit line has no %s: %s", want, line)
		}
	}
	if strings.Contains(line, "secret") {
		t.Errorf("the audit line holds the query: %s", line)
	}
	req.Header.Set(headerRequest, "forged\nline")
	if got := r.do(req).Header().Get(headerRequest); strings.Contains(got, "forged") {
		t.Errorf("took the id %q", got)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.Ready = func() error { panic("boom") } })
	p := r.call("", http.MethodGet, "/readyz", nil).refused(500)
	if strings.Contains(p.Message, "boom") {
		t.Errorf("the answer tells the cause: %q", p.Message)
	}
	if !strings.Contains(r.log.String(), "boom") || !strings.Contains(r.log.String(), "routes_test.go") {
		t.Errorf("the log has no stack: %s", r.log)
	}
}

func TestReadyz(t *testing.T) {
	var err error
	r := newRig(t, func(d *Deps) { d.Ready = func() error { return err } })
	r.call("", http.MethodGet, "/readyz", nil).want(200)
	err = os.ErrDeadlineExceeded
	if a := r.call("", http.MethodGet, "/readyz", nil).want(503); !strings.Contains(a.Body.String(), err.Error()) {
		t.Errorf("no reason in %s", a.Body)
	}
	r.call("", http.MethodGet, "/healthz", nil).want(200)
}

func TestQuotedForm(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.Quoted = true })
	var inner string
	r.call("Admin", http.MethodPost, "/api/application/", seedDescriptor(t)).want(200).into(&inner)
	var apps []struct{ ApplicationID string }
	must(t, json.Unmarshal([]byte(inner), &apps))
	if len(apps) != 1 || apps[0].ApplicationID == "" {
		t.Errorf("inside is %s", inner)
	}
}
