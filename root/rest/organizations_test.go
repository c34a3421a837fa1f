package rest

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"oakestra/root/auth"
)

type organizationDoc struct {
	ID struct {
		OID string `json:"$oid"`
	} `json:"_id"`
	Name   string
	Member []struct {
		UserID string `json:"user_id"`
		Roles  []string
	}
}

func (r *rig) organizations(user string) map[string]organizationDoc {
	r.t.Helper()
	var list []organizationDoc
	r.call(user, http.MethodGet, "/api/organization/", nil).want(200).into(&list)
	out := map[string]organizationDoc{}
	for _, o := range list {
		out[o.Name] = o
	}
	return out
}

func (r *rig) organize(name string, members ...body) string {
	r.t.Helper()
	var id string
	r.call("Admin", http.MethodPost, "/api/organization/", body{"name": name, "member": members}).want(200).into(&id)
	if len(id) != 24 {
		r.t.Fatalf("id %q", id)
	}
	return id
}

func TestOrganizations(t *testing.T) {
	r := newRig(t)
	root := r.organizations("Admin")["root"]
	if len(root.ID.OID) != 24 || len(root.Member) != 4 {
		t.Fatalf("root is %+v", root)
	}
	lab := r.organize("lab", body{"user_id": "u-ann", "roles": []string{auth.RoleOrgAdmin, auth.RoleApplication}})
	if o := r.organizations("Admin")["lab"]; o.ID.OID != lab || len(o.Member) != 1 || o.Member[0].UserID != "u-ann" || len(o.Member[0].Roles) != 2 {
		t.Errorf("lab is %+v", o)
	}
	for _, user := range []string{"ann", "bob"} {
		r.call(user, http.MethodGet, "/api/organization/", nil).refused(403)
		r.call(user, http.MethodPost, "/api/organization/", body{"name": "x"}).refused(403)
		r.call(user, http.MethodPut, "/api/organization/"+lab, body{"name": "x"}).refused(403)
		r.call(user, http.MethodDelete, "/api/organization/"+lab, nil).refused(403)
	}
	for _, name := range []string{"lab", "LAB", "root", "Root"} {
		r.call("Admin", http.MethodPost, "/api/organization/", body{"name": name}).refused(409)
	}
	for path, b := range map[string]body{
		"name":               {"name": "a b"},
		"member[0].user_id":  {"name": "x", "member": []body{{"user_id": "nobody", "roles": []string{}}}},
		"member[1].user_id":  {"name": "x", "member": []body{{"user_id": "u-ann"}, {"user_id": "ann"}}},
		"member[0].roles[0]": {"name": "x", "member": []body{{"user_id": "u-ann", "roles": []string{auth.RoleAdmin}}}},
		"member[0].roles[1]": {"name": "x", "member": []body{{"user_id": "u-ann", "roles": []string{auth.RoleApplication, "King"}}}},
	} {
		if p := r.call("Admin", http.MethodPost, "/api/organization/", b).refused(422); len(p.Errors) != 1 || p.Errors[0].Path != path {
			t.Errorf("%s: %+v", path, p)
		}
	}
	change := func(id string, b body) answer { return r.call("Admin", http.MethodPut, "/api/organization/"+id, b) }
	change("000000000000000000000000", body{"name": "x"}).refused(404)
	change(root.ID.OID, body{"name": "top"}).refused(409)
	change(root.ID.OID, body{"name": "root", "member": []body{{"user_id": "u-Admin", "roles": []string{}}}}).refused(409)
	change(root.ID.OID, body{"member": []body{{"user_id": "u-bob", "roles": []string{auth.RoleAdmin}}}}).want(200)
	r.call("bob", http.MethodGet, "/api/users", nil).want(200)
	change(lab, body{"name": "shop"}).want(200)
	if o := r.organizations("Admin")["shop"]; len(o.Member) != 1 {
		t.Errorf("a new name cost members: %+v", o)
	}
	change(lab, body{"member": []body{}}).want(200)
	if o := r.organizations("Admin")["shop"]; len(o.Member) != 0 || o.Member == nil {
		t.Errorf("members are left: %+v", o)
	}
	r.call("Admin", http.MethodDelete, "/api/organization/"+root.ID.OID, nil).refused(409)
	r.call("Admin", http.MethodDelete, "/api/organization/"+lab, nil).want(200)
	r.call("Admin", http.MethodDelete, "/api/organization/"+lab, nil).refused(404)
	r.call("Admin", http.MethodDelete, "/api/organization/", nil).refused(405)
}

