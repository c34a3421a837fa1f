package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// standIn is a root that answers as it is told and remembers what it was asked.
type standIn struct {
	t       *testing.T
	mu      sync.Mutex
	asked   []string
	answers map[string]func(http.ResponseWriter, *http.Request)
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{t: t, answers: map[string]func(http.ResponseWriter, *http.Request){}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for k, v := range map[string]string{"OAK_ROOT": server.URL, "OAK_TOKEN": "secret", "XDG_CONFIG_HOME": t.TempDir()} {
		t.Setenv(k, v)
	}
	return s
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		s.t.Errorf("%s %s comes with %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}
	key := r.Method + " " + r.URL.RequestURI()
	s.mu.Lock()
	s.asked = append(s.asked, key)
	answer := s.answers[key]
	s.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":404,"status":"Not Found","message":"no `+key+`"}`)
		return
	}
	answer(w, r)
}

func (s *standIn) on(key string, status int, body string) {
	s.answers[key] = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestOrdersToNodesAndClusters(t *testing.T) {
	s := newStandIn(t)
	const done, drained = `{"message":"ok"}`, `{"message":"draining","moving":[{"job_name":"a.b.c.d","instance_number":1,"to":"w2"},{"microserviceID":"abc","instance_number":2,"to":"w3"}],` +
		`"staying":[{"job_name":"a.b.c.d","instance_number":0,"reason":"memory: 3"}]}`
	s.on("POST /api/nodes/w1/cordon?cluster=", 200, done)
	s.on("POST /api/nodes/w1/uncordon?cluster=kitchen", 200, done)
	s.on("POST /api/nodes/w%2F1/drain?cluster=a%26b", 200, drained)
	s.on("DELETE /api/nodes/w1?cluster=", 409, `{"code":409,"status":"Conflict","message":"node w1 is alive: drain it and switch it off"}`)
	s.on("DELETE /api/cluster/kitchen?force=false", 409, `{"code":409,"status":"Conflict","message":"instances are assigned to it: a.b.c.d/0"}`)
	s.on("DELETE /api/cluster/kitchen?force=true", 200, `{"message":"ok","orphaned":[{"job_name":"a.b.c.d","instance_number":0}]}`)
	s.on("POST /api/nodes/broken/cordon?cluster=", 200, `nonsense`)
	s.on("POST /api/recovery/accept", 200, done)
	s.on("GET /api/recovery", 200, `{"recovery":true,"waiting_for":["kitchen","hall"],"unknown":[{"cluster_id":"c","node_id":"w1","job_name":"","microserviceID":"abc","instance_number":1,"epoch":"1.2/3"}]}`)
	for _, c := range []struct {
		line string
		want string // of the output, or of the error
		bad  bool
	}{
		{"node cordon w1", "ok\n", false},
		{"node uncordon w1 --cluster kitchen", "ok\n", false},
		{"node drain w/1 --cluster a&b", "draining\n  a.b.c.d/1 moves to w2\n  abc/2 moves to w3\n  a.b.c.d/0 stays: memory: 3\n", false},
		{"node drain w/1 --cluster a&b --json", drained + "\n", false},
		{"node rm w1", "drain it and switch it off", true},
		{"node cordon nobody", "no POST /api/nodes/nobody/cordon", true},
		{"node cordon broken", "", true},
		{"node cordon", "arg", true},
		{"recover", "in recovery, waiting for: kitchen, hall\nto go on without them: oak recover --accept\nruns without a record: abc/1 on node w1 of cluster c\n", false},
		{"recover --accept", "", false},
		{"cluster rm kitchen", "instances are assigned to it", true},
		{"cluster rm kitchen --force", "cluster kitchen is forgotten; 1 instances start elsewhere\n", false},
	} {
		out, err := oak(t, "", strings.Fields(c.line)...)
		switch {
		case c.bad && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("oak %s: %v, want %q", c.line, err, c.want)
		case !c.bad && (err != nil || out != c.want):
			t.Errorf("oak %s: %q, %v; want %q", c.line, out, err, c.want)
		}
	}
}

func event(id, reason string, count int) string {
	return fmt.Sprintf("id: %s\nevent: event\ndata: {\"id\":%q,\"time\":\"2025-01-02T03:04:05Z\",\"count\":%d,\"kind\":\"warning\",\"subject\":{\"type\":\"node\",\"name\":\"w1\"},\"reason\":%q,\"message\":\"m\"}\n\n", id, id, count, reason)
}

// stream sends text as an event stream; it then waits for the caller to go, or
// ends.
func stream(text string, stays bool) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		if stays {
			<-r.Context().Done()
		}
	}
}

