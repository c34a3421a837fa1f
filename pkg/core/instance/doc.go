// Package instance is the state machine of a slot: its epoch, the four facts
// that are kept apart (one writer each), how reports merge, and the word a
// user sees.
//
//	Grant     root     which cluster, once per assignment
//	Placement cluster  which node, which try, or why not
//	Observed  node     what the container does; states only grow
//	Vital     node     usage and health; the last writer wins
//
// Pure: no clock, no I/O. Callers: root/assign, root/rest, cluster/fleet and
// node/runner. The design is on docs/design/instance.md.
package instance
