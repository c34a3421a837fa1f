// Package store is the book of a cluster: who it is, what the root assigned to
// it, where it placed that, its workers and their subnets. What is decided is
// in the book before anybody is told; what is observed is not kept.
//
// Callers: cluster/fleet (one writer), cluster/rootlink for the identity,
// cluster/tables for subnets. boltstore is the one backend.
package store
