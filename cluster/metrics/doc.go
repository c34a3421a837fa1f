// Package metrics is what the cluster manager shows of itself to Prometheus.
// Values are read from the fleet's loop when somebody scrapes; only how late
// that loop is, is counted as it happens.
//
// Callers: cluster puts it together, cluster/http serves it at /metrics.
package metrics
