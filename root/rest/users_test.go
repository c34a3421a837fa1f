package rest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"oakestra/root/auth"
)

type body = map[string]any

type userDoc struct {
	ID struct {
		OID string `json:"$oid"`
	} `json:"_id"`
	Name, Email, Organization string
	Roles                     []string
}

func (r *rig) register(by, name string, roles ...string) userDoc {
	r.t.Helper()
	var got struct {
		Message string
		User    userDoc
	}
	b := body{"name": name, "password": "Admin" + name, "email": name + "@example.org", "created_at": "now", "_id": body{"$oid": ""}}
	if roles != nil {
		b["roles"] = roles
	}
	r.call(by, http.MethodPost, "/api/auth/register", b).want(200).into(&got)
	if got.Message == "" || got.User.Name != name || len(got.User.ID.OID) != 24 {
		r.t.Fatalf("registered %+v", got)
	}
	return got.User
}

// signIn logs a registered user in, at an organization.
func (r *rig) signIn(name, organization string) {
	r.t.Helper()
	var s struct{ Token string }
	r.call("", http.MethodPost, "/api/auth/login", body{"username": name, "password": "Admin" + name, "organization_name": organization}).want(200).into(&s)
	r.tokens[name] = s.Token
}

func (r *rig) names(user, path string) (names []string) {
	r.t.Helper()
	var list []userDoc
	a := r.call(user, http.MethodGet, path, nil).want(200)
	a.into(&list)
	if strings.Contains(a.Body.String(), "argon2") || strings.Contains(strings.ToLower(a.Body.String()), `hash"`) {
		r.t.Errorf("%s shows password records: %s", path, a.Body)
	}
	for _, u := range list {
		names = append(names, u.Name)
	}
	return names
}

func TestRegister(t *testing.T) {
	r := newRig(t)
	u := r.register("Admin", "eve")
	if !slices.Equal(u.Roles, []string{auth.RoleApplication}) || u.Email != "eve@example.org" || u.Organization == "" {
		t.Errorf("registered %+v", u)
	}
	r.signIn("eve", "")
	r.call("eve", http.MethodGet, "/api/applications/", nil).want(200)
	r.call("Admin", http.MethodPost, "/api/auth/register", body{"name": "EVE", "password": "long enough"}).refused(409)
	r.call("ann", http.MethodPost, "/api/auth/register", body{"name": "dan", "password": "long enough"}).refused(403)
	r.call("Admin", http.MethodPost, "/api/auth/register", body{"name": "dan", "password": "long enough", "organization": "nowhere"}).refused(404)

	long := strings.Repeat("n", 65)
	for name, c := range map[string]struct {
		change body
		path   string
		value  string
	}{
		"no name":        {body{"name": ""}, "name", ""},
		"a long name":    {body{"name": long}, "name", long},
		"a blank":        {body{"name": "a b"}, "name", "a b"},
		"a slash":        {body{"name": "a/b"}, "name", "a/b"},
		"a dot":          {body{"name": ".."}, "name", ".."},
		"a line":         {body{"name": "a\nb"}, "name", "a\nb"},
		"an id":          {body{"name": "63f0a1b2c3d4e5f607182930"}, "name", "63f0a1b2c3d4e5f607182930"},
		"short password": {body{"password": "hunter2"}, "password", ""},
		"long password":  {body{"password": strings.Repeat("p", 2000)}, "password", ""},
		"no address":     {body{"email": "eve"}, "email", "eve"},
		"two addresses":  {body{"email": "a@b.c, d@e.f"}, "email", "a@b.c, d@e.f"},
		"unknown role":   {body{"roles": []string{"Admin", "Root"}}, "roles[1]", "Root"},
		"role twice":     {body{"roles": []string{"Admin", "Admin"}}, "roles[1]", "Admin"},
	} {
		b := body{"name": "dan", "password": "long enough", "email": "dan@example.org", "roles": []string{}}
		for k, v := range c.change {
			b[k] = v
		}
		p := r.call("Admin", http.MethodPost, "/api/auth/register", b).refused(422)
		if len(p.Errors) != 1 || p.Errors[0].Path != c.path || p.Errors[0].Value != c.value || strings.Contains(p.Message, "hunter2") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p := r.call("Admin", http.MethodPost, "/api/auth/register", body{"name": "a b", "password": "x", "roles": []string{"Root"}}).refused(422); len(p.Errors) != 3 {
		t.Errorf("three mistakes, told: %+v", p.Errors)
	}
	if p := r.call("Admin", http.MethodPost, "/api/auth/register", body{"name": "dan", "password": 12345678}).refused(400); len(p.Errors) != 1 || p.Errors[0].Path != "password" || strings.Contains(p.Message, "12345678") {
		t.Errorf("a number as password: %+v", p)
	}
	// Roles as clients of 2022 send them.
	r.call("Admin", http.MethodPost, "/api/auth/register", body{"name": "dan", "password": "long enough", "roles": []body{{"name": auth.RoleInfrastructure, "description": "x"}}}).want(200)
	var dan userDoc
	r.call("Admin", http.MethodGet, "/api/user/dan", nil).want(200).into(&dan)
	if !slices.Equal(dan.Roles, []string{auth.RoleInfrastructure}) {
		t.Errorf("roles %v", dan.Roles)
	}
	if strings.Contains(r.log.String(), "long enough") {
		t.Error("the log holds a password")
	}
}

func TestRoleObjects(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.RoleObjects = true })
	var u struct {
		Roles []struct{ Name, Description string }
	}
	r.call("ann", http.MethodGet, "/api/user/ann", nil).want(200).into(&u)
	if len(u.Roles) != 1 || u.Roles[0].Name != auth.RoleApplication || u.Roles[0].Description == "" {
		t.Errorf("roles are %+v", u.Roles)
	}
}

