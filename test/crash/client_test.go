package crash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// fate is what a client knows of its request.
type fate int

const (
	done    fate = iota // answered with 2xx
	refused             // answered otherwise: nothing was stored
	never               // it did not leave: nobody listens
	unknown             // the connection died: it may have happened
)

// client is one user of the API, with connections of its own.
type client struct {
	root  *root
	http  *http.Client
	token string
}

func newClient(r *root, token string) *client {
	return &client{root: r, token: token, http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}}
}

func (c *client) do(method, path string, body any) (fate, int, []byte, error) {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return never, 0, nil, err
		}
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, "http://"+c.root.addr+path, sent)
	if err != nil {
		return never, 0, nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return never, 0, nil, err
		}
		return unknown, 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return unknown, resp.StatusCode, data, err
	case resp.StatusCode/100 == 2:
		return done, resp.StatusCode, data, nil
	}
	return refused, resp.StatusCode, data, fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, data)
}

// must is for a root that is not being killed.
func (c *client) must(t *testing.T, method, path string, body, into any) {
	t.Helper()
	f, status, data, err := c.do(method, path, body)
	if f != done {
		t.Fatalf("%s %s: %d %v", method, path, status, err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%s %s: %v in %.300s", method, path, err, data)
		}
	}
}

// login gets an API token of Admin that does not expire.
func login(t *testing.T, r *root) string {
	t.Helper()
	var session, made struct{ Token string }
	newClient(r, "").must(t, http.MethodPost, "/api/auth/login", map[string]string{"username": "Admin", "password": "Admin"}, &session)
	newClient(r, session.Token).must(t, http.MethodPost, "/api/tokens",
		map[string]any{"name": "crash", "scopes": []string{"admin"}, "expires_at": "never"}, &made)
	return made.Token
}

// Answers, as far as they matter here.
type (
	application struct {
		ID       string   `json:"applicationID"`
		Name     string   `json:"application_name"`
		Services []string `json:"microservices"`
	}
	service struct {
		ID        string         `json:"microserviceID"`
		Name      string         `json:"job_name"`
		Address   string         `json:"RR_ip"`
		Instances []instanceView `json:"instance_list"`
	}
	instanceView struct {
		Number  int    `json:"instance_number"`
		Address string `json:"instance_ip"`
	}
	organization struct {
		ID   string `json:"organization_id"`
		Name string `json:"name"`
	}
)

// descriptor is an application with two services.
func descriptor(name string) map[string]any {
	var parts []any
	for _, n := range []string{"one", "two"} {
		parts = append(parts, map[string]any{"microserviceID": "", "microservice_name": n, "microservice_namespace": "test", "virtualization": "container",
			"cmd": []string{}, "memory": 10, "vcpus": 1, "vgpus": 0, "storage": 0, "code": "docker.io/library/nginx:latest", "port": ""})
	}
	return map[string]any{"sla_version": "v2.0", "customerID": "Admin", "applications": []any{map[string]any{
		"applicationID": "", "application_name": name, "application_namespace": "test", "application_desc": "", "microservices": parts,
	}}}
}
