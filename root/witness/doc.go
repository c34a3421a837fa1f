// Package witness keeps what a root must remember beside its store, to notice
// that the store was lost or is an old copy: the incarnation, the last grant,
// the known clusters, and the admin's password hash (so that the default
// password does not come back with an empty store). One small JSON file.
//
// Callers: root/assign, root.
package witness
