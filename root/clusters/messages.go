package clusters

import (
	"context"
	"net/netip"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/root/store"
)

// Desk decides what clusters are told. root/assign implements it; calls come
// from the streams' goroutines.
type Desk interface {
	// Welcome says who a cluster is. Errors: errs.Conflict when the name
	// belongs to another key, errs.Invalid for a name that cannot be one.
	Welcome(ctx context.Context, h Hello) (Welcome, error)
	// Resync tells what differs between what a cluster holds and what it
	// should, in order with everything else that is announced to it.
	Resync(ctx context.Context, id model.ClusterID, held []Held, tell func(Desired)) error
	// Adopt takes in what a cluster holds while the root recovers.
	Adopt(ctx context.Context, id model.ClusterID, c Claims) error
	// Reported tells that facts of slots changed in the Book.
	Reported(id model.ClusterID, facts []Facts)
	// Moved tells that a cluster came, went, or has other room.
	Moved(id model.ClusterID)
	// Lease gives a cluster the blocks it holds and one more.
	Lease(ctx context.Context, id model.ClusterID, held []netip.Prefix) ([]netip.Prefix, error)
	// Resolve finds the service of a job name or of a 10.30 address.
	Resolve(query string) (model.Service, bool)
	// Service finds a service by id.
	Service(id model.ServiceID) (model.Service, bool)
}

// Hello is how a cluster presents itself.
type Hello struct {
	Name        string
	Location    string
	ID          model.ClusterID // as given before, "" the first time
	Key         string          // proves that the name is the same cluster
	Session     string          // of this start of its manager
	Version     string
	Incarnation uint32 // of the root it knew, 0 the first time
	Held        []Held
	Blocks      []netip.Prefix
	Address     netip.Addr // where it dials from
	Abilities   []string   // what it can be asked besides
}

// Held is one slot a cluster holds an order for.
type Held struct {
	Instance model.InstanceID
	Grant    instance.Grant
	Revision uint64
}

// Welcome answers Hello. Recovery asks for Claims.
type Welcome struct {
	ID          model.ClusterID
	Incarnation uint32
	Recovery    bool
	Blocks      []netip.Prefix
}

// Desired is what a cluster is told to run. Orders of a snapshot are what
// differs from what it holds; nothing else is removed.
type Desired struct {
	Snapshot bool
	Orders   []store.Instance
	// Applications names the applications of the orders' services.
	Applications map[model.ApplicationID]model.Application
	Unknown      []Held
}

// Claims is everything a cluster holds, in full.
type Claims struct {
	Orders       []store.Instance
	Applications map[model.ApplicationID]model.Application
	Blocks       []netip.Prefix
}

// Facts is what a cluster reports of one slot.
type Facts struct {
	Instance  model.InstanceID
	Grant     instance.Grant
	Placement instance.Placement
	Observed  instance.Observed
	Vital     instance.Vital
	Node      instance.Liveness
	Gone      bool // a tombstone is carried out
	// Counted is the number of the first Room that counts the placement, 0 of
	// an older cluster.
	Counted uint64
	// LeftOn are the workers that may hold something of a tombstone; none of an
	// older cluster.
	LeftOn []model.NodeID
}

// Room is what a cluster could take.
type Room struct {
	At                 time.Time // when it was told
	Capacity, Reserved model.Resources
	Rooms              []placement.Room
	Partial            bool   // some worker has more room than Rooms say
	Number             uint64 // grows with every report; 0: an older cluster, whose Rooms are examples
	ActiveNodes        int
	NetworkNodes       int
	Runtimes           []string
	Architectures      []string
	CPUPercent         float64
	MemoryPercent      float64
	PausedUntil        time.Time // nothing is replaced before, of lost workers; zero: everything is
}
