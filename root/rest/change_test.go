package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

type changed struct {
	Image, Code, Port string
	Memory            int
	Rollout           struct {
		Revision, Target, Updated, Total int
		State, Message                   string
	}
	Warnings []string
}

// grant makes an instance look assigned, with the service as it is now.
func (r *rig) grant(service string, number int) {
	r.t.Helper()
	s, err := r.store.Services().Get(r.t.Context(), model.ServiceID(service))
	must(r.t, err)
	_, err = r.store.Instances().Update(r.t.Context(), model.InstanceID{Service: s.ID, Number: number}, func(in store.Instance) (store.Instance, error) {
		in.Cluster, in.Grant, in.Service = "c1", instance.MakeGrant(1, uint32(number+1)), s.Assigned()
		return in, nil
	})
	must(r.t, err)
}

func TestChangingAService(t *testing.T) {
	r := newRig(t)
	_, services := r.seed("ann")
	id := services["nginx"]
	path := "/api/service/" + id
	for n := range 2 {
		r.call("ann", http.MethodPost, path+"/instance", nil).want(200)
		r.grant(id, n)
	}
	var v changed
	r.call("ann", http.MethodPut, path, `{"applications":[{"microservices":[{"code":"two","memory":200,"state":"","privileged":true}]}]}`).want(200).into(&v)
	if v.Image != "two" || v.Memory != 200 || v.Port != "6080:60/tcp" || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "privileged") {
		t.Errorf("%+v", v)
	}
	if o := v.Rollout; o.Revision != 1 || o.Target != 2 || o.Updated != 0 || o.Total != 2 || o.State != "running" {
		t.Errorf("rollout %+v", o)
	}
	r.grant(id, 0)
	r.call("ann", http.MethodGet, path, nil).want(200).into(&v)
	if o := v.Rollout; o.Updated != 1 || !strings.HasPrefix(o.Message, "waiting for instance 0: ") {
		t.Errorf("rollout %+v", o)
	}
	r.call("ann", http.MethodPost, path+"/rollback", nil).want(200).into(&v)
	if o := v.Rollout; v.Memory != 100 || o.Target != 3 || o.Updated != 1 || o.Revision != 1 {
		t.Errorf("after the rollback: %+v", v)
	}
	r.call("ann", http.MethodPost, path+"/rollback", `{"revision":2}`).want(200).into(&v)
	if v.Image != "two" || v.Rollout.Target != 4 {
		t.Errorf("back to 2: %+v", v)
	}
	if p := r.call("ann", http.MethodPost, path+"/rollback", `{"revision":9}`).refused(409); !strings.Contains(p.Message, "[1 2 3]") {
		t.Errorf("%q does not name the revisions", p.Message)
	}
	r.call("ann", http.MethodPost, path+"/rollback", `{"revision":0}`).refused(422)
	r.call("ann", http.MethodPost, path+"/rollback", `[]`).refused(422)
	r.call("ann", http.MethodPost, path+"/rollback", `{`).refused(400)
	r.call("ann", http.MethodPost, "/api/service/"+services["curl"]+"/rollback", nil).refused(409)
}

func TestChangesThatAreRefused(t *testing.T) {
	r := newRig(t)
	app, services := r.seed("ann")
	path := "/api/service/" + services["nginx"]
	for _, c := range []struct {
		body, path string
		status     int
	}{
		{`{"addresses":{"rr_ip":"10.30.9.9"}}`, "addresses.rr_ip", 422},
		{`{"applications":[{"microservices":[{"addresses":{"rr_ip":"10.30.9.9"}}]}]}`, "applications[0].microservices[0].addresses.rr_ip", 422},
		{`{"microservice_name":"other"}`, "microservice_name", 422},
		{`{"port":"80:99999"}`, "port", 422},
		{`{"memory":"64"}`, "memory", 422},
		{`{"applications":[{"microservices":[{},{}]}]}`, "applications[0].microservices", 422},
		{`{`, "", 400}, {``, "", 400},
	} {
		p := r.call("ann", http.MethodPut, path, c.body).refused(c.status)
		if c.path != "" && (len(p.Errors) != 1 || p.Errors[0].Path != c.path || p.Errors[0].Message == "") {
			t.Errorf("%s: %+v", c.body, p)
		}
	}
	asGot := r.call("ann", http.MethodGet, path, nil).Body.String()
	for _, body := range []string{asGot, `{}`, `{"addresses":{"rr_ip":"10.30.30.30"},"microservice_name":"nginx","code":null}`} {
		var v changed
		if r.call("ann", http.MethodPut, path, body).want(200).into(&v); v.Rollout.Target != 1 {
			t.Errorf("%s made revision %d", body, v.Rollout.Target)
		}
	}
	for _, c := range [][2]string{{"PUT", path}, {"POST", path + "/rollback"}, {"GET", path + "/revisions"}, {"PUT", "/api/application/" + app}} {
		body := any(nil)
		if c[0] == "PUT" {
			body = `{}`
		}
		r.call("bob", c[0], c[1], body).refused(404)
	}
	r.call("bob", http.MethodPost, path+"/scale", `{"replicas":1}`).refused(404)
}

