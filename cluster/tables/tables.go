package tables

import (
	"context"
	"net/netip"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Network is the network plane as the rest of the cluster manager sees it, one
// part per caller. *Loop implements it; fleet tests use a fake. All methods may
// be called from any goroutine.
type Network interface {
	Workers
	Attempts
	Outside
}

// Workers is what the registry of workers tells the network plane.
type Workers interface {
	// Handle takes a worker's network message (Net, Subnet, Deployed,
	// Undeployed, Query, Uninterest, Ack) in arrival order.
	Handle(in nodelink.Inbound)
	// SetNode tells that a node exists. Its sticky subnet is in the book.
	SetNode(n Node)
	// ForgetNode drops a removed node; its subnet is free again.
	ForgetNode(id model.NodeID)
	// NodeLiveness masks (Lost) or unmasks a node's endpoints.
	NodeLiveness(id model.NodeID, l instance.Liveness)
}

// Attempts is what the deploy loop tells the network plane.
type Attempts interface {
	// SetService tells name, addresses and slots of a service with
	// assignments in this cluster; slots maps number to instance address.
	SetService(s Service)
	// ForgetService drops a service without assignments here. Endpoints that
	// still report keep their containers; nothing else is pruned.
	ForgetService(id model.ServiceID)
	// Leave is step 1 of the removal order: the endpoint leaves every table,
	// and Leave returns when all connected interested nodes have acked, and
	// those clusters whose workers talk to the service, or after 2 s, or when
	// ctx ends. Leaving what is unknown returns at once.
	Leave(ctx context.Context, a instance.Attempt)
	// Gone says that nothing is left of an attempt on its node.
	Gone(a instance.Attempt)
}

// Outside is what the root tells the network plane.
type Outside interface {
	// RootTable takes a table of other clusters from the root.
	RootTable(t RootTable)
	// RootPeers takes workers of other clusters that talk to services here:
	// all of them, for one service. Their ids are written <cluster>/<node>.
	RootPeers(service model.ServiceID, peers []nodelink.Peer)
	// SliceApplied says that another cluster's workers use a version of this
	// cluster's slice of a service, or a later one.
	SliceApplied(service model.ServiceID, by model.ClusterID, version uint64)
	// Blocks sets the address blocks the root has leased to this cluster.
	Blocks(blocks []netip.Prefix)
}

// Uplink is the way to the root. Calls never block; what cannot be sent now is
// sent as part of the resync after the next Welcome.
type Uplink interface {
	SendSlice(s Slice)
	SendInterest(i Interest)
	// SendApplied tells the hosts of slices that the workers here use them.
	SendApplied(service model.ServiceID, versions map[model.ClusterID]uint64)
	RequestBlock(held []netip.Prefix)
}

// Subnets is the durable book of which node has which /26; cluster/store
// implements it.
type Subnets interface {
	LoadSubnets(ctx context.Context) (map[model.NodeID]netip.Prefix, error)
	SaveSubnet(ctx context.Context, id model.NodeID, p netip.Prefix) error
	DropSubnet(ctx context.Context, id model.NodeID) error
}

// Service is what the network plane knows of a service with assignments here.
type Service struct {
	ID        model.ServiceID
	Name      model.ServiceName
	Address   netip.Addr
	Tenant    string
	Instances map[int]netip.Addr
	Ends      bool // it is being removed: another of its name has the name
}

// Node is what the network plane knows of a worker.
type Node struct {
	ID      model.NodeID
	Address netip.Addr
	Network bool // has a NetManager
}

// Slice is this cluster's endpoints of one service.
type Slice struct {
	Service   model.ServiceID
	Version   uint64
	Endpoints []SliceEndpoint
}

// SliceEndpoint is one endpoint of a slice.
type SliceEndpoint struct {
	Number          int
	Epoch           instance.Epoch
	InstanceAddress netip.Addr
	NamespaceIP     netip.Addr
	Node            model.NodeID
	HostIP          netip.Addr
	HostPort        uint16
	Subnet          netip.Prefix
	Dataplane       model.Dataplane
	Unlisted        bool // it gets no new flows; its worker stays a peer
}

// Interest is this cluster's wish for a table it does not host alone.
type Interest struct {
	Query  string
	Remove bool
	Peers  []nodelink.Peer
}

// RootTable is a service's table as the root sends it.
type RootTable struct {
	Query   string
	Known   bool
	Service model.ServiceID
	Name    model.ServiceName
	Address netip.Addr
	Tenant  string
	Slices  []RootSlice
}

// RootSlice is another cluster's slice.
type RootSlice struct {
	Cluster   model.ClusterID
	Version   uint64
	Stale     bool
	Endpoints []SliceEndpoint
}
