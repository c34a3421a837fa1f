package nodelink

import (
	"context"
	"net/netip"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Link carries messages between the cluster manager and its workers.
type Link interface {
	// Run serves until ctx ends.
	Run(ctx context.Context) error
	// Inbound delivers what workers sent, in order per worker. One consumer.
	Inbound() <-chan Inbound
	// Send queues a message to a worker; an error only says that it could not
	// be queued. Nothing is kept for a worker that is not connected.
	Send(ctx context.Context, node model.NodeID, m Outbound) error
	// Allow tells the link which node ids exist; others are ignored.
	Allow(nodes []model.NodeID)
}

// Inbound is one message of a worker. Exactly one field below Node is set.
type Inbound struct {
	Node model.NodeID

	Report     *NodeReport
	Change     *StateChange
	Gone       *Gone
	Serving    *Serving
	Deaf       *Deaf
	Net        *NetReport
	Subnet     *SubnetRequest
	Deployed   *Endpoint
	Undeployed *Endpoint
	Query      *TableQuery
	Uninterest *Uninterest
	Ack        *NetAck
}

// NodeReport is a NodeEngine's periodic report.
type NodeReport struct {
	Boot       string
	Seq        uint64
	Usage      model.Usage
	FreeMemory int64 // MiB
	// Complete: Containers is everything the node holds. Original agents
	// report containers apart from usage: ContainersOnly marks those reports;
	// one with neither flag carries usage only.
	Complete       bool
	ContainersOnly bool
	Original       bool // an agent without epochs
	Containers     []Container
}

// Container is one container in a report. Original agents send no epoch and
// no state: both are zero, presence means running.
type Container struct {
	Service  model.ServiceID // "" from original agents
	JobName  string
	Number   int
	Observed instance.Observed
	Vital    instance.Vital
	// Restarting: it is RUNNING, but does not run just now, since its machine
	// has booted; it is being started again.
	Restarting bool
}

// StateChange is an edge: one container changed state just now.
type StateChange struct {
	Service  model.ServiceID
	JobName  string
	Number   int
	Observed instance.Observed
	Word     string // as sent, for original agents' rules
	PublicIP string
	Original bool
	// Present: an original agent refused a second deploy, so the container is
	// there, or on its way; Observed tells nothing.
	Present bool
	// Exited: an original agent said how the container ended, Observed.Exit.
	Exited bool
}

// Gone is a last will: start probing.
type Gone struct {
	Agent string // "node" or "net"
	Boot  string
}

// Deaf says that the link has lost its broker: until Serving nobody can be
// heard, and silence proves nothing.
type Deaf struct{}

// Serving says that the link (re)connected to its broker: silence until now
// proves nothing. Node is "".
type Serving struct{}

// NetReport is a NetManager's sign of life.
type NetReport struct {
	Boot      string
	Seq       uint64
	Snapshot  bool
	Dataplane model.Dataplane
	HostIP    netip.Addr
	HostPort  uint16
	Subnet    netip.Prefix
	Applied   uint64
	Endpoints []Endpoint
	Interests []string
}

// SubnetRequest asks for the node's /26.
type SubnetRequest struct{}

// Endpoint is a container that can be reached (or no longer).
type Endpoint struct {
	Service     model.ServiceID // "" from original agents
	JobName     string
	Number      int
	Epoch       instance.Epoch
	NamespaceIP netip.Addr
	HostIP      netip.Addr
	HostPort    uint16
	Pending     bool // nothing listens in it yet
}

// TableQuery asks for a service by name or address; exactly one is set. Key
// is the query as sent, to be echoed.
type TableQuery struct {
	Name    string
	Address netip.Addr
	Key     string
}

// Uninterest ends an interest.
type Uninterest struct{ Name string }

// NetAck says that a NetState is in the worker's kernel.
type NetAck struct {
	Boot    string
	Version uint64
	Error   string
}

// Outbound is one message to a worker. Exactly one field is set.
type Outbound struct {
	Deploy  *Deploy
	Delete  *Delete
	Probe   *Probe
	Subnet  *SubnetResult
	Table   *TableResult
	Net     *NetState
	Session *Session
	Updates *UpdatesAvailable // goes to everyone who subscribed; Node is ignored
}

// Deploy starts an attempt.
type Deploy struct {
	Attempt         instance.Attempt
	Name            model.ServiceName
	Spec            model.ServiceSpec
	Runtime         string // the technology word the node listed
	ServiceAddress  netip.Addr
	InstanceAddress netip.Addr
	Tenant          string
}

// Delete stops an attempt and forgets it.
type Delete struct {
	Attempt instance.Attempt
	Name    model.ServiceName
	Runtime string
	GraceMS int64
}

// Probe asks for a report at once.
type Probe struct{}

// Session rings a worker to open a session for one attempt: its output, or a
// command inside it.
type Session struct {
	ID      string
	Kind    string // mqtt.AbilityLogs or mqtt.AbilityExec
	Attempt instance.Attempt

	Follow  bool
	Tail    int64 // lines, 0: all
	SinceMS int64 // 0: all

	Command       []string
	Stdin, TTY    bool
	Columns, Rows uint32
}

// SubnetResult answers SubnetRequest; Error says why there is none yet.
type SubnetResult struct {
	Subnet netip.Prefix
	Error  string
}

// TableResult answers a TableQuery, in the form original NetManagers know.
type TableResult struct {
	Key     string
	Known   bool
	Service Table
	Version uint64 // of the NetState that already holds it, for ours
}

// UpdatesAvailable rings original NetManagers.
type UpdatesAvailable struct {
	JobName string
	Removed bool
}

// NetState is the versioned state of our NetManager, see api/mqtt.NetState.
type NetState struct {
	Epoch      string
	Base       uint64
	Version    uint64
	Snapshot   bool
	Tables     []Table
	GoneTables []model.ServiceID
	Peers      []Peer
	GonePeers  []model.NodeID
}

// Table is one service with the endpoints a worker balances over.
type Table struct {
	Service model.ServiceID
	Name    model.ServiceName
	Address netip.Addr
	Tenant  string
	Entries []TableEntry
}

// TableEntry is one endpoint.
type TableEntry struct {
	Number          int
	InstanceAddress netip.Addr
	NamespaceIP     netip.Addr
	Node            model.NodeID
	HostIP          netip.Addr
	HostPort        uint16
}

// Peer is another worker and who its containers are.
type Peer struct {
	Node       model.NodeID
	HostIP     netip.Addr
	HostPort   uint16
	Subnet     netip.Prefix
	Dataplane  model.Dataplane
	Identities []Identity
}

// Identity maps a container address to an instance address.
type Identity struct {
	NamespaceIP     netip.Addr
	InstanceAddress netip.Addr
	Tenant          string
}
