// Package assign decides which cluster runs an instance, and owns everything
// only the root may give out: grants, service and instance addresses, blocks
// of worker subnets, the identity of clusters.
//
// One loop owns the state. What is decided is stored before it is announced.
// Nothing is removed because it is absent: a slot's record goes only after its
// tombstone was carried out. While the root recovers (recovery.go) nothing is
// allocated; what clusters claim is taken in.
//
// Callers: root/control (addresses, Wake), root/clusters (Desk).
package assign
