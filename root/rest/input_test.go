package rest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"oakestra/pkg/errs"
)

// edit changes the quick start's descriptor.
func edit(t *testing.T, change func(app, nginx map[string]any)) string {
	t.Helper()
	var d map[string]any
	must(t, json.Unmarshal([]byte(seedDescriptor(t)), &d))
	app := d["applications"].([]any)[0].(map[string]any)
	change(app, app["microservices"].([]any)[1].(map[string]any))
	raw, err := json.Marshal(d)
	must(t, err)
	return string(raw)
}

// nothingStored checks that a refusal left no trace.
func (r *rig) nothingStored(services int) {
	r.t.Helper()
	apps, err := r.store.Applications().List(r.t.Context(), "")
	must(r.t, err)
	list, err := r.store.Services().List(r.t.Context(), "")
	must(r.t, err)
	claims, err := r.store.Claims().List(r.t.Context())
	must(r.t, err)
	wantApps := min(services, 1)
	if len(apps) != wantApps || len(list) != services || len(claims) != services || r.addresses.pool.Len() != services {
		r.t.Errorf("%d applications, %d services, %d claims, %d addresses in use; want %d, %d, %d, %d",
			len(apps), len(list), len(claims), r.addresses.pool.Len(), wantApps, services, services, services)
	}
}

func TestBadDescriptorsAreRefusedWhole(t *testing.T) {
	set := func(key string, value any) func(app, nginx map[string]any) {
		return func(_, nginx map[string]any) { nginx[key] = value }
	}
	rrIP := func(ip string) func(app, nginx map[string]any) { return set("addresses", map[string]any{"rr_ip": ip}) }
	cases := []struct {
		name        string
		change      func(app, nginx map[string]any)
		status      int
		path, value string
	}{
		{"application name with a symbol", func(app, _ map[string]any) { app["application_name"] = "client-srv" }, 422, "applications[0].application_name", "client-srv"},
		{"application name too long", func(app, _ map[string]any) { app["application_name"] = strings.Repeat("a", 31) }, 422,
			"applications[0].application_name", strings.Repeat("a", 31)},
		{"service name empty", set("microservice_name", ""), 422, "applications[0].microservices[1].microservice_name", ""},
		{"two services of one name", set("microservice_name", "curl"), 422, "applications[0].microservices[1].microservice_name", "curl"},
		{"port too high", set("port", "99999:60/tcp"), 422, "applications[0].microservices[1].port", "99999"},
		{"port with an unknown protocol", set("port", "6080:60/sctp"), 422, "applications[0].microservices[1].port", "sctp"},
		{"rr_ip outside the range", rrIP("10.31.1.1"), 422, "applications[0].microservices[1].addresses.rr_ip", "10.31.1.1"},
		{"rr_ip malformed", rrIP("10.30.1"), 422, "applications[0].microservices[1].addresses.rr_ip", "10.30.1"},
		{"constraint of an unknown type", set("constraints", []any{map[string]any{"type": "moon"}}), 422, "applications[0].microservices[1].constraints[0].type", "moon"},
		{"no image", set("code", ""), 422, "applications[0].microservices[1].code", ""},
		{"memory below zero", set("memory", -5), 422, "applications[0].microservices[1].memory", "-5"},
	}
	r := newRig(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			p := r.call("ann", http.MethodPost, "/api/application/", edit(t, c.change)).refused(c.status)
			found := false
			for _, e := range p.Errors {
				found = found || e.Path == c.path && strings.Contains(e.Value, c.value) && e.Message != ""
			}
			if !found {
				t.Errorf("no error names %s and %q: %+v", c.path, c.value, p)
			}
			r.nothingStored(0)
		})
	}
}

func TestEveryMistakeIsListedAtOnce(t *testing.T) {
	r := newRig(t)
	body := edit(t, func(app, nginx map[string]any) {
		app["application_name"] = "no!"
		nginx["port"] = "x"
		nginx["code"] = ""
	})
	if p := r.call("ann", http.MethodPost, "/api/application/", body).refused(422); len(p.Errors) != 3 {
		t.Errorf("%d mistakes are listed, want 3: %+v", len(p.Errors), p.Errors)
	}
}

func TestBodiesThatAreNoJSON(t *testing.T) {
	r := newRig(t)
	for name, body := range map[string]string{"empty": "", "text": "hello", "cut off": `{"a":`, "yaml": "sla_version: v2.0", "two": `{} {}`, "a string of text": `"hello"`} {
		for _, path := range []string{"/api/application/", "/api/service/"} {
			p := r.call("ann", http.MethodPost, path, body).refused(400)
			if !strings.Contains(p.Message, "no JSON") {
				t.Errorf("%s to %s: message %q", name, path, p.Message)
			}
		}
		r.call("", http.MethodPost, "/api/auth/login", body).refused(400)
	}
	r.call("ann", http.MethodPost, "/api/application/", strings.Repeat(" ", maxBody)+"{}").refused(413)
	for name, body := range map[string]string{"a list": `[]`, "null": `null`, "a number": `3`, "deep": strings.Repeat("[", 5000) + strings.Repeat("]", 5000)} {
		if a := r.call("ann", http.MethodPost, "/api/application/", body); a.Code != 422 && a.Code != 400 {
			t.Errorf("%s: status %d, want 422 or 400", name, a.Code)
		}
	}
	r.nothingStored(0)
}