func TestChangingAnApplication(t *testing.T) {
	r := newRig(t)
	app, services := r.seed("ann")
	path := "/api/application/" + app
	get := func() (v struct {
		Name  string   `json:"application_name"`
		NS    string   `json:"application_namespace"`
		Desc  string   `json:"application_desc"`
		Parts []string `json:"microservices"`
	}) {
		r.call("ann", http.MethodGet, path, nil).want(200).into(&v)
		return v
	}
	r.call("ann", http.MethodPut, path, `{"application_desc":"new","application_name":"clientsrvr","application_namespace":null,"microservices":null}`).want(200)
	if v := get(); v.Name != "clientsrvr" || v.NS != "test" || v.Desc != "new" || len(v.Parts) != 2 {
		t.Errorf("%+v", v)
	}
	r.call("ann", http.MethodPut, path, `{"application_name":"other"}`).refused(409) // it has services
	if p := r.call("ann", http.MethodPut, path, `{"applications":[{"application_name":"a b"}]}`).refused(422); p.Errors[0].Path != "applications[0].application_name" {
		t.Errorf("%+v", p)
	}
	for _, id := range services {
		r.call("ann", http.MethodDelete, "/api/service/"+id, nil).want(200)
	}
	a := r.call("ann", http.MethodPut, path, `{"application_name":"clientserver"}`).want(200)
	if v := get(); v.Name != "clientserver" || v.Desc != "new" || len(a.Header().Values("Warning")) != 1 {
		t.Errorf("%+v, warnings %q", v, a.Header().Values("Warning"))
	}
	// The old name is free.
	r.call("ann", http.MethodPost, "/api/application/", `{"applications":[{"application_name":"clientsrvr","application_namespace":"test"}]}`).want(200)
	r.call("ann", http.MethodPut, path, `{"application_name":"clientsrvr"}`).refused(409)
}

func TestScaling(t *testing.T) {
	r := newRig(t)
	_, services := r.seed("ann")
	id := services["curl"]
	path := "/api/service/" + id + "/scale"
	var s struct {
		Message        string
		Replicas       int
		Added, Removed []int
	}
	r.call("ann", http.MethodPost, path, `{"replicas":3}`).want(200).into(&s)
	if s.Message != "ok" || s.Replicas != 3 || !slices.Equal(s.Added, []int{0, 1, 2}) || s.Removed == nil {
		t.Errorf("%+v", s)
	}
	r.call("ann", http.MethodPost, path, `{"replicas":3}`).want(200).into(&s)
	if len(s.Added)+len(s.Removed) > 0 {
		t.Errorf("twice: %+v", s)
	}
	// Beside the routes for single instances: what is missing is made up for.
	r.call("ann", http.MethodDelete, "/api/service/"+id+"/instance/1", nil).want(200)
	r.call("ann", http.MethodPost, path, `{"replicas":3}`).want(200)
	if l := r.instances("ann", id); !slices.Equal(l.numbers(), []int{0, 2, 3}) {
		t.Errorf("%v", l.numbers())
	}
	r.call("ann", http.MethodPost, path, `{"replicas":1}`).want(200).into(&s)
	if l := r.instances("ann", id); !slices.Equal(l.numbers(), []int{0}) || !slices.Equal(s.Removed, []int{2, 3}) {
		t.Errorf("%v %+v", l.numbers(), s)
	}
	r.call("ann", http.MethodPost, path, `{"replicas":0}`).want(200)
	for body, value := range map[string]string{
		`{"replicas":-1}`: "-1", `{"replicas":1.5}`: "1.5", `{"replicas":"2"}`: `"2"`, `{"replicas":99999999}`: "99999999", `{}`: "", `{"replicas":null}`: "", ``: "",
	} {
		if p := r.call("ann", http.MethodPost, path, body).refused(422); p.Errors[0].Path != "replicas" || p.Errors[0].Value != value {
			t.Errorf("%s: %+v", body, p)
		}
	}
	r.call("ann", http.MethodPost, path, `{"replicas":`).refused(400)
}

