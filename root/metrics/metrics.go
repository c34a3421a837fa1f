package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oakestra/pkg/metrics"
	"oakestra/root/control"
	"oakestra/root/events"
)

// Sources is what is read at every scrape.
type Sources struct {
	Clusters func() []control.ClusterView
	Nodes    func() []control.NodeView
	Recovery func() (on bool, waitingFor []string)
	Words    func() map[string]int // instances by status
	Events   func() events.Stats
}

// Metrics counts requests and serves everything.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	store    *prometheus.HistogramVec
	reads    prometheus.Observer // of store, those that succeed: several at each request
	writes   prometheus.Observer
}

// New registers everything. It starts nothing.
func New(s Sources) *Metrics {
	m := &Metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oakestra_http_request_seconds", Help: "Time to answer a request, by route and status.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10},
		}, []string{"method", "route", "status"}),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oakestra_store_seconds", Help: "Time of a read, or of a write until it is on disk.",
			Buckets: []float64{.0001, .0005, .002, .01, .05, .2, 1},
		}, []string{"operation", "result"}),
	}
	m.reads, m.writes = m.store.WithLabelValues("read", "ok"), m.store.WithLabelValues("write", "ok")
	m.registry = metrics.New(m.requests, m.store, scrape{s})
	return m
}

// Request counts one answered request. route is the pattern, not the path.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		route, method = "none", "any" // what strangers try must not grow the registry
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Store counts one read or write.
func (m *Metrics) Store(write bool, took time.Duration, err error) {
	to := m.reads
	switch {
	case err != nil && write:
		to = m.store.WithLabelValues("write", "error")
	case err != nil:
		to = m.store.WithLabelValues("read", "error")
	case write:
		to = m.writes
	}
	to.Observe(took.Seconds())
}

// Handler serves the text format.
func (m *Metrics) Handler() http.Handler { return metrics.Handler(m.registry) }

// scrape reads the sources.
type scrape struct{ s Sources }

var (
	clusters  = prometheus.NewDesc("oakestra_clusters", "Known clusters.", []string{"active"}, nil)
	nodes     = prometheus.NewDesc("oakestra_nodes", "Workers of all clusters, by liveness.", []string{"status"}, nil)
	instances = prometheus.NewDesc("oakestra_instances", "Wanted instances, by status.", []string{"status"}, nil)
	recovery  = prometheus.NewDesc("oakestra_recovery", "1 while the root recovers a lost store.", nil, nil)
	awaited   = prometheus.NewDesc("oakestra_recovery_awaited_clusters", "Clusters that recovery waits for.", nil, nil)
	recorded  = prometheus.NewDesc("oakestra_events_total", "Events recorded since start, repeats included.", nil, nil)
	cut       = prometheus.NewDesc("oakestra_event_readers_cut_total", "Readers of events that were cut because they were slow.", nil, nil)
	readers   = prometheus.NewDesc("oakestra_event_readers", "Readers that follow events.", nil, nil)
)

// Describe lists what Collect sends.
func (c scrape) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{clusters, nodes, instances, recovery, awaited, recorded, cut, readers} {
		out <- d
	}
}

// Collect reads the sources.
func (c scrape) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	active := map[bool]int{}
	for _, v := range c.s.Clusters() {
		active[v.Active]++
	}
	gauge(clusters, active[true], "true")
	gauge(clusters, active[false], "false")
	by := map[string]int{}
	for _, n := range c.s.Nodes() {
		by[[...]string{"unseen", "alive", "suspect", "lost"}[n.Liveness]]++
	}
	for status, n := range by {
		gauge(nodes, n, status)
	}
	for word, n := range c.s.Words() {
		gauge(instances, n, word)
	}
	on, waiting := c.s.Recovery()
	gauge(recovery, map[bool]int{true: 1}[on])
	gauge(awaited, len(waiting))
	e := c.s.Events()
	out <- prometheus.MustNewConstMetric(recorded, prometheus.CounterValue, float64(e.Recorded))
	out <- prometheus.MustNewConstMetric(cut, prometheus.CounterValue, float64(e.Cut))
	gauge(readers, e.Readers)
}
