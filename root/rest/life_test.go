package rest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

type instanceList struct {
	Status    string
	Next      int `json:"next_instance_progressive_number"`
	Instances []struct {
		Number int    `json:"instance_number"`
		IP     string `json:"instance_ip"`
	} `json:"instance_list"`
}

func (l instanceList) numbers() []int {
	out := []int{}
	for _, i := range l.Instances {
		out = append(out, i.Number)
	}
	return out
}

func (r *rig) instances(user, service string) (l instanceList) {
	r.t.Helper()
	r.call(user, http.MethodGet, "/api/service/"+service, nil).want(200).into(&l)
	return l
}

func (r *rig) tombstones(service string) (n int) {
	r.t.Helper()
	list, err := r.store.Instances().List(r.t.Context(), model.ServiceID(service))
	must(r.t, err)
	for _, in := range list {
		if in.Tombstone {
			n++
		}
	}
	return n
}

func TestDeployAndUndeploy(t *testing.T) {
	r := newRig(t)
	_, services := r.seed("ann")
	id := services["nginx"]
	if l := r.instances("ann", id); l.Status != "CREATED" || len(l.Instances) != 0 {
		t.Errorf("before any instance: %+v", l)
	}
	for n := range 4 {
		var d struct {
			Message string
			Number  int `json:"instance_number"`
		}
		r.call("ann", http.MethodPost, "/api/service/"+id+"/instance", nil).want(200).into(&d)
		if d.Message != "ok" || d.Number != n {
			t.Errorf("deploy %d answers %+v", n, d)
		}
	}
	if l := r.instances("ann", id); l.Status != "REQUESTED" || !slices.Equal(l.numbers(), []int{0, 1, 2, 3}) || l.Instances[0].IP == "" {
		t.Errorf("after four: %+v", l)
	}
	if len(r.below.woken) != 4 {
		t.Errorf("the assign loop was woken %d times", len(r.below.woken))
	}
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/1", nil).want(200)
	if l := r.instances("ann", id); !slices.Equal(l.numbers(), []int{0, 2, 3}) {
		t.Errorf("after one went: %v", l.numbers())
	}
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/1", nil).refused(404)
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/9", nil).refused(404)
	for _, bad := range []string{"x", "-2", "1.5", "99999999999999999999"} {
		if p := r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/"+bad, nil).refused(422); p.Errors[0].Value != bad {
			t.Errorf("the value is not named: %+v", p)
		}
	}
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/-1", nil).want(200)
	if l := r.instances("ann", id); len(l.Instances) != 0 || l.Next != 4 {
		t.Errorf("after all went: %+v", l)
	}
	if n := r.tombstones(id); n != 4 {
		t.Errorf("%d tombstones, want 4: all of them, not every second", n)
	}
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/-1", nil).want(200) // nothing to do
	r.call("ann", http.MethodPost, "/api/service/"+id+"/instance", nil).want(200)
	if l := r.instances("ann", id); !slices.Equal(l.numbers(), []int{4}) {
		t.Errorf("a number came back: %v", l.numbers())
	}
}

func TestDeleteServiceAndApplication(t *testing.T) {
	r := newRig(t)
	app, services := r.seed("ann")
	for _, id := range services {
		r.call("ann", http.MethodPost, "/api/service/"+id+"/instance", nil).want(200)
	}
	r.below.woken = nil
	r.call("ann", http.MethodDelete, "/api/service/"+services["curl"], nil).want(200)
	r.call("ann", http.MethodGet, "/api/service/"+services["curl"], nil).refused(404)
	r.call("ann", http.MethodDelete, "/api/service/"+services["curl"], nil).refused(404)
	var a struct{ Microservices []string }
	r.call("ann", http.MethodGet, "/api/application/"+app, nil).want(200).into(&a)
	if !slices.Equal(a.Microservices, []string{services["nginx"]}) {
		t.Errorf("the application has %v", a.Microservices)
	}
	r.call("ann", http.MethodDelete, "/api/application/"+app, nil).want(200)
	r.call("ann", http.MethodGet, "/api/application/"+app, nil).refused(404)
	r.call("ann", http.MethodDelete, "/api/application/"+app, nil).refused(404)
	for name, id := range services {
		if n := r.tombstones(id); n != 1 {
			t.Errorf("%s has %d tombstones, want 1", name, n)
		}
		if !slices.Contains(r.below.woken, model.ServiceID(id)) {
			t.Errorf("nobody is told that %s went", name)
		}
	}
	// The same descriptor again, with the same chosen address, at once.
	r.addresses.pool.Release(addr("10.30.30.30"))
	r.seed("ann")
}