func TestUsersAreShownAndChangedByWhoManagesThem(t *testing.T) {
	r := newRig(t)
	if got := r.names("Admin", "/api/users/"); !slices.Equal(got, []string{"Admin", "ann", "bob", "ida"}) {
		t.Errorf("users are %v", got)
	}
	r.call("ann", http.MethodGet, "/api/users/", nil).refused(403)
	r.call("ann", http.MethodGet, "/api/users/root", nil).refused(403)
	r.call("Admin", http.MethodGet, "/api/users/000000000000000000000000", nil).refused(404)
	r.call("Admin", http.MethodGet, "/api/user/ann", nil).want(200)
	r.call("Admin", http.MethodGet, "/api/permission/ann", nil).want(200)
	r.call("Admin", http.MethodGet, "/api/user/nobody", nil).refused(404)
	r.call("bob", http.MethodGet, "/api/user/nobody", nil).refused(403)

	put := func(by, name string, b body) answer { return r.call(by, http.MethodPut, "/api/user/"+name, b) }
	if got := strings.TrimSpace(put("ann", "ann", body{"email": "ann@example.org", "name": "ann", "roles": []string{auth.RoleApplication}, "_id": 1, "oldPassword": "Admin"}).want(200).Body.String()); got != `"ok"` {
		t.Errorf("answer %s", got)
	}
	if p := put("ann", "ann", body{"email": "eve@example.org"}).refused(422); p.Errors[0].Path != "oldPassword" {
		t.Errorf("a stolen session may redirect the mail: %+v", p)
	}
	put("ann", "ann", body{"email": "eve@example.org", "oldPassword": "wrong"}).refused(401)
	put("ann", "ann", body{"email": "ann@example.org"}).want(200) // as it is
	put("ann", "ann", body{"roles": []string{auth.RoleAdmin}}).refused(403)
	put("ann", "ann", body{"password": "long enough"}).refused(403)
	put("ann", "bob", body{"email": "x@y.z"}).refused(403)
	put("ann", "nobody", body{"email": "x@y.z"}).refused(403)
	put("Admin", "nobody", body{"email": "x@y.z"}).refused(404)
	put("Admin", "Admin", body{"password": "long enough"}).refused(403)
	for path, b := range map[string]body{"name": {"name": "anna"}, "email": {"email": "ann"}, "roles[0]": {"roles": []string{"King"}}, "password": {"password": "short"}} {
		if p := put("Admin", "ann", b).refused(422); len(p.Errors) != 1 || p.Errors[0].Path != path {
			t.Errorf("%s: %+v", path, p)
		}
	}
	put("Admin", "Admin", body{"roles": []string{auth.RoleApplication}}).refused(409)
	put("Admin", "ann", body{"roles": []string{auth.RoleAdmin, auth.RoleInfrastructure}}).want(200)
	r.call("ann", http.MethodGet, "/api/users", nil).want(200) // at once
	put("ann", "Admin", body{"roles": []string{auth.RoleApplication}}).want(200)
	r.call("Admin", http.MethodGet, "/api/users", nil).refused(403)

	r.call("bob", http.MethodGet, "/api/applications", nil).want(200)
	put("ann", "bob", body{"password": "long enough"}).want(200)
	r.call("bob", http.MethodGet, "/api/applications", nil).refused(401)
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "bob", "password": "long enough"}).want(200)
}