func TestConflicts(t *testing.T) {
	r := newRig(t)
	app, _ := r.seed("ann")
	for _, body := range []string{seedDescriptor(t), edit(t, func(_, nginx map[string]any) { delete(nginx, "addresses") })} {
		again := r.call("ann", http.MethodPost, "/api/application/", body).refused(409)
		if len(again.Errors) != 1 || again.Errors[0].Path != "applications[0].application_name" || again.Errors[0].Value != "clientsrvr" ||
			!strings.Contains(again.Message, app) {
			t.Errorf("the taken name is not named: %+v", again)
		}
		r.nothingStored(2)
	}

	taken := r.call("bob", http.MethodPost, "/api/application/", edit(t, func(app, _ map[string]any) {
		app["application_name"] = "other"
	})).refused(409)
	if len(taken.Errors) != 1 || taken.Errors[0].Path != "applications[0].microservices[1].addresses.rr_ip" ||
		taken.Errors[0].Value != "10.30.30.30" || !strings.Contains(taken.Message, "10.30.30.30") {
		t.Errorf("the taken address is not named: %+v", taken)
	}
	r.nothingStored(2)

	twice := r.call("ann", http.MethodPost, "/api/service/", edit(t, func(a, nginx map[string]any) {
		a["applicationID"] = app
		delete(nginx, "addresses")
	})).refused(409)
	if len(twice.Errors) != 1 || twice.Errors[0].Path != "applications[0].microservices[0].microservice_name" {
		t.Errorf("the taken service name is not named: %+v", twice)
	}
	r.nothingStored(2)

	// Another user may have an application of the same name.
	r.call("bob", http.MethodPost, "/api/application/", edit(t, func(_, nginx map[string]any) {
		delete(nginx, "addresses")
	})).want(200)
}

func TestAddServices(t *testing.T) {
	r := newRig(t)
	app, _ := r.seed("ann")
	body := func(id string) string {
		return edit(t, func(a, nginx map[string]any) {
			a["applicationID"] = id
			nginx["microservice_name"] = "second"
			delete(nginx, "addresses")
			a["microservices"] = []any{nginx}
		})
	}
	var created struct {
		JobID    string `json:"job_id"`
		Deployed []struct {
			ServiceName string `json:"service_name"`
			Status      int
		} `json:"deployed_services"`
		Failed []any `json:"failed_services"`
	}
	r.call("ann", http.MethodPost, "/api/services", body(app)).want(200).into(&created)
	if len(created.JobID) != 24 || len(created.Deployed) != 1 || created.Deployed[0].ServiceName != "second" || created.Failed == nil {
		t.Errorf("answer is %+v", created)
	}
	var list []struct{ MicroserviceID string }
	r.call("ann", http.MethodGet, "/api/services/"+app, nil).want(200).into(&list)
	if len(list) != 3 || list[2].MicroserviceID != created.JobID {
		t.Errorf("the application has %+v", list)
	}
	r.call("ann", http.MethodPost, "/api/service/", body("")).refused(422)
	p := r.call("ann", http.MethodPost, "/api/service/", body("000000000000000000000000")).refused(404)
	if len(p.Errors) != 1 || p.Errors[0].Path != "applications[0].applicationID" {
		t.Errorf("the unknown application is not named: %+v", p)
	}
	r.call("bob", http.MethodPost, "/api/service/", body(app)).refused(404)
}

// Clients send what they have; none of it is a reason to refuse.
func TestOddButAccepted(t *testing.T) {
	r := newRig(t)
	quoted, err := json.Marshal(seedDescriptor(t))
	must(t, err)
	r.call("ann", http.MethodPost, "/api/application", string(quoted)).want(200) // encoded twice
	r.call("bob", http.MethodPost, "/api/application", edit(t, func(app, nginx map[string]any) {
		app["_id"], app["userId"], app["action"], app["api_version"] = map[string]any{"$oid": "x"}, "y", "z", 1
		nginx["sla_violation_strategy"], nginx["connectivity"] = "", []any{}
		delete(nginx, "addresses")
		delete(app, "applicationID")
	})).want(200)
	var apps []struct{ ApplicationID string }
	r.call("ann", http.MethodGet, "/api/applications", nil).into(&apps)
	_, services := apps[0].ApplicationID, []struct{ MicroserviceID string }{}
	r.call("ann", http.MethodGet, "/api/services/"+apps[0].ApplicationID, nil).into(&services)
	for _, body := range []string{"", `"text"`, `{"a": 1}`, "no JSON"} {
		r.call("ann", http.MethodPost, "/api/service/"+services[0].MicroserviceID+"/instance", body).want(200)
	}
}

func TestStatusOf(t *testing.T) {
	for class, want := range map[error]int{
		errs.NotFound: 404, errs.Invalid: 422, errs.Conflict: 409, errs.Unauthenticated: 401, errs.Forbidden: 403,
		errs.Unavailable: 503, errs.Exhausted: 507, errs.Internal: 500, http.ErrBodyNotAllowed: 500,
	} {
		if got := statusOf(inClass(class, "some context")); got != want {
			t.Errorf("%v: %d, want %d", class, got, want)
		}
	}
}