func TestOthersThingsAreNotThere(t *testing.T) {
	r := newRig(t)
	app, services := r.seed("ann")
	r.call("ann", http.MethodPost, "/api/service/"+services["nginx"]+"/instance", nil).want(200)
	for _, id := range []string{app, services["nginx"], "000000000000000000000000", "x", "%2e%2e", "a%2fb", strings.Repeat("9", 2000)} {
		for _, c := range [][2]string{
			{http.MethodGet, "/api/application/" + id}, {http.MethodDelete, "/api/application/" + id},
			{http.MethodGet, "/api/service/" + id}, {http.MethodDelete, "/api/service/" + id}, {http.MethodGet, "/api/services/" + id},
			{http.MethodPost, "/api/service/" + id + "/instance"}, {http.MethodDelete, "/api/service/" + id + "/instance/0"},
			{http.MethodDelete, "/api/service/" + id + "/instance/-1"},
		} {
			r.call("bob", c[0], c[1], nil).refused(404)
		}
	}
	for _, path := range []string{"/api/applications", "/api/services"} {
		if got := strings.TrimSpace(r.call("bob", http.MethodGet, path, nil).want(200).Body.String()); got != "[]" {
			t.Errorf("bob sees %s", got)
		}
		if got := strings.TrimSpace(r.call("Admin", http.MethodGet, path, nil).want(200).Body.String()); got == "[]" {
			t.Errorf("Admin sees nothing at %s", path)
		}
	}
	if n := r.tombstones(services["nginx"]); n != 0 {
		t.Errorf("bob ended %d instances of ann", n)
	}
	r.call("Admin", http.MethodDelete, "/api/service/"+services["nginx"]+"/instance/0", nil).want(200)
}

func TestUsersSeeTheirOwn(t *testing.T) {
	r := newRig(t)
	r.seed("ann")
	var u struct {
		ID struct {
			OID string `json:"$oid"`
		} `json:"_id"`
		Name  string
		Roles []string
	}
	a := r.call("ann", http.MethodGet, "/api/user/ann", nil).want(200)
	a.into(&u)
	if u.ID.OID != "u-ann" || u.Name != "ann" || len(u.Roles) != 1 || strings.Contains(a.Body.String(), "argon2") {
		t.Errorf("the account is %s", a.Body)
	}
	r.call("ann", http.MethodGet, "/api/user/bob", nil).refused(403)
	r.call("ann", http.MethodGet, "/api/permission/bob", nil).refused(403)
	for _, c := range []struct {
		user, of string
		status   int
	}{{"ann", "ann", 200}, {"ann", u.ID.OID, 200}, {"Admin", u.ID.OID, 200}, {"bob", "ann", 403}, {"bob", u.ID.OID, 403}, {"Admin", "eve", 404}, {"bob", "eve", 403}} {
		got := r.call(c.user, http.MethodGet, "/api/applications/"+c.of, nil).want(c.status).Body.String()
		if c.status == 200 && !strings.Contains(got, "clientsrvr") {
			t.Errorf("%s asks for those of %s and gets %s", c.user, c.of, got)
		}
	}
}

func TestRecoveryHoldsEveryChangeBack(t *testing.T) {
	r := newRig(t)
	app, services := r.seed("ann")
	id := services["nginx"]
	r.call("ann", http.MethodPost, "/api/service/"+id+"/instance", nil).want(200)
	before, err := r.store.Instances().List(t.Context(), "")
	must(t, err)
	r.below.recovers, r.below.waiting = true, []string{"north", "south"}
	for _, c := range [][2]string{
		{http.MethodPost, "/api/application/"}, {http.MethodPost, "/api/service/"}, {http.MethodPost, "/api/service/" + id + "/instance"},
		{http.MethodDelete, "/api/service/" + id + "/instance/0"}, {http.MethodDelete, "/api/service/" + id + "/instance/-1"},
		{http.MethodDelete, "/api/service/" + id}, {http.MethodDelete, "/api/application/" + app},
	} {
		a := r.call("ann", c[0], c[1], seedDescriptor(t))
		if p := a.refused(503); !strings.Contains(p.Message, "north, south") {
			t.Errorf("%s %s does not say what is awaited: %q", c[0], c[1], p.Message)
		}
		if a.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s has no Retry-After", c[0], c[1])
		}
	}
	after, err := r.store.Instances().List(t.Context(), "")
	must(t, err)
	if !slices.EqualFunc(before, after, func(a, b store.Instance) bool { return a.Revision == b.Revision }) {
		t.Error("something was changed")
	}
	r.instances("ann", id) // reads go on
	if got := r.call("ann", http.MethodGet, "/api/recovery", nil).want(200).Body.String(); !strings.Contains(got, `"recovery":true,"waiting_for":["north","south"]`) {
		t.Errorf("recovery is %s", got)
	}
	r.call("ann", http.MethodPost, "/api/recovery/accept", nil).refused(403)
	r.call("Admin", http.MethodPost, "/api/recovery/accept", nil).want(200)
	r.call("Admin", http.MethodPost, "/api/recovery/accept", nil).refused(409)
	r.call("ann", http.MethodPost, "/api/service/"+id+"/instance", nil).want(200)
}

func TestAddressesRunOut(t *testing.T) {
	r := newRig(t)
	_, services := r.seed("ann")
	for n := 0; ; n++ {
		if _, err := r.addresses.pool.Next("filler " + strconv.Itoa(n)); err != nil {
			break
		}
	}
	r.call("ann", http.MethodPost, "/api/service/"+services["nginx"]+"/instance", nil).refused(507)
	r.call("bob", http.MethodPost, "/api/application/", edit(t, func(app, nginx map[string]any) {
		app["application_name"] = "other"
		delete(nginx, "addresses")
	})).refused(507)
}
