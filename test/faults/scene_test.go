package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
	"oakestra/test/site"
)

const nginx, curl = "docker.io/library/nginx:latest", "docker.io/curlimages/curl:7.82.0"

// long leaves a test to make test-long.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("OAK_TEST_LONG") == "" {
		t.Skip("SKIPPED: takes minutes; run: sudo make test-long, or set OAK_TEST_LONG=1")
	}
}

// user calls the API from one machine of the lab.
type user struct {
	t     testing.TB
	base  string
	http  *http.Client
	token string
}

func newUser(t testing.TB, from *netlab.Host, root string) *user {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return from.Dial(ctx, network, address)
	}
	return &user{t: t, base: "http://" + root + ":10000",
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

func (u *user) do(method, path string, body, into any) (int, error) {
	var sent io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		sent = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, err
		}
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, u.base+path, sent)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %.400s", method, path, resp.StatusCode, data)
	}
	if into != nil {
		err = json.Unmarshal(data, into)
	}
	return resp.StatusCode, err
}

func (u *user) must(method, path string, body, into any) {
	u.t.Helper()
	if _, err := u.do(method, path, body, into); err != nil {
		u.t.Fatal(err)
	}
}

// login gets a token of the default admin.
func (u *user) login() {
	u.t.Helper()
	eventually(u.t, "login", time.Minute, func() error {
		var answer struct {
			Token string `json:"token"`
		}
		_, err := u.do("POST", "/api/auth/login", `{"username":"Admin","password":"Admin"}`, &answer)
		u.token = answer.Token
		return err
	})
}

// spec is a service to be.
type spec struct {
	name, image string
	cmd         []string
	address     string // rr_ip
	memory      int    // MiB; 0 is 20
}

// create stores an application and returns the ids of its services by name.
func (u *user) create(app string, services ...spec) map[string]string {
	u.t.Helper()
	ids := map[string]string{}
	if err := u.tryCreate(app, ids, services...); err != nil {
		u.t.Fatal(err)
	}
	return ids
}

func (u *user) tryCreate(app string, ids map[string]string, services ...spec) error {
	var micro []map[string]any
	for _, s := range services {
		if s.memory == 0 {
			s.memory = 20
		}
		if s.cmd == nil {
			s.cmd = []string{}
		}
		m := map[string]any{"microserviceID": "", "microservice_name": s.name, "microservice_namespace": "test", "virtualization": "container",
			"cmd": s.cmd, "memory": s.memory, "vcpus": 0, "storage": 0, "code": s.image, "port": ""}
		if s.address != "" {
			m["addresses"] = map[string]string{"rr_ip": s.address}
		}
		micro = append(micro, m)
	}
	var apps []struct {
		ID   string `json:"applicationID"`
		Name string `json:"application_name"`
	}
	_, err := u.do("POST", "/api/application/", map[string]any{"sla_version": "v2.0", "customerID": "Admin", "applications": []any{map[string]any{
		"applicationID": "", "application_name": app, "application_namespace": "test", "application_desc": "", "microservices": micro}}}, &apps)
	if err != nil {
		return err
	}
	for _, a := range apps {
		if a.Name != app {
			continue
		}
		var list []site.Service
		if _, err := u.do("GET", "/api/services/"+a.ID, nil, &list); err != nil {
			return err
		}
		for _, s := range list {
			ids[s.Name] = s.ID
		}
		ids["application"] = a.ID
	}
	return nil
}

func (u *user) deploy(id string) {
	u.t.Helper()
	u.must("POST", "/api/service/"+id+"/instance", nil, nil)
}

func (u *user) scale(id string, n int) {
	u.t.Helper()
	u.must("POST", "/api/service/"+id+"/scale", map[string]int{"replicas": n}, nil)
}

func (u *user) service(id string) (s site.Service, err error) {
	_, err = u.do("GET", "/api/service/"+id, nil, &s)
	return s, err
}

// running says why a service has not exactly n instances that all run.
func (u *user) running(id string, n int) error {
	s, err := u.service(id)
	if err != nil {
		return err
	}
	run := 0
	for _, i := range s.Instances {
		if i.Status == "RUNNING" {
			run++
		}
	}
	if run != n || len(s.Instances) != n {
		return fmt.Errorf("%d of %d run, want %d: %s %s", run, len(s.Instances), n, s.Status, s.Detail)
	}
	return nil
}

// words says why not n instances of a service have a status word.
func (u *user) words(id, word string, n int) error {
	s, err := u.service(id)
	if err != nil {
		return err
	}
	got := map[string]int{}
	for _, i := range s.Instances {
		got[i.Status]++
	}
	if got[word] != n {
		return fmt.Errorf("want %d %s, got %v", n, word, got)
	}
	return nil
}

func (u *user) fatal(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) waitRunning(id string, n int, within time.Duration) {
	u.t.Helper()
	eventually(u.t, fmt.Sprintf("%d instances of %s run", n, id), within, func() error { return u.running(id, n) })
}

// eventually repeats a check until it holds, and says how long that took.
func eventually(t testing.TB, what string, within time.Duration, check func() error) time.Duration {
	t.Helper()
	var err error
	for begin := time.Now(); time.Since(begin) < within; {
		asked := time.Now()
		if err = check(); err == nil {
			return time.Since(begin)
		}
		// A check that is dear is made less often: it must not be the load.
		<-time.After(max(20*time.Millisecond, 4*time.Since(asked)))
	}
	t.Fatalf("not within %s: %s: %v", within, what, err)
	return 0
}

// holds repeats a check for a while, in which it must not fail.
func holds(t testing.TB, what string, span time.Duration, check func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for begin, now := time.Now(), time.Now(); now.Sub(begin) < span; now = <-tick.C {
		if err := check(); err != nil {
			t.Fatalf("%s: after %s: %v", what, time.Since(begin).Round(time.Millisecond), err)
		}
	}
}

// after waits until a time has come: the length of a fault is its definition.
func after(begin time.Time, span time.Duration) { <-time.After(time.Until(begin.Add(span))) }

// figure writes a line that docs/faults.md quotes.
func figure(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("FIGURE: "+format, args...)
}

// promise writes down how long something took beside what is promised. A busy
// machine may miss a promise without being broken: the test fails at three
// times as much.
func promise(t testing.TB, what string, took, most time.Duration) {
	t.Helper()
	word := "kept"
	if took > most {
		word = "MISSED"
	}
	figure(t, "%s: %s (promised %s: %s)", what, took.Round(10*time.Millisecond), most, word)
	if took > 3*most {
		t.Errorf("%s took %s, promised are %s", what, took, most)
	}
}
