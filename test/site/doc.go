// Package site starts a whole system for tests: root, clusters with their
// workers, an image registry and a machine outside, as processes in network
// namespaces. It offers the API by curl, the containers by the kernel, ways to
// break things (kill, freeze, cut a link, power off), a load of requests from
// inside a container, and Check, which compares what the API says with what
// really runs.
//
// Callers: test/e2e, test/faults and test/bench.
package site
