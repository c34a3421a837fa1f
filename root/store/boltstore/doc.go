// Package boltstore keeps the root's state in one bbolt file. Every write
// that returns has been synced to disk; writes that arrive together share one
// sync (group commit). The form of what is stored is in record.go and carries
// a version.
//
// Callers: cmd/system-manager, and tests through store/storetest.
package boltstore
