package metrics

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oakestra/cluster/fleet"
	"oakestra/pkg/metrics"
)

// patience is how long a scrape waits for the fleet's loop.
const patience = 2 * time.Second

// Sources is what is read at every scrape.
type Sources struct {
	Count     func(context.Context) (fleet.Count, error)
	Connected func() bool // to the root
}

// Metrics counts how late the loop is and serves everything.
type Metrics struct {
	registry *prometheus.Registry
	lag      prometheus.Histogram
}

// New registers everything. It starts nothing.
func New(s Sources) *Metrics {
	m := &Metrics{lag: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "oakestra_loop_lag_seconds", Help: "How late the loop over workers and placements came to a tick.",
		Buckets: []float64{.001, .005, .02, .1, .5, 2},
	})}
	m.registry = metrics.New(m.lag, scrape{s})
	return m
}

// Lag counts one tick.
func (m *Metrics) Lag(late time.Duration) { m.lag.Observe(late.Seconds()) }

// Handler serves the text format to who is near.
func (m *Metrics) Handler() http.Handler { return metrics.Near(metrics.Handler(m.registry)) }

// scrape reads the sources.
type scrape struct{ s Sources }

var (
	nodes     = prometheus.NewDesc("oakestra_nodes", "Workers, by liveness.", []string{"status"}, nil)
	instances = prometheus.NewDesc("oakestra_instances", "Instances assigned to this cluster, by status.", []string{"status"}, nil)
	refused   = prometheus.NewDesc("oakestra_placement_refused_instances", "Instances that no worker can take, by what is in the way; one may have several reasons.", []string{"reason"}, nil)
	orphans   = prometheus.NewDesc("oakestra_orphans", "Containers on workers that no assignment explains.", nil, nil)
	reports   = prometheus.NewDesc("oakestra_reports_total", "Messages of workers, by what they are.", []string{"kind"}, nil)
	linked    = prometheus.NewDesc("oakestra_root_link_connected", "1 while the root has this cluster's stream.", nil, nil)
	answers   = prometheus.NewDesc("oakestra_loop_answers", "0 when the loop did not answer this scrape; what it knows is missing then.", nil, nil)
)

// Describe lists what Collect sends.
func (c scrape) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodes, instances, refused, orphans, reports, linked, answers} {
		out <- d
	}
}

// Collect reads the sources.
func (c scrape) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(linked, map[bool]int{true: 1}[c.s.Connected()])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := c.s.Count(ctx)
	gauge(answers, map[bool]int{true: 1}[err == nil])
	if err != nil {
		return
	}
	for status, k := range n.Nodes {
		gauge(nodes, k, status)
	}
	for word, k := range n.Instances {
		gauge(instances, k, word)
	}
	for reason, k := range n.Refused {
		gauge(refused, k, reason)
	}
	gauge(orphans, n.Orphans)
	for kind, k := range n.Reports {
		out <- prometheus.MustNewConstMetric(reports, prometheus.CounterValue, float64(k), kind)
	}
}