func TestEventsThatAreKept(t *testing.T) {
	s := newStandIn(t)
	s.answers["GET /api/events?after=0"] = stream(": events follow\n\nevent: missed\ndata: {\"message\":\"older ones are gone\"}\n\n"+event("1-1", "Lost", 1)+event("1-2", "Found", 3), true)
	out, err := oak(t, "", "events")
	want := "-- older ones are gone\n2025-01-02T03:04:05Z  warning  node w1  Lost  m\n2025-01-02T03:04:05Z  warning  node w1  Found  m  (3 times)\n"
	if err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	s.on("GET /api/services", 200, `[{"microserviceID":"5","job_name":"a.b.c.d","microservice_name":"c"}]`)
	s.on("GET /api/services/", 200, `[{"microserviceID":"5","job_name":"a.b.c.d","microservice_name":"c"}]`)
	s.answers["GET /api/events?after=0&id=5&type=service"] = stream(event("1-3", "Wanted", 1), true)
	if out, err := oak(t, "", "events", "a.b.c.d", "--json"); err != nil || !strings.HasPrefix(out, `{"id":"1-3"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := oak(t, "", "events", "nothing"); err == nil {
		t.Error("events of a service that is not there")
	}
}

// On a root where something happens all the time the list ends all the same, at
// what is newer than the question, and what is counted up meanwhile is not
// printed twice.
func TestEventsThatAreKeptEndOnABusyRoot(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	tick := func(n int, after time.Duration) string {
		return fmt.Sprintf("id: 1-%d\nevent: event\ndata: {\"id\":\"1-%[1]d\",\"time\":%q,\"first_time\":\"2025-01-02T03:00:00Z\",\"count\":%[1]d,\"kind\":\"warning\",\"subject\":{\"type\":\"node\",\"name\":\"w1\"},\"reason\":\"Flaps\",\"message\":\"m\"}\n\n",
			n, at.Add(after).Format(time.RFC3339))
	}
	for name, flag := range map[string][]string{"text": nil, "json": {"--json"}} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			gone := make(chan struct{})
			s.answers["GET /api/events?after=0"] = func(w http.ResponseWriter, r *http.Request) {
				defer close(gone)
				w.Header().Set("Date", at.Format(http.TimeFormat))
				stream(event("0-1", "Lost", 1)+tick(1, -time.Minute)+tick(2, 0), false)(w, r)
				for n := 3; r.Context().Err() == nil; n++ {
					stream(tick(n, time.Duration(n)*time.Second), false)(w, r)
				}
			}
			out, err := oak(t, "", append([]string{"events"}, flag...)...)
			if err != nil || strings.Count(out, "\n") != 2 || strings.Count(out, "Flaps") != 1 {
				t.Errorf("%v, %q", err, out)
			}
			<-gone
		})
	}
}

// -f goes on after the last event when the root was gone, and ends when it is
// refused.
func TestEventsAreFollowedOverARestart(t *testing.T) {
	s := newStandIn(t)
	var after []string
	s.answers["GET /api/events?after=0"] = func(w http.ResponseWriter, r *http.Request) {
		after = append(after, r.Header.Get("Last-Event-ID"))
		switch len(after) {
		case 1:
			stream(event("1-1", "Lost", 1), false)(w, r)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			stream(event("2-1", "Found", 1), false)(w, r)
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"code":403,"status":"Forbidden","message":"no longer yours"}`)
		}
	}
	out, err := oak(t, "", "events", "-f")
	if err == nil || !strings.Contains(err.Error(), "no longer yours") {
		t.Errorf("ended with %v", err)
	}
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, "Lost") || !strings.Contains(out, "Found") {
		t.Errorf("printed %q", out)
	}
	if want := []string{"", "1-1", "1-1", "2-1"}; !slices.Equal(after, want) {
		t.Errorf("asked for what came after %q, want %q", after, want)
	}
}

func TestBackupIsWholeOrNotThere(t *testing.T) {
	s := newStandIn(t)
	sum := sha256.Sum256([]byte("the store"))
	right := hex.EncodeToString(sum[:])
	send := func(text, sum string, cut bool) {
		s.answers["GET /api/admin/backup"] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Checksum-Sha256")
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
			if cut {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("X-Checksum-Sha256", sum)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "root.db")
	send("the store", right, false)
	out, err := oak(t, "", "backup", file)
	if err != nil || out != fmt.Sprintf("%s: 9 bytes, sha256 %s\n", file, right) {
		t.Errorf("%q, %v", out, err)
	}
	whole := func() {
		t.Helper()
		raw, err := os.ReadFile(file)
		if err != nil || string(raw) != "the store" {
			t.Errorf("the file holds %q, %v", raw, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("left behind: %v, %v", list, err)
		}
	}
	whole()
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for name, c := range map[string]struct {
		set  func()
		want string
	}{
		"another sum": {func() { send("the st0re", right, false) }, "damaged"},
		"no sum":      {func() { send("the store", "", false) }, "damaged"},
		"cut":         {func() { send("the st", right, true) }, "broke off after"},
		"refused":     {func() { s.on("GET /api/admin/backup", 403, `{"code":403,"message":"needs the role Admin"}`) }, "role Admin"},
	} {
		c.set()
		if _, err := oak(t, "", "backup", file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		whole() // the good one of before
	}
	if _, err := oak(t, "", "backup", filepath.Join(dir, "no", "folder")); err == nil {
		t.Error("a backup into nowhere")
	}
}
