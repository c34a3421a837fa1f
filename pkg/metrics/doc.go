// Package metrics is what the daemons' pages for Prometheus share: a registry
// with the figures of the process, its text format, and the rule who may read
// it. What is counted is each daemon's own business.
//
// Callers: root/metrics, cluster/metrics, cluster/http.
package metrics
