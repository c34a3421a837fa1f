// Package fleet owns the workers of a cluster and where instances run. One
// loop takes what workers report and what the root wants, compares the two
// level by level, and sends again whatever has not arrived: a lost message
// costs time and nothing else.
//
// Decisions are pure (plan.go, liveness.go, register.go); loop.go stores them
// and then tells workers, network plane and root. Nothing is removed before
// the root has given a snapshot and the worker a complete report since start.
// There is no at-most-once mode: a node that is cut off may run an instance
// beside its replacement until it is heard again.
package fleet
