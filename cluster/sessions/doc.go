// Package sessions joins log and exec sessions of the root with the workers
// that answer them. The worker is rung over the node link and dials our port
// 10100 at /session/<id>; from then on frames are copied, and none is kept: who
// reads slowly slows down who writes.
//
// An id is 128 random bits, is good for one connection, and for 10 s.
//
// Callers: cluster.Daemon, cluster/rootlink (through its interface).
package sessions
