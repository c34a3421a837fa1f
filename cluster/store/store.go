package store

import (
	"context"
	"net/netip"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Store is the durable book. All methods may be called from any goroutine;
// when a write returns nil it survives kill -9 and power loss.
type Store interface {
	// Load reads everything but the subnets, once at start.
	Load(ctx context.Context) (State, error)
	// Commit writes a batch as one transaction.
	Commit(ctx context.Context, b Batch) error
	// SaveIdentity replaces the identity.
	SaveIdentity(ctx context.Context, id Identity) error
	LoadSubnets(ctx context.Context) (map[model.NodeID]netip.Prefix, error)
	SaveSubnet(ctx context.Context, id model.NodeID, p netip.Prefix) error
	DropSubnet(ctx context.Context, id model.NodeID) error
}

// State is the whole book.
type State struct {
	Identity Identity
	Slots    []Slot
	Nodes    []Node
	Blocks   []netip.Prefix
	Revision uint64 // last Desired.revision stored
}

// Identity says who the cluster is.
type Identity struct {
	Cluster     model.ClusterID // as the root gave it, "" before the first time
	Key         string          // random, proves the name
	Name        string
	Incarnation uint32 // of the root last seen
}

// Slot is one assignment with the cluster's decisions about it.
type Slot struct {
	Instance    model.InstanceID
	Grant       instance.Grant
	Revision    uint64
	Tombstone   bool
	Service     model.Service
	Description string // of the application, for claims
	Address     netip.Addr
	Placement   instance.Placement
	LastTry     uint32 // greatest try ever used under Grant
	Old         []Old  // earlier attempts that may still exist
	Pulls       []Pull // of Old, those whose image may still be pulled
	// Recovering: an earlier life of the book may have placed it, and no worker
	// has said so yet.
	Recovering bool
	// Carried is the epoch under which the container of the current attempt was
	// started, when a later try took it up again. Zero: its own.
	Carried instance.Epoch
	// Handoff is the one of Old that a drain replaces: it serves until the
	// current attempt runs and has taken over in the tables. Zero for none.
	Handoff Old
	// Ended is how the current attempt of what runs once has completed, zero
	// before: nobody may be left who could say so again.
	Ended instance.Observed
}

// Epoch is that of the current attempt.
func (s Slot) Epoch() instance.Epoch {
	return instance.Epoch{Grant: s.Grant, Try: s.Placement.Try}
}

// Started is the epoch that the node knows the current attempt by.
func (s Slot) Started() instance.Epoch {
	if !s.Carried.IsZero() {
		return s.Carried
	}
	return s.Epoch()
}

// Attempt is the current attempt.
func (s Slot) Attempt() instance.Attempt {
	return instance.Attempt{Instance: s.Instance, Epoch: s.Epoch()}
}

// Old is an attempt that was given up, on the node that may still hold it.
type Old struct {
	Epoch instance.Epoch
	Node  model.NodeID
}

// Pull is an attempt that was sent to an original agent at a time, and of which
// nothing was heard before it was given up.
type Pull struct {
	Old
	At time.Time
}

// Node is a registered worker.
type Node struct {
	model.Node
	Key      string // the node's own, "" for original agents
	Machine  string // what an original agent says of its machine, "" when nothing
	Version  string
	Original bool
	Draining bool // cordoned, and its instances move elsewhere
	// Abilities are what it can be asked besides, see mqtt.AbilityLogs.
	Abilities []string
	// Ending are containers that nothing explains and that somebody ordered to
	// be removed: each until the worker has reported without it.
	Ending []Orphan
}

// Orphan is a container that nothing explains. What an agent without epochs
// runs has the zero epoch, and is known by name and number.
type Orphan struct {
	Instance model.InstanceID
	Name     string // job name
	Epoch    instance.Epoch
}

// Same says whether two mean one container of a worker.
func (o Orphan) Same(p Orphan) bool {
	if o.Epoch != p.Epoch || o.Instance.Number != p.Instance.Number {
		return false
	}
	if o.Epoch.IsZero() {
		return o.Name == p.Name
	}
	return o.Instance.Service == p.Instance.Service
}

// Batch is written as a whole; nil fields change nothing.
type Batch struct {
	Slots     []Slot
	DropSlots []model.InstanceID
	Nodes     []Node
	DropNodes []model.NodeID
	Blocks    *[]netip.Prefix
	Revision  *uint64
}

// Empty says that nothing would change.
func (b Batch) Empty() bool {
	return len(b.Slots)+len(b.DropSlots)+len(b.Nodes)+len(b.DropNodes) == 0 && b.Blocks == nil && b.Revision == nil
}
