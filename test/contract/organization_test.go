package contract

import (
	"net/http"
	"strings"
	"testing"

	"oakestra/root/auth"
	"oakestra/root/store"
)

// An Organization_Admin sees and changes the own organization and its users,
// and nothing else. What is foreign is refused in the words in which what
// exists nowhere is refused; applications and services are not there.
func TestAnOrganizationAdminStaysInside(t *testing.T) {
	r := newAPI(t)
	const other = "cccccccccccccccccccccccc"
	must(t, r.store.Organizations().Put(t.Context(), store.Organization{ID: other, Name: "foreign"}))
	mine := r.newUser()
	kept := r.lab
	r.lab = other // where newUser puts the next
	r.user("stranger", other, auth.RoleApplication)
	r.lab = kept
	token := r.token("orgadmin")

	var list []struct {
		Name    string
		Members []any `json:"member"`
	}
	r.good(http.MethodGet, "/api/organization/", token, nil, &list)
	if len(list) != 1 || list[0].Name != "lab" {
		t.Errorf("the organizations it sees are %+v", list)
	}
	a := r.answers(t, call{path: "/api/users/" + r.lab}, http.MethodGet, token, http.StatusOK)
	if !contains(a.body, mine) || contains(a.body, "stranger") || contains(a.body, `"infra"`) {
		t.Errorf("the users it sees are %s", a.body)
	}
	password := body{"name": "stranger", "password": "a new password"}
	for _, c := range []struct {
		method, path, nowhere string
		body                  any
	}{
		{http.MethodGet, "/api/users/" + other, "/api/users/dddddddddddddddddddddddd", nil},
		{http.MethodGet, "/api/users/foreign", "/api/users/nothing", nil},
		{http.MethodPut, "/api/organization/" + other, "/api/organization/dddddddddddddddddddddddd", body{"name": "taken"}},
		{http.MethodGet, "/api/user/stranger", "/api/user/nobodyyy", nil},
		{http.MethodPut, "/api/user/stranger", "/api/user/nobodyyy", password},
		{http.MethodDelete, "/api/user/stranger", "/api/user/nobodyyy", nil},
		{http.MethodGet, "/api/permission/stranger", "/api/permission/nobodyyy", nil},
		{http.MethodPost, "/api/auth/register", "", body{"name": "spy", "password": "long enough", "roles": []string{auth.RoleApplication}, "organization": other}},
	} {
		foreign := r.answers(t, call{path: c.path, body: c.body}, c.method, token, http.StatusForbidden)
		if c.nowhere == "" {
			continue
		}
		none := r.answers(t, call{path: c.nowhere, body: c.body}, c.method, token, http.StatusForbidden)
		if a, b := told(t, foreign, "stranger"), told(t, none, "nobodyyy"); a != b {
			t.Errorf("%s %s: what is foreign is refused with %q, what is nowhere with %q", c.method, c.path, a, b)
		}
	}
	for _, path := range []string{"/api/application/" + r.app, "/api/service/" + r.service, "/api/service/" + r.service + "/events"} {
		r.answers(t, call{path: path}, http.MethodGet, token, http.StatusNotFound)
	}
	r.answers(t, call{path: "/api/applications/stranger"}, http.MethodGet, token, http.StatusForbidden) // nobody's but the own
	if o, err := r.store.Organizations().Get(t.Context(), other); err != nil || o.Name != "foreign" || len(o.Members) != 1 {
		t.Errorf("the other organization is %+v, %v", o, err)
	}
	if u, err := r.store.Users().Get(t.Context(), "stranger"); err != nil || u.PasswordHash != cheapHash() {
		t.Errorf("the stranger is %+v, %v", u, err)
	}
	// What it may do is done inside.
	r.answers(t, call{path: "/api/user/" + mine}, http.MethodDelete, token, http.StatusOK)
}

// told is the message of a refusal, without the name that was asked for.
func told(t *testing.T, a answer, name string) string {
	t.Helper()
	var e struct{ Message string }
	a.into(t, &e)
	return strings.ReplaceAll(e.Message, name, "?")
}
