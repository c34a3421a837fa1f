package rest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/model"
	"oakestra/root/auth"
	"oakestra/root/store"
)

// restricted is what the roles are for, written down a second time: a change
// of the table has to be meant.
var restricted = map[string][]string{
	"GET /api/users":                  {auth.RoleAdmin},
	"POST /api/organization":          {auth.RoleAdmin},
	"DELETE /api/organization":        {auth.RoleAdmin},
	"POST /api/recovery/accept":       {auth.RoleAdmin},
	"GET /api/admin/backup":           {auth.RoleAdmin},
	"DELETE /api/cluster":             {auth.RoleAdmin, auth.RoleInfrastructure},
	"DELETE /api/clusters":            {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/cluster/confirm-loss":  {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/clusters/confirm-loss": {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/cluster/approve":       {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/clusters/approve":      {auth.RoleAdmin, auth.RoleInfrastructure},
	"GET /api/nodes":                  {auth.RoleAdmin, auth.RoleInfrastructure},
	"DELETE /api/nodes":               {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/nodes/cordon":          {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/nodes/uncordon":        {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/nodes/drain":           {auth.RoleAdmin, auth.RoleInfrastructure},
	"GET /api/nodes/events":           {auth.RoleAdmin, auth.RoleInfrastructure},
	"GET /api/orphans":                {auth.RoleAdmin, auth.RoleInfrastructure},
	"DELETE /api/orphans":             {auth.RoleAdmin, auth.RoleInfrastructure},
	"POST /api/auth/register":         {auth.RoleAdmin, auth.RoleOrgAdmin},
	"DELETE /api/user":                {auth.RoleAdmin, auth.RoleOrgAdmin},
	"GET /api/users/:":                {auth.RoleAdmin, auth.RoleOrgAdmin},
	"GET /api/organization":           {auth.RoleAdmin, auth.RoleOrgAdmin},
	"PUT /api/organization":           {auth.RoleAdmin, auth.RoleOrgAdmin},
	"POST /api/application":           {auth.RoleAdmin, auth.RoleApplication},
	"DELETE /api/application":         {auth.RoleAdmin, auth.RoleApplication},
	"PUT /api/application":            {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/apply":                 {auth.RoleAdmin, auth.RoleApplication},
	"PUT /api/service":                {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/service/rollback":      {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/service/scale":         {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/service":               {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/services":              {auth.RoleAdmin, auth.RoleApplication},
	"DELETE /api/service":             {auth.RoleAdmin, auth.RoleApplication},
	"POST /api/service/instance":      {auth.RoleAdmin, auth.RoleApplication},
	"GET /api/service/instance/exec": {
		auth.RoleAdmin, auth.RoleApplication,
	},
	"DELETE /api/service/instance": {
		auth.RoleAdmin, auth.RoleApplication,
	},
}

// short drops parameters; a list and its members stay apart.
func short(r route) string {
	path := regexp.MustCompile(`/:[a-z]+`).ReplaceAllString(r.path, "")
	if r.path == "/api/users/:organization" {
		path += "/:"
	}
	return r.method + " " + path
}

func TestEveryRouteIsInTheTable(t *testing.T) {
	a := &api{}
	var want []string
	for _, r := range a.table() {
		want = append(want, r.method+" "+r.path, r.method+" "+r.path+"/")
		if r.who.public != (r.scope == "") {
			t.Errorf("%s %s: public %v with scope %q", r.method, r.path, r.who.public, r.scope)
		}
		if r.scope == auth.ScopeRead && r.method != http.MethodGet && !strings.HasPrefix(r.path, "/api/tokens/") && r.path != "/api/auth/logout" {
			t.Errorf("%s %s changes something in scope read", r.method, r.path)
		}
	}
	var have []string
	for _, r := range newEngine(Deps{}).Routes() {
		if !documentation(r.Path) {
			have = append(have, r.Method+" "+r.Path)
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("table - router +\n%s", d)
	}
}

func TestRolesOfEveryRoute(t *testing.T) {
	r := newRig(t)
	roles := []string{"", auth.RoleAdmin, auth.RoleOrgAdmin, auth.RoleApplication, auth.RoleInfrastructure}
	for _, role := range roles {
		u := store.User{ID: model.UserID("u-only" + role), Name: "only" + role, PasswordHash: cheapHash("Admin")}
		if role != "" {
			u.Roles = []string{role}
		}
		must(t, r.store.Users().Put(t.Context(), u))
		r.token(u.Name)
	}
	seen := map[string]bool{}
	for _, row := range (&api{}).table() {
		if row.who.public {
			continue
		}
		want, limited := restricted[short(row)]
		seen[short(row)] = true
		if row.path == "/api/auth/logout" {
			continue // would end the logins of this test; any user may
		}
		path := regexp.MustCompile(`:[a-z]+`).ReplaceAllString(row.path, "nothing")
		for _, role := range roles {
			a := r.call("only"+role, row.method, path, "{")
			refused := a.Code == 403 && strings.Contains(a.Body.String(), "This needs the role")
			if allowed := !limited || slices.Contains(want, role); allowed == refused || a.Code == 401 {
				t.Errorf("%s %s as %q: %d %s", row.method, row.path, role, a.Code, a.Body)
			}
		}
	}
	for name := range restricted {
		if !seen[name] {
			t.Errorf("%s is restricted here and not in the table", name)
		}
	}
}

func TestScopesOfEveryRoute(t *testing.T) {
	r := newRig(t)
	scopes := []string{auth.ScopeRead, auth.ScopeDeploy, auth.ScopeAdmin}
	for _, s := range scopes {
		r.key("Admin", s, s)
	}
	for _, row := range (&api{}).table() {
		if row.who.public {
			continue
		}
		path := regexp.MustCompile(`:[a-z]+`).ReplaceAllString(row.path, "nothing")
		for i, s := range scopes {
			a := r.call(s, row.method, path, "{")
			refused := a.Code == 403 && strings.Contains(a.Body.String(), "API token of scope")
			if allowed := i >= slices.Index(scopes, row.scope); allowed == refused || a.Code == 401 {
				t.Errorf("%s %s with scope %s: %d %s", row.method, row.path, s, a.Code, a.Body)
			}
		}
	}
	// What each scope is there for.
	r.call(auth.ScopeDeploy, http.MethodPost, "/api/application/", seedDescriptor(t)).want(200)
	r.call(auth.ScopeRead, http.MethodPost, "/api/application/", seedDescriptor(t)).refused(403)
	r.call(auth.ScopeDeploy, http.MethodGet, "/api/users", nil).refused(403)
	r.call(auth.ScopeAdmin, http.MethodGet, "/api/users", nil).want(200)
}

func TestLogoutAndRefreshOverHTTP(t *testing.T) {
	r := newRig(t)
	var s, next struct {
		Token   string
		Refresh string `json:"refresh_token"`
	}
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "ann", "password": "Admin"}).want(200).into(&s)
	r.tokens["first"] = s.Refresh
	r.call("first", http.MethodPost, "/api/auth/refresh", nil).want(200).into(&next)
	if next.Token == "" || next.Refresh == "" || next.Refresh == s.Refresh {
		t.Fatalf("refreshed %+v", next)
	}
	r.call("first", http.MethodPost, "/api/auth/refresh", nil).want(200) // as clients do that know no other
	r.tokens["second"], r.tokens["access"] = next.Refresh, next.Token
	r.call("second", http.MethodPost, "/api/auth/refresh", nil).want(200)
	r.call("access", http.MethodPost, "/api/auth/logout", nil).want(200)
	for _, token := range []string{"first", "second"} {
		r.call(token, http.MethodPost, "/api/auth/refresh", nil).refused(401)
	}
	r.call("access", http.MethodGet, "/api/applications", nil).refused(401)
}

func TestCORSOrigins(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.Origins = []string{"https://dash.example", "http://localhost:3000"} })
	for origin, want := range map[string]string{
		"https://dash.example": "https://dash.example", "http://localhost:3000": "http://localhost:3000",
		"https://evil.example": "", "https://dash.example.evil": "", "null": "", "": "",
	} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			req := httptest.NewRequest(method, "/healthz", nil)
			req.Header.Set("Origin", origin)
			h := r.do(req).Header()
			if got := h.Get("Access-Control-Allow-Origin"); got != want || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s from %q: %q, %v", method, origin, got, h)
			}
		}
	}
}

func TestStrictGuardsTheDocsPage(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.Strict = true })
	for _, path := range []string{docsPath, docsPath + "/", docsPath + "/index.html", docsPath + "/doc.json", docsPath + "/swagger-ui.css", document3URL} {
		a := r.call("", http.MethodGet, path, nil)
		if a.Code != 401 || !strings.Contains(a.Body.String(), "<form") || strings.Contains(a.Body.String(), "/api/service") {
			t.Errorf("%s without a login: %d %s", path, a.Code, a.Body)
		}
	}
	for _, path := range []string{docsPath + "/doc.json", document3URL} {
		r.call("ann", http.MethodGet, path, nil).want(200)
	}
	login := r.call("", http.MethodPost, "/api/auth/login", body{"username": "ann", "password": "Admin"}).want(200)
	cookies := login.Result().Cookies()
	if len(cookies) != 2 || cookies[0].Path != docsPath || cookies[1].Path != document3URL {
		t.Fatalf("cookies %v", cookies)
	}
	for _, c := range cookies {
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
			t.Errorf("cookie %v", c)
		}
	}
	for path, status := range map[string]int{docsPath + "/index.html": 200, docsPath + "/doc.json": 200, document3URL: 200, "/api/applications": 401} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.AddCookie(cookies[0])
		if a := r.do(req); a.Code != status {
			t.Errorf("%s with the cookie: %d, want %d", path, a.Code, status)
		}
	}
	req := httptest.NewRequest(http.MethodGet, docsPath+"/index.html", nil)
	req.AddCookie(&http.Cookie{Name: docsCookie, Value: "nonsense"})
	if a := r.do(req); a.Code != 401 {
		t.Errorf("a false cookie: %d", a.Code)
	}
	open := newRig(t)
	if got := open.call("", http.MethodPost, "/api/auth/login", body{"username": "ann", "password": "Admin"}).want(200).Result().Cookies(); len(got) != 0 {
		t.Errorf("a cookie that nothing reads: %v", got)
	}
}
