package rest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"oakestra/root/auth"
)

type tokenDoc struct {
	ID, Name, Prefix, Token string
	Scopes                  []string
	Expires                 string `json:"expires_at"`
	Used                    string `json:"last_used"`
}

// key makes an API token and files it under a name to call with.
func (r *rig) key(user, name string, scopes ...string) tokenDoc {
	r.t.Helper()
	var k tokenDoc
	r.call(user, http.MethodPost, "/api/tokens", body{"name": name, "scopes": scopes}).want(200).into(&k)
	r.tokens[name] = k.Token
	return k
}

func (r *rig) keys(user string) (list []tokenDoc) {
	r.t.Helper()
	r.call(user, http.MethodGet, "/api/tokens", nil).want(200).into(&list)
	return list
}

func TestAPITokens(t *testing.T) {
	r := newRig(t)
	k := r.key("ann", "ci", auth.ScopeRead)
	if len(k.Token) != 85 || !strings.HasPrefix(k.Token, k.Prefix+"_") || k.Prefix != "oak_"+k.ID {
		t.Fatalf("token %+v", k)
	}
	if at, err := time.Parse(time.RFC3339, k.Expires); err != nil || time.Until(at).Round(time.Hour) != tokenLifetime {
		t.Errorf("ends %s", k.Expires)
	}
	if l := r.keys("ann"); len(l) != 1 || l[0].Token != "" || l[0].Used != "" || l[0].Name != "ci" {
		t.Errorf("listed %+v", l)
	}
	r.call("ci", http.MethodGet, "/api/applications", nil).want(200)
	if l := r.keys("ann"); l[0].Used == "" {
		t.Error("no time of use")
	}
	if l := r.keys("bob"); len(l) != 0 {
		t.Errorf("bob sees %+v", l)
	}
	stored, err := r.store.Tokens().Get(t.Context(), k.ID)
	must(t, err)
	if secret := k.Token[len(k.Prefix)+1:]; stored.Hash == secret || strings.Contains(r.log.String(), secret) {
		t.Error("the secret is kept")
	}
	for _, bad := range []string{k.Prefix, k.Token[:84] + "g", k.Token[:84], k.Token + "0", strings.ToUpper(k.Token), k.Prefix + "_" + strings.Repeat("0", 64)} {
		r.tokens["bad"] = bad
		r.call("bad", http.MethodGet, "/api/applications", nil).refused(401)
	}
	r.call("bob", http.MethodDelete, "/api/tokens/"+k.ID, nil).refused(404)
	r.call("ann", http.MethodDelete, "/api/tokens/ci", nil).want(200)
	r.call("ci", http.MethodGet, "/api/applications", nil).refused(401) // at once
	r.call("ann", http.MethodDelete, "/api/tokens/ci", nil).refused(404)

	k = r.key("ann", "ci", auth.ScopeRead)
	r.call("Admin", http.MethodDelete, "/api/tokens/ci", nil).refused(404) // another's by id alone
	r.call("Admin", http.MethodDelete, "/api/tokens/"+k.ID, nil).want(200)
	r.call("ci", http.MethodGet, "/api/applications", nil).refused(401)
}

func TestAPITokenInput(t *testing.T) {
	r := newRig(t)
	r.key("ann", "ci", auth.ScopeRead)
	r.call("ann", http.MethodPost, "/api/tokens", body{"name": "ci", "scopes": []string{"read"}}).refused(409)
	for _, c := range []struct {
		body  body
		path  string
		value string
	}{
		{body{"scopes": []string{"read"}}, "name", ""},
		{body{"name": "a b", "scopes": []string{"read"}}, "name", "a b"},
		{body{"name": "x"}, "scopes", ""},
		{body{"name": "x", "scopes": []string{"read", "root"}}, "scopes[1]", "root"},
		{body{"name": "x", "scopes": []string{"read"}, "expires_at": "tomorrow"}, "expires_at", "tomorrow"},
		{body{"name": "x", "scopes": []string{"read"}, "expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "2001-01-01T00:00:00Z"},
	} {
		if p := r.call("ann", http.MethodPost, "/api/tokens", c.body).refused(422); len(p.Errors) != 1 || p.Errors[0].Path != c.path || p.Errors[0].Value != c.value {
			t.Errorf("%v: %+v", c.body, p)
		}
	}
	var k tokenDoc
	r.call("ann", http.MethodPost, "/api/tokens", body{"name": "old", "scopes": []string{"read"}, "expires_at": "never"}).want(200).into(&k)
	if k.Expires != "never" {
		t.Errorf("ends %s", k.Expires)
	}
}

func TestAPITokensStayWithinTheirOwner(t *testing.T) {
	r := newRig(t)
	r.call("Admin", http.MethodPut, "/api/user/ann", body{"roles": []string{auth.RoleAdmin}}).want(200)
	k := r.key("ann", "all", auth.ScopeAdmin)
	r.call("all", http.MethodGet, "/api/users", nil).want(200)
	r.call("all", http.MethodPost, "/api/tokens", body{"name": "more", "scopes": []string{"read"}}).refused(403)
	r.call("all", http.MethodPost, "/api/auth/logout", nil).refused(403)
	other := r.key("ann", "other", auth.ScopeAdmin)
	r.call("all", http.MethodDelete, "/api/tokens/"+other.ID, nil).refused(403)
	if !strings.Contains(r.log.String(), "token="+k.ID) {
		t.Error("the audit line does not tell which token it was")
	}
	r.call("Admin", http.MethodPut, "/api/user/ann", body{"roles": []string{auth.RoleApplication}}).want(200)
	r.call("all", http.MethodGet, "/api/users", nil).refused(403)
	r.call("all", http.MethodGet, "/api/applications", nil).want(200)
	r.call("other", http.MethodDelete, "/api/tokens/"+other.ID, nil).want(200) // itself
	r.call("ann", http.MethodPost, "/api/user/ann", body{"oldPassword": "Admin", "newPassword": "long enough"}).want(200)
	r.call("all", http.MethodGet, "/api/applications", nil).want(200) // goes on after a change of one's own
	r.call("Admin", http.MethodDelete, "/api/user/ann", nil).want(200)
	r.call("all", http.MethodGet, "/api/applications", nil).refused(401)
}
