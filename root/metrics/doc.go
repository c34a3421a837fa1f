// Package metrics is what the root shows of itself to Prometheus. It has a
// registry of its own; nothing registers itself elsewhere. Values are read
// when somebody scrapes; only requests and writes are counted as they happen.
//
// Callers: root puts it together, rest serves it at /metrics.
package metrics
