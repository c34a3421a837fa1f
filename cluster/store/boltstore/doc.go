// Package boltstore keeps the cluster's book in one bbolt file. Every write is
// synced before it returns. Records carry a version, so that a later program
// can tell what it reads.
package boltstore
