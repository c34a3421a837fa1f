package control

import (
	"context"
	"net/netip"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Addresses is the pool of 10.30.0.0/16; root/assign owns it.
type Addresses interface {
	// PickService reserves a service address for a job name: the chosen one,
	// or the next free one when chosen is invalid. Errors: errs.Invalid
	// outside 10.30.0.0/16 or reserved, errs.Conflict when taken (naming the
	// holder), errs.Exhausted, errs.Unavailable in recovery.
	PickService(ctx context.Context, jobName string, chosen netip.Addr) (netip.Addr, error)
	// PickInstance reserves the address of a new slot.
	PickInstance(ctx context.Context) (netip.Addr, error)
	// Cancel gives a picked address back that was not stored after all.
	Cancel(a netip.Addr)
	// Retire lets the address of a service rest that was removed from the
	// store, until it is free for others.
	Retire(a netip.Addr, until time.Time)
}

// Below is what the root sees of clusters, nodes and running instances. All
// of it lives in memory and is rebuilt from reports; root/assign and
// root/clusters keep it.
type Below interface {
	// Facts of a slot; ok is false when no cluster has reported it.
	Facts(id model.InstanceID) (InstanceView, bool)
	Obstacles
	Clusters() []ClusterView
	Nodes() []NodeView
	// Unknown lists containers that clusters hold and no record explains.
	Unknown() []UnknownView
	// Wake tells the assign loop that a service or its wanted instances
	// changed; with numbers, that nothing but those instances did.
	Wake(id model.ServiceID, numbers ...int)
	// Recovery says whether the root waits for clusters after it lost its
	// store, and for which.
	Recovery() (on bool, waitingFor []string)
	// AcceptRecovery ends recovery by hand.
	AcceptRecovery(ctx context.Context) error
}

// Obstacles say why slots do not run; root/assign knows it.
type Obstacles interface {
	// Waits says why no cluster can take a slot: a word, "" while nobody has
	// tried, and reasons with counts.
	Waits(id model.InstanceID) (instance.Word, []instance.Reason)
	// Refusals says what each cluster has against a slot that they refuse, by
	// id; the last may be what speaks against all clusters that were not asked.
	Refusals(id model.InstanceID) []Refusal
}

// InstanceView is everything observed of one slot.
type InstanceView struct {
	Placement instance.Placement
	Observed  instance.Observed
	Vital     instance.Vital
	Node      instance.Liveness
	Cluster   model.ClusterID
}

// Refusal is what a cluster has against a slot, as it said last; without one,
// what the root knows against those that it did not ask.
type Refusal struct {
	Cluster model.ClusterID
	Reasons []instance.Reason
}

// ClusterView is a cluster as a user sees it.
type ClusterView struct {
	model.Cluster
	Active        bool
	LastSeen      time.Time
	ActiveNodes   int
	NetworkNodes  int
	Capacity      model.Resources
	Reserved      model.Resources
	CPUPercent    float64
	MemoryPercent float64
	Runtimes      []string
	Architectures []string
	PausedUntil   time.Time // what ran on lost workers is not replaced before; zero: it is
	Orphans       int       // see Control.Clusters
}

// NodeView is a worker as a user sees it.
type NodeView struct {
	model.Node
	Cluster      model.ClusterID
	ClusterName  string
	Reserved     model.Resources
	Usage        model.Usage
	Liveness     instance.Liveness
	LastSeen     time.Time
	AgentVersion string
	Draining     bool
}

// UnknownView is a container that runs without a record: listed, and removed
// only when somebody orders it. See orphans.go.
type UnknownView struct {
	Cluster     model.ClusterID
	Node        model.NodeID
	ServiceName string
	Instance    model.InstanceID
	Epoch       instance.Epoch
	Since       time.Time // listed without a break; zero for just now
	Held        bool      // its cluster has an order for it; only this root has none
	Ending      bool      // its removal was ordered
}
