package fleet

import (
	"net/netip"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// Root is the way up; rootlink implements it. Calls never block; what is said
// while there is no root is part of the next Snapshot.
type Root interface {
	Report(facts []Facts)
	Orphans(all []Orphan)
	Nodes(changed []NodeView, removed []model.NodeID)
	Aggregate(a Aggregate)
	Note(kind, subject, message string)
}

// Facts is what the cluster knows of one slot.
type Facts struct {
	Instance  model.InstanceID
	Grant     instance.Grant
	Placement instance.Placement
	Observed  instance.Observed
	Vital     instance.Vital
	Node      instance.Liveness
	Gone      bool // the tombstone is carried out
	// Counted is the number of the first Aggregate that counts the placement.
	Counted uint64
	LeftOn  []model.NodeID // of a tombstone: workers that may hold something of it
}

// Orphan is a container that no assignment explains.
type Orphan struct {
	Node     model.NodeID
	Instance model.InstanceID
	Name     string
	Epoch    instance.Epoch
	Ending   bool // somebody ordered its removal
}

// NodeView is a worker as users see it.
type NodeView struct {
	model.Node
	Reserved model.Resources
	Usage    model.Usage
	Liveness instance.Liveness
	LastSeen time.Time
	Version  string
	Draining bool
}

// Aggregate is the cluster in one value.
type Aggregate struct {
	ActiveNodes, NetworkNodes int
	Capacity, Reserved        model.Resources
	Rooms                     []placement.Room
	Partial                   bool   // some worker has more room than Rooms say
	Number                    uint64 // grows with every one, over restarts too
	Runtimes, Architectures   []string
	CPUPercent, MemoryPercent float64
	PausedUntil               time.Time // nothing is replaced before; zero: everything is
}

// Snapshot is everything the root is told after a Welcome.
type Snapshot struct {
	Facts   []Facts
	Orphans []Orphan
	Nodes   []NodeView
	Sums    Aggregate // the next one: the root places nothing here before it has heard one
}

// Holdings is what the cluster holds, for Hello and Claims.
type Holdings struct {
	Slots  []store.Slot
	Blocks []netip.Prefix
}

// Desired is what the root wants. Snapshot: the root has compared everything.
// More: it goes on with the next one.
type Desired struct {
	Snapshot bool
	More     bool
	Revision uint64
	Changed  []Assignment
	Unknown  []model.InstanceID
}

// Assignment is one slot given to this cluster.
type Assignment struct {
	Instance    model.InstanceID
	Grant       instance.Grant
	Revision    uint64
	Tombstone   bool
	Service     model.Service
	Description string
	Address     netip.Addr
}

// Registration is what a NodeEngine says of itself.
type Registration struct {
	Host         string
	Key          string // "" from original agents
	Machine      string // id of the machine as an original agent sees it, "" when it says none
	Boot         string
	Address      netip.Addr // of the HTTP peer
	Architecture string
	Runtimes     []string
	Capacity     model.Resources
	Network      bool
	Version      string
	Abilities    []string // what it can be asked besides
}

// Status is the cluster in a line.
type Status struct {
	ActiveNodes, NetworkNodes int
}

// Question asks what would take one more instance of a service.
type Question struct {
	Service model.Service
	Most    int // workers to list
}

// Explanation says which worker would take it, and what speaks against the
// others.
type Explanation struct {
	Workers, Qualify int
	Node             model.NodeID // "" when none would
	Reasons          []instance.Reason
	Judged           []Judged // the first Question.Most, by id
}

// Judged is one worker; Reason is nil when it qualifies.
type Judged struct {
	Node   model.NodeID
	Host   string
	Reason *instance.Reason
}
