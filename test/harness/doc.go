// Package harness runs a whole system in one process and in virtual time: the
// root's desk, book, links and control over its real store; cluster managers
// over a book in memory; workers of the real NodeEngine loop and the real
// NetManager over a fake runtime and a fake kernel. Only the edges are others:
// HTTP, MQTT and the sockets of gRPC. Faults are injected at those edges, and
// invariant checkers (check.go, watch.go) look at everything at once.
//
// A World lives inside a testing/synctest bubble. What it does by chance comes
// from its seed; what the product does by chance (ids, jitter, the order of
// maps and of goroutines) does not, so a seed names a scenario, not a trace: a
// failure that needs a certain order of events takes several replays.
//
// Callers: tests only.
package harness
