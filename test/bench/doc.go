// Package bench measures whole-system figures: the latency of a deployment
// beside containerd's own, the idle memory of each daemon, and the throughput
// of the overlay beside a plain VXLAN. Every comparison is a ratio of medians
// of rounds that alternate within one run.
//
// Needs root: sudo make bench. Results that were kept are in docs/benchmarks.md.
package bench
