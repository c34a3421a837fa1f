// Package placement decides which candidate takes an instance: a worker inside
// a cluster, a cluster at the root. Both levels use the same Index.
//
// A candidate qualifies when every filter lets it pass; among those the one
// with the smallest reserved share of its scarcest resource wins, then the one
// with the fewest instances of the service, then the lowest id. Demands are
// reserved when they are placed, not when they are seen in use, so two
// decisions never promise the same room.
//
// A cluster is judged by its rooms (Index.Rooms of the cluster makes them) and
// by what was promised to it since it told them; docs/design/placement.md.
//
// Placing does not scan: candidates stand in leaves ordered by share, and a
// directory knows the most free room and all features of each leaf. A refusal
// counts what the leaves hold and is remembered until something changes;
// Explain scans. Pure: one loop owns an Index; no clock, no I/O.
package placement
