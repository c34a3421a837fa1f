// Package netmanager is the daemon that gives containers their network: it
// takes NodeEngine's calls (local), follows the cluster's tables (table),
// decides what the kernel must hold (plan) and has it applied (host).
//
// One loop owns all state. Calls to the kernel and to the disk run one after
// the other in a single worker beside it, so that a slow kernel delays an
// answer and never the loop. What is asked for by a call is on disk before it
// is applied; a stopped or killed daemon leaves the data plane running and
// adopts it on start. The package links neither netlink nor MQTT: cmd wires
// them in.
package netmanager
