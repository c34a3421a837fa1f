// Package tables is the cluster's network plane: who hosts what (this
// cluster's slice of every service table), who wants to know (interests), and
// what each worker's NetManager must therefore hold (NetState). It also gives
// nodes their /26 and carries out the first and last step of the removal
// order: leave, push, wait for acks.
//
// It decides pure: state.go holds the facts, plan.go what each worker must hold
// by them, diff.go what to send. One goroutine (loop.go, plane.go) feeds facts
// in and sends what follows through nodelink.Link and Uplink.
//
// Invariants:
//   - an endpoint is in a table only while its worker reports it, its slot is
//     assigned here and it is not leaving;
//   - a worker that hosts a service knows who takes interest in it before
//     those who do can send;
//   - after a start nothing is pushed before everybody has reported or 10 s
//     have passed (gate in plane.go).
//
// Callers: cluster/daemon, cluster/fleet.
package tables
