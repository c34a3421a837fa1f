// Package faults breaks a running system on purpose and watches what its
// containers, its network and its API do: links cut, machines switched off,
// daemons killed, stopped or robbed of their stores.
//
// Everything is a process of its own in a network namespace of its own, so
// that a kill or a cut is the real thing. Workers of the tests with hundreds of
// instances have a runtime that only counts; all others run containers. What
// was measured is in docs/faults.md.
//
// Needs root, containerd, runc and iptables, one test also mosquitto. The short
// ones are part of make e2e; OAK_TEST_LONG=1 (make test-long) runs all.
package faults
