// Package events is the root's short memory of what happened: to
// applications, services, instances, clusters and nodes, with a reason a
// person can read. control, assign and clusters write through Recorder; rest
// reads and subscribes.
//
// Events are observed, not desired: they live in memory and end with the
// process. Nothing decides by them, and losing one changes nothing. What they
// cost is bounded: at most Most events in all and MostOwn about one subject,
// and a subscriber that reads too slowly is cut instead of waited for.
//
// Ids grow, also over restarts: the high part is a grant that the store counts
// at every start (Begin), the low part counts within it.
package events