func TestDeleteUser(t *testing.T) {
	r := newRig(t)
	app, _ := r.seed("ann")
	r.call("ann", http.MethodDelete, "/api/user/ann", nil).refused(403)
	r.call("Admin", http.MethodDelete, "/api/user/nobody", nil).refused(404)
	r.call("Admin", http.MethodDelete, "/api/user/Admin", nil).refused(409)
	if p := r.call("Admin", http.MethodDelete, "/api/user/ann", nil).refused(409); !strings.Contains(p.Message, "clientsrvr.test") {
		t.Errorf("what ann owns is not named: %q", p.Message)
	}
	r.call("ann", http.MethodGet, "/api/applications", nil).want(200)
	r.call("Admin", http.MethodDelete, "/api/application/"+app, nil).want(200)
	var rest []userDoc
	r.call("Admin", http.MethodDelete, "/api/user/ann", nil).want(200).into(&rest)
	if len(rest) != 3 || rest[0].Name != "Admin" || rest[1].Name != "bob" || rest[2].Name != "ida" {
		t.Errorf("left are %+v", rest)
	}
	old := r.token("ann")
	r.call("ann", http.MethodGet, "/api/applications", nil).refused(401)
	r.register("Admin", "ann")
	req := httptest.NewRequest(http.MethodGet, "/api/applications", nil)
	req.Header.Set("Authorization", "Bearer "+old)
	r.do(req).refused(401) // a later ann is someone else
}

func TestPasswordReset(t *testing.T) {
	r := newRig(t)
	r.call("Admin", http.MethodPut, "/api/user/ann", body{"email": "ann@example.org"}).want(200)
	var key struct{ Token string }
	r.call("ann", http.MethodPost, "/api/tokens", body{"name": "ci", "scopes": []string{"read"}}).want(200).into(&key)
	r.call("bob", http.MethodGet, "/api/applications", nil).want(200)

	ask := func(b any) answer { return r.call("", http.MethodPost, "/api/user/", b) }
	known := ask(body{"username": "nobody", "domain": "dash.example"}).want(200).Body.String()
	if got := ask(body{"username": "ann", "domain": "dash.example"}).want(200).Body.String(); got != known || strings.TrimSpace(got) != "{}" {
		t.Errorf("%s for a user, %s for nobody", got, known)
	}
	ask(body{"domain": "x"}).refused(422)
	ask("{").refused(400)
	go func() { _ = r.auth.Run(t.Context()) }()
	mail := <-r.mails
	token := regexp.MustCompile(`oakreset_\w+`).FindString(mail)
	if !strings.HasPrefix(mail, "ann@example.org\n") || token == "" || !strings.Contains(mail, "https://dash.example") {
		t.Fatalf("mail: %s", mail)
	}

	set := func(token, password string) answer {
		return r.call("", http.MethodPut, "/api/user/", body{"token": token, "password": password})
	}
	set("nonsense", "long enough").refused(400)
	set("oakreset_0000000000000000_"+strings.Repeat("0", 64), "long enough").refused(400)
	set(strings.Replace(key.Token, "oak_", "oakreset_", 1), "long enough").refused(400)
	if p := set(token, "short").refused(422); p.Errors[0].Path != "password" {
		t.Errorf("%+v", p)
	}
	set(token, "long enough").want(200)
	set(token, "long enough").refused(400) // once
	r.tokens["key"] = key.Token
	r.call("key", http.MethodGet, "/api/applications", nil).refused(401)
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "ann", "password": "long enough"}).want(200)
	for range 20 {
		set("nonsense", "long enough")
	}
	set("nonsense", "long enough").refused(429)
	for range 3 {
		ask(body{"username": "bob", "domain": "x"})
	}
	if a := ask(body{"username": "bob", "domain": "x"}); a.refused(429).Message == "" || a.Header().Get("Retry-After") == "" {
		t.Errorf("%v", a.Header())
	}
}

// Whoever asks may name a page of their own and wait there for the token.
func TestAMailNamesNoForeignPage(t *testing.T) {
	r := newRig(t)
	r.call("Admin", http.MethodPut, "/api/user/ann", body{"email": "ann@example.org"}).want(200)
	r.call("ann", http.MethodGet, "/api/applications", nil).want(200)
	r.call("", http.MethodPost, "/api/user/", body{"username": "ann", "domain": "evil.example"}).want(200)
	go func() { _ = r.auth.Run(t.Context()) }()
	if mail := <-r.mails; strings.Contains(mail, "evil") {
		t.Errorf("mail: %s", mail)
	}
}
