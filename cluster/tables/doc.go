// Package tables is the cluster's network plane: who hosts what (this
// cluster's slice of every service table), who wants to know (interests), and
// what each worker's NetManager must therefore hold (NetState). It also gives
// nodes their /26 and carries out the first and last step of the removal
// order: leave, push, wait for acks.
//
// It decides pure (state.go, netstate.go) and acts in loop.go through
// nodelink.Link and Uplink. Callers: cluster/daemon, cluster/fleet.
package tables
