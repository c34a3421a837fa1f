// Package mongostore keeps the root's state in MongoDB. No transactions,
// change streams, TTL or partial indexes: every promise rests on single
// documents, compare-and-swap by rev, and unique keys. docs/design/store.md
// says which document is the unit of which promise.
//
//   - A service is there when its application's document lists it. So one write
//     of that document, made last, stores a descriptor; the same holds for
//     removing. A descriptor of several applications is stored by one document
//     in commits.
//   - The insert of an address is its claim.
//   - Removing is written down first (removals) and then carried out, by
//     whoever comes by when the writer is gone.
//   - The sweeper (Run) deletes what a dead writer left and nobody can see.
//   - Once Fence was called, no document that was written under a later term is
//     overwritten.
//
// The form of what is stored is in record.go and carries a version.
//
// Callers: cmd/system-manager, and tests through store/storetest.
package mongostore
