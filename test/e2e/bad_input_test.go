package e2e

import (
	"fmt"
	"strings"
	"time"
)

// descriptorWith is a small valid descriptor with one service.
func descriptorWith(name, rrIP string, more ...string) string {
	return fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"",
"application_name":"%s","application_namespace":"test","application_desc":"","microservices":[{"microserviceID":"",
"microservice_name":"web","microservice_namespace":"test","virtualization":"container","cmd":[],"memory":50,"vcpus":1,
"storage":0,"code":"docker.io/library/nginx:latest","port":"","addresses":{"rr_ip":"%s"}%s}]}]}`, name, rrIP, strings.Join(more, ""))
}

func (w *walk) badInput() {
	good := w.token
	w.token = ""
	code, body, err := w.curl("POST", "/api/auth/login", `{"username":"Admin","password":"wrong"}`)
	if err != nil || code != 401 {
		w.t.Errorf("wrong password: %d %v %s, want 401", code, err, body)
	}
	if code, body, err = w.curl("GET", "/api/applications/", ""); err != nil || code != 401 {
		w.t.Errorf("no token: %d %v %s, want 401", code, err, body)
	}
	w.token = good
	for _, c := range []struct {
		name, body string
		want       []string // all must be named in the answer
	}{
		{"no JSON", `{"sla_version": `, []string{"JSON"}},
		{"bad name", descriptorWith("not a name!", ""), []string{"application_name", "not a name!"}},
		{"bad port", descriptorWith("okname", "", `,"port":"80:99999"`), []string{"port", "99999"}},
		{"address outside", descriptorWith("okname", "10.31.1.1"), []string{"rr_ip", "10.31.1.1"}},
		{"unknown constraint", descriptorWith("okname", "", `,"constraints":[{"type":"moon"}]`), []string{"constraints", "moon"}},
	} {
		code, body, err := w.curl("POST", "/api/application/", c.body)
		if err != nil || code < 400 || code > 499 {
			w.t.Errorf("%s: %d %v %s, want 4xx", c.name, code, err, body)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				w.t.Errorf("%s: answer does not name %q: %s", c.name, want, body)
			}
		}
		w.t.Logf("%s: %d %s", c.name, code, body)
	}
	var apps []any
	if err := w.get("/api/applications/", &apps); err != nil || len(apps) != 0 {
		w.t.Errorf("something was stored: %v %v", err, apps)
	}
}

func (w *walk) takenAddress() {
	code, body, err := w.curl("POST", "/api/application/", descriptorWith("thief", "10.30.30.30"))
	if err != nil || code != 409 || !strings.Contains(body, "10.30.30.30") || !strings.Contains(body, "clientsrvr.test.nginx.test") {
		w.t.Errorf("taken rr_ip: %d %v %s, want 409 naming address and holder", code, err, body)
	}
	var apps []any
	if err := w.get("/api/applications/", &apps); err != nil || len(apps) != 1 {
		w.t.Errorf("applications = %v %v, want the one before", err, apps)
	}
}

func (w *walk) fitsNowhere() {
	body := strings.Replace(descriptorWith("huge", ""), `"memory":50`, `"memory":99999999`, 1)
	w.must("POST", "/api/application/", body)
	id := ""
	var list []service
	var apps []struct {
		ID   string `json:"applicationID"`
		Name string `json:"application_name"`
	}
	if err := w.get("/api/applications/", &apps); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range apps {
		if a.Name == "huge" {
			id = a.ID
		}
	}
	if err := w.get("/api/services/"+id, &list); err != nil || len(list) != 1 {
		w.t.Fatalf("%v %v", err, list)
	}
	w.must("POST", "/api/service/"+list[0].ID+"/instance", "")
	w.eventually("the reason with counts", 20*time.Second, func() error {
		svc := w.service(list[0].ID)
		if len(svc.Instances) != 1 {
			return fmt.Errorf("%+v", svc)
		}
		text := svc.Instances[0].Status + " " + svc.Instances[0].Detail
		if !strings.Contains(text, "memory") || !strings.ContainsAny(text, "12") {
			return fmt.Errorf("%q names no reason with a count", text)
		}
		w.t.Logf("fits nowhere: %s", text)
		return nil
	})
	w.must("DELETE", "/api/application/"+id, "")
}
