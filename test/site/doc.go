// Package site starts a whole system for tests: root, cluster manager, two
// workers, an image registry and a machine outside, as processes in network
// namespaces, and offers the API by curl and the containers by the kernel.
//
// Callers: test/e2e and test/bench.
package site
