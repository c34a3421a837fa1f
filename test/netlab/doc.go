// Package netlab makes small networks of "machines" for tests: each host of a
// declarative Config is a network namespace with an address on one shared
// switch. Programs run in it as processes of their own, so that killing one
// with -9 is the real thing.
//
// Everything a lab makes carries its prefix and is removed by Close, also what
// a failed or killed run left behind: processes, mounts, cgroups, namespaces.
// Needs root. Callers: test/site, test/e2e, test/faults and test/bench.
package netlab
