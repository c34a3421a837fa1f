package metrics

import (
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// atOnce bounds the scrapes that are served at a time.
const atOnce = 4

// New registers the figures of Go and of the process, and own. It is a
// registry of its own: nothing registers itself elsewhere.
func New(own ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(own...)
	return r
}

// Handler serves the text format.
func Handler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce})
}

// Near lets pass who asks from a loopback, private or link-local address, and
// through no proxy: what a daemon shows needs no token there.
func Near(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := netip.ParseAddrPort(r.RemoteAddr)
		a := at.Addr().Unmap()
		near := err == nil && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast())
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
			near = near && r.Header.Get(name) == ""
		}
		if !near {
			http.Error(w, "metrics are shown to loopback and private addresses only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