type applied struct {
	DryRun                 bool `json:"dry_run"`
	Created, Changed, Left []struct{ Kind, Name, ID, What string }
	Warnings               []string
}

func (a applied) counts() string {
	return fmt.Sprint(len(a.Created), len(a.Changed), len(a.Left))
}

func TestApplying(t *testing.T) {
	r := newRig(t)
	apply := func(query, body string) (v applied) {
		t.Helper()
		r.call("ann", http.MethodPost, "/api/apply"+query, body).want(200).into(&v)
		if v.Created == nil || v.Changed == nil || v.Left == nil || v.Warnings == nil {
			t.Errorf("a null list: %+v", v)
		}
		return v
	}
	seed := seedDescriptor(t)
	if v := apply("?dry_run=1", seed); v.counts() != "3 0 0" || !v.DryRun || v.Created[0].ID != "" {
		t.Errorf("%+v", v)
	}
	r.nothingStored(0)
	if v := apply("", seed); v.counts() != "3 0 0" || v.Created[0].ID == "" || v.DryRun {
		t.Errorf("%+v", v)
	}
	r.nothingStored(2)
	if v := apply("", seed); v.counts() != "0 0 3" {
		t.Errorf("twice: %+v", v)
	}
	more := edit(t, func(app, nginx map[string]any) {
		app["application_desc"] = "other"
		nginx["code"], nginx["replicas"] = "two", 2
		app["microservices"] = []any{nginx, map[string]any{"microservice_name": "third", "microservice_namespace": "test", "code": "x", "replicas": 1, "args": []any{"a"}}}
	})
	for _, query := range []string{"?dry_run=true", ""} {
		v := apply(query, more)
		if v.counts() != "1 2 1" || v.Changed[1].What != "code, replicas 0 to 2" || v.Left[0].What != "not in the descriptor" || len(v.Warnings) != 1 {
			t.Errorf("%s: %+v", query, v)
		}
	}
	if v := apply("", more); v.counts() != "0 0 4" {
		t.Errorf("twice: %+v", v)
	}
	var list []struct {
		Name      string `json:"microservice_name"`
		Image     string
		Instances []any `json:"instance_list"`
	}
	r.call("ann", http.MethodGet, "/api/services/", nil).want(200).into(&list)
	got := map[string]string{}
	for _, s := range list {
		got[s.Name] = fmt.Sprint(s.Image, len(s.Instances))
	}
	if got["nginx"] != "two2" || got["third"] != "x1" || got["curl"] != "docker.io/curlimages/curl:7.82.00" {
		t.Errorf("%v", got)
	}
	r.call("ann", http.MethodPost, "/api/apply?dry_run=maybe", seed).refused(422)
	r.call("ann", http.MethodPost, "/api/apply", `{`).refused(400)
	r.call("ann", http.MethodPost, "/api/apply", `{}`).refused(422)
	moved := edit(t, func(_, nginx map[string]any) { nginx["addresses"] = map[string]any{"rr_ip": "10.30.9.9"} })
	if p := r.call("ann", http.MethodPost, "/api/apply", moved).refused(422); p.Errors[0].Path != "applications[0].microservices[1].addresses.rr_ip" {
		t.Errorf("%+v", p)
	}
	// Another user's address: nothing of the descriptor is stored.
	for _, query := range []string{"?dry_run=1", ""} {
		if p := r.call("bob", http.MethodPost, "/api/apply"+query, seed).refused(409); p.Errors[0].Value != "10.30.30.30" {
			t.Errorf("%+v", p)
		}
	}
	if apps, err := r.store.Applications().List(t.Context(), "bob"); err != nil || len(apps) != 0 {
		t.Errorf("%v %v", apps, err)
	}
}
