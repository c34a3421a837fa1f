package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWhoIsNearReadsWhatIsRegistered(t *testing.T) {
	own := prometheus.NewCounter(prometheus.CounterOpts{Name: "own_total", Help: "h"})
	h := Near(Handler(New(own)))
	for _, c := range []struct {
		from, header string
		code         int
	}{
		{"127.0.0.1:1", "", 200}, {"[::1]:1", "", 200}, {"[::ffff:10.0.0.1]:1", "", 200}, {"[fe80::1]:1", "", 200},
		{"8.8.8.8:1", "", 403}, {"[2001:db8::1]:1", "", 403}, {"", "", 403},
		{"127.0.0.1:1", "X-Forwarded-For", 403}, {"10.0.0.1:1", "Forwarded", 403}, {"10.0.0.1:1", "X-Real-Ip", 403},
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.RemoteAddr = c.from
		if c.header != "" {
			r.Header.Set(c.header, "8.8.8.8")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%q %s: %d, want %d", c.from, c.header, w.Code, c.code)
		}
		if shown := strings.Contains(w.Body.String(), "own_total 0") && strings.Contains(w.Body.String(), "go_goroutines"); shown != (c.code == 200) {
			t.Errorf("%q %s: %.200s", c.from, c.header, w.Body)
		}
	}
}
