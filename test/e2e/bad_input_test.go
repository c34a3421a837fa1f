package e2e

import (
	"fmt"
	"strings"
	"time"

	"oakestra/test/site"
)

// descriptorWith is a small valid descriptor with one service.
func descriptorWith(name, rrIP string, more ...string) string {
	return fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"",
"application_name":"%s","application_namespace":"test","application_desc":"","microservices":[{"microserviceID":"",
"microservice_name":"web","microservice_namespace":"test","virtualization":"container","cmd":[],"memory":50,"vcpus":1,
"storage":0,"code":"docker.io/library/nginx:latest","port":"","addresses":{"rr_ip":"%s"}%s}]}]}`, name, rrIP, strings.Join(more, ""))
}

func (w *walk) badInput() {
	good := w.Token
	w.Token = ""
	code, body, err := w.Curl("POST", "/api/auth/login", `{"username":"Admin","password":"wrong"}`)
	if err != nil || code != 401 {
		w.T.Errorf("wrong password: %d %v %s, want 401", code, err, body)
	}
	if code, body, err = w.Curl("GET", "/api/applications/", ""); err != nil || code != 401 {
		w.T.Errorf("no token: %d %v %s, want 401", code, err, body)
	}
	w.Token = good
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
		code, body, err := w.Curl("POST", "/api/application/", c.body)
		if err != nil || code < 400 || code > 499 {
			w.T.Errorf("%s: %d %v %s, want 4xx", c.name, code, err, body)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				w.T.Errorf("%s: answer does not name %q: %s", c.name, want, body)
			}
		}
		w.T.Logf("%s: %d %s", c.name, code, body)
	}
	var apps []any
	if err := w.Get("/api/applications/", &apps); err != nil || len(apps) != 0 {
		w.T.Errorf("something was stored: %v %v", err, apps)
	}
}

func (w *walk) takenAddress() {
	code, body, err := w.Curl("POST", "/api/application/", descriptorWith("thief", "10.30.30.30"))
	if err != nil || code != 409 || !strings.Contains(body, "10.30.30.30") || !strings.Contains(body, "clientsrvr.test.nginx.test") {
		w.T.Errorf("taken rr_ip: %d %v %s, want 409 naming address and holder", code, err, body)
	}
	var apps []any
	if err := w.Get("/api/applications/", &apps); err != nil || len(apps) != 1 {
		w.T.Errorf("applications = %v %v, want the one before", err, apps)
	}
}

func (w *walk) fitsNowhere() {
	body := strings.Replace(descriptorWith("huge", ""), `"memory":50`, `"memory":99999999`, 1)
	w.Must("POST", "/api/application/", body)
	id := ""
	var list []site.Service
	var apps []struct {
		ID   string `json:"applicationID"`
		Name string `json:"application_name"`
	}
	if err := w.Get("/api/applications/", &apps); err != nil {
		w.T.Fatal(err)
	}
	for _, a := range apps {
		if a.Name == "huge" {
			id = a.ID
		}
	}
	if err := w.Get("/api/services/"+id, &list); err != nil || len(list) != 1 {
		w.T.Fatalf("%v %v", err, list)
	}
	w.Must("POST", "/api/service/"+list[0].ID+"/instance", "")
	w.Eventually("the reason with counts", 20*time.Second, func() error {
		svc := w.Service(list[0].ID)
		if len(svc.Instances) != 1 {
			return fmt.Errorf("%+v", svc)
		}
		text := svc.Instances[0].Status + " " + svc.Instances[0].Detail
		if !strings.Contains(text, "memory") || !strings.ContainsAny(text, "12") {
			return fmt.Errorf("%q names no reason with a count", text)
		}
		w.T.Logf("fits nowhere: %s", text)
		return nil
	})
	w.Must("DELETE", "/api/application/"+id, "")
}
