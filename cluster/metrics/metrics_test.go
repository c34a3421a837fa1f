package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"oakestra/cluster/fleet"
)

func TestWhatPrometheusReads(t *testing.T) {
	var broken error
	m := New(Sources{
		Count: func(context.Context) (fleet.Count, error) {
			return fleet.Count{
				Nodes: map[string]int{"alive": 2, "lost": 0}, Instances: map[string]int{"RUNNING": 3}, Refused: map[string]int{"memory": 1},
				Orphans: 4, Reports: map[string]uint64{"report": 9},
			}, broken
		},
		Connected: func() bool { return true },
	})
	m.Lag(3 * time.Millisecond)
	read := func() string {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		return w.Body.String()
	}
	text := read()
	for _, want := range []string{
		`oakestra_nodes{status="alive"} 2`, `oakestra_nodes{status="lost"} 0`, `oakestra_instances{status="RUNNING"} 3`,
		`oakestra_placement_refused_instances{reason="memory"} 1`, "oakestra_orphans 4", `oakestra_reports_total{kind="report"} 9`,
		"oakestra_root_link_connected 1", "oakestra_loop_answers 1", `oakestra_loop_lag_seconds_bucket{le="0.005"} 1`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	broken = errors.New("busy")
	if text := read(); !strings.Contains(text, "oakestra_loop_answers 0") || strings.Contains(text, "oakestra_nodes{") {
		t.Errorf("a loop that does not answer: %s", text)
	}
}