// An Organization_Admin rules the own organization and nothing beyond it.
func TestOrganizationAdmin(t *testing.T) {
	r := newRig(t)
	lab := r.organize("lab", body{"user_id": "u-ann", "roles": []string{auth.RoleOrgAdmin}},
		body{"user_id": "u-bob", "roles": []string{auth.RoleInfrastructure}})
	other := r.organize("other", body{"user_id": "u-bob"})
	var s struct{ Token string }
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "ann", "password": "Admin", "organization_name": "lab"}).want(200).into(&s)
	r.tokens["boss"] = s.Token

	if got := r.organizations("boss"); len(got) != 1 || got["lab"].ID.OID != lab {
		t.Errorf("sees %+v", got)
	}
	if got := r.names("boss", "/api/users/"+lab); !slices.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("members are %v", got)
	}
	eve := r.register("boss", "eve")
	if eve.Organization != lab || !slices.Equal(eve.Roles, []string{auth.RoleApplication}) {
		t.Errorf("registered %+v", eve)
	}
	r.signIn("eve", "")
	var doc userDoc
	r.call("eve", http.MethodGet, "/api/user/eve", nil).want(200).into(&doc)
	if doc.Organization != lab || !slices.Equal(doc.Roles, eve.Roles) {
		t.Errorf("eve is %+v", doc)
	}
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "eve", "password": "Admineve", "organization_name": "root"}).refused(403)
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "eve", "password": "Admineve", "organization_name": "other"}).refused(403)
	r.call("", http.MethodPost, "/api/auth/login", body{"username": "eve", "password": "wrong", "organization_name": "none"}).refused(401)

	r.call("boss", http.MethodPut, "/api/user/eve", body{"roles": []string{auth.RoleOrgAdmin}, "email": "e@example.org"}).want(200)
	member := func(name string, roles ...string) body { return body{"user_id": "u-" + name, "roles": roles} }
	mine := []body{member("ann", auth.RoleOrgAdmin), member("bob", auth.RoleInfrastructure)}
	r.call("boss", http.MethodPut, "/api/organization/"+lab, body{"name": "lab", "member": mine}).want(200)

	for name, c := range map[string]struct {
		method, path string
		body         any
	}{
		"everyone":                {http.MethodGet, "/api/users", nil},
		"another organization":    {http.MethodGet, "/api/users/" + other, nil},
		"root":                    {http.MethodGet, "/api/users/root", nil},
		"a member from elsewhere": {http.MethodGet, "/api/user/bob", nil},
		"an Admin":                {http.MethodPut, "/api/user/Admin", body{"password": "long enough"}},
		"bob's password":          {http.MethodPut, "/api/user/bob", body{"password": "long enough"}},
		"delete bob":              {http.MethodDelete, "/api/user/bob", nil},
		"make an Admin":           {http.MethodPut, "/api/user/eve", body{"roles": []string{auth.RoleInfrastructure}}},
		"own Infrastructure":      {http.MethodPut, "/api/user/ann", body{"roles": []string{auth.RoleInfrastructure}}},
		"register elsewhere":      {http.MethodPost, "/api/auth/register", body{"name": "x", "password": "long enough", "organization": "other"}},
		"register at root":        {http.MethodPost, "/api/auth/register", body{"name": "x", "password": "long enough", "organization": "root"}},
		"register Infrastructure": {http.MethodPost, "/api/auth/register", body{"name": "x", "password": "long enough", "roles": []string{auth.RoleInfrastructure}}},
		"rename":                  {http.MethodPut, "/api/organization/" + lab, body{"name": "mine"}},
		"change another":          {http.MethodPut, "/api/organization/" + other, body{"member": []body{}}},
		"change root":             {http.MethodPut, "/api/organization/root", body{"member": []body{member("ann", auth.RoleAdmin)}}},
		"take Infrastructure":     {http.MethodPut, "/api/organization/" + lab, body{"member": mine[:1]}},
		"give Infrastructure":     {http.MethodPut, "/api/organization/" + lab, body{"member": append(mine[1:], member("ann", auth.RoleInfrastructure))}},
		"make one":                {http.MethodPost, "/api/organization", body{"name": "x"}},
		"delete one":              {http.MethodDelete, "/api/organization/" + lab, nil},
	} {
		if a := r.call("boss", c.method, c.path, c.body); a.Code != 403 {
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		}
	}
	if p := r.call("boss", http.MethodPost, "/api/auth/register", body{"name": "x", "password": "long enough", "roles": []string{auth.RoleAdmin}}).refused(422); p.Errors[0].Path != "roles[0]" {
		t.Errorf("%+v", p)
	}

	if p := r.call("Admin", http.MethodDelete, "/api/organization/"+lab, nil).refused(409); !strings.Contains(p.Message, "eve") {
		t.Errorf("who belongs to it is not named: %q", p.Message)
	}
	r.signIn("eve", "") // the member list that was put did not name eve: no roles are left
	r.call("eve", http.MethodGet, "/api/organization", nil).refused(403)
	r.call("Admin", http.MethodDelete, "/api/user/eve", nil).want(200)
	r.call("Admin", http.MethodDelete, "/api/organization/"+lab, nil).want(200)
	r.call("boss", http.MethodGet, "/api/applications", nil).refused(401)
	r.call("ann", http.MethodGet, "/api/applications", nil).want(200) // her login at root
}
