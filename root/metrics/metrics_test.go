package metrics

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/root/control"
	"oakestra/root/events"
)

func TestWhatPrometheusReads(t *testing.T) {
	m := New(Sources{
		Clusters: func() []control.ClusterView { return []control.ClusterView{{Active: true}, {}} },
		Nodes:    func() []control.NodeView { return []control.NodeView{{Liveness: instance.Lost}} },
		Recovery: func() (bool, []string) { return true, []string{"kitchen"} },
		Words:    func() map[string]int { return map[string]int{"RUNNING": 3} },
		Events:   func() events.Stats { return events.Stats{Recorded: 9, Cut: 1, Readers: 2} },
	})
	m.Request("GET", "/api/service/:id", 404, time.Millisecond)
	m.Request("BREW", "", 404, time.Millisecond)
	m.Store(true, time.Millisecond, errors.New("disk"))
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`oakestra_clusters{active="true"} 1`, `oakestra_nodes{status="lost"} 1`, `oakestra_instances{status="RUNNING"} 3`, "oakestra_recovery 1",
		"oakestra_recovery_awaited_clusters 1", "oakestra_events_total 9", "oakestra_event_readers 2", "go_goroutines", "process_open_fds",
		`oakestra_http_request_seconds_count{method="GET",route="/api/service/:id",status="404"} 1`,
		`oakestra_http_request_seconds_count{method="any",route="none",status="404"} 1`,
		`oakestra_store_seconds_count{operation="write",result="error"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}
