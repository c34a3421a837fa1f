package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestOrphansByCommandLine(t *testing.T) {
	const (
		one   = `{"cluster_id":"c1","cluster_name":"kitchen","node_id":"w1","microserviceID":"","job_name":"a.b.c.d","instance_number":0,"epoch":"0.0/0","since":"2025-01-02T03:04:05Z","status":"found","reason":"there is no such service"}`
		older = `{"cluster_id":"c1","cluster_name":"kitchen","node_id":"w2","microserviceID":"abc","job_name":"","instance_number":1,"epoch":"1.2/3","since":"","status":"found","reason":"r"}`
		newer = `{"cluster_id":"c1","cluster_name":"kitchen","node_id":"w2","microserviceID":"abc","job_name":"","instance_number":1,"epoch":"1.3/1","since":"","status":"removing","reason":"r"}`
		held  = `{"cluster_id":"c2","cluster_name":"cellar","node_id":"","microserviceID":"held","job_name":"","instance_number":2,"epoch":"1.2/0","since":"","status":"found","reason":"r"}`
	)
	s := newStandIn(t)
	s.on("GET /api/orphans?cluster=&node=", 200, "["+strings.Join([]string{one, older, newer, held}, ",")+"]")
	s.on("GET /api/orphans?cluster=kitchen&node=w2", 200, "["+older+","+newer+"]")
	s.on("GET /api/orphans?cluster=&node=w5", 200, "[]")
	s.on("GET /api/orphans?cluster=&node=w9", 404, `{"code":404,"status":"Not Found","message":"node \"w9\": not found"}`)
	const delOne, delOlder, delNewer, delHeld = "DELETE /api/orphans/c1/w1/a.b.c.d/0?epoch=0.0%2F0", "DELETE /api/orphans/c1/w2/abc/1?epoch=1.2%2F3",
		"DELETE /api/orphans/c1/w2/abc/1?epoch=1.3%2F1", "DELETE /api/orphans/c2/-/held/2?epoch=1.2%2F0"
	s.on(delOne, 200, `{"message":"a.b.c.d/0 is removed"}`)
	s.on(delOlder, 409, `{"code":409,"status":"Conflict","message":"it belongs to instance abc/1"}`)
	s.on(delNewer, 200, `{"message":"abc/1 is removed"}`)
	s.on(delHeld, 200, `{"message":"held/2 is removed"}`)
	for _, c := range []struct {
		line, input string
		want        string // of the output, or of the error
		bad         bool
		removed     []string
	}{
		{"orphans --cluster kitchen --node w2", "", "CONTAINER  NODE  CLUSTER  EPOCH  SINCE  STATUS    WHY\nabc/1      w2    kitchen  1.2/3  -      found     r\nabc/1      w2    kitchen  1.3/1  -      removing  r\n", false, nil},
		{"orphans --node w5 --json", "", "[]\n", false, nil},
		{"orphans --node w9", "", `node "w9"`, true, nil},
		{"orphan rm c/0 --yes", "", "a.b.c.d/0 is removed\n", false, []string{delOne}},
		{"orphan rm b/0 --yes", "", "oak orphans", true, nil},
		{"orphan rm nginx", "", "want SERVICE/NUMBER", true, nil},
		{"orphan rm c/", "", "want SERVICE/NUMBER", true, nil},
		{"orphan rm c/-1", "", "want SERVICE/NUMBER", true, nil},
		{"orphan rm /0 --yes", "", "oak orphans", true, nil},
		{"orphan rm a.b.c.d/0", "y\n", "a.b.c.d/0 is removed\n", false, []string{delOne}},
		{"orphan rm a.b.c.d/0 --yes --json", "", `["a.b.c.d/0 is removed"]` + "\n", false, []string{delOne}},
		{"orphan rm held/2 -y", "", "held/2 is removed\n", false, []string{delHeld}},
		{"orphan rm a.b.c.d/0", "n\n", "nothing was removed", true, nil},
		{"orphan rm a.b.c.d/0", "", "nothing was removed", true, nil},
		{"orphan rm abc/1 --yes", "", "several are called abc/1", true, nil},
		{"orphan rm abc/1 --yes --epoch 1.3/1", "", "abc/1 is removed\n", false, []string{delNewer}},
		{"orphan rm a.b.c.d/1 --yes", "", "oak orphans", true, nil},
		{"orphan rm --all --yes --node w5", "", "oak orphans", true, nil},
		{"orphan rm --all --cluster kitchen --node w2", "yes\n", "belongs to instance abc/1", true, []string{delOlder, delNewer}},
		{"orphan rm --all", "", "--node", true, nil},
		{"orphan rm", "", "which one", true, nil},
		{"orphan rm a.b.c.d/0 --all", "", "which one", true, nil},
	} {
		s.asked = nil
		out, err := oak(t, c.input, strings.Fields(c.line)...)
		switch {
		case c.bad && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("oak %s: %v, want %q", c.line, err, c.want)
		case !c.bad && (err != nil || out != c.want):
			t.Errorf("oak %s: %q, %v; want %q", c.line, out, err, c.want)
		}
		removed := slices.DeleteFunc(s.asked, func(a string) bool { return !strings.HasPrefix(a, http.MethodDelete) })
		if !slices.Equal(removed, c.removed) {
			t.Errorf("oak %s: asked %q, want %q", c.line, removed, c.removed)
		}
	}
}
