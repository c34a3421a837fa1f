package netmanager

import (
	"context"
	"net/netip"

	"oakestra/netmanager/table"
)

// Target is the broker of this node's cluster.
type Target struct {
	Node string
	Host string
	Port int
	Key  string
}

// Uplink is the conversation with the cluster manager. Run blocks until ctx
// ends and reconnects by itself; Send never blocks and may lose the message:
// everything that matters is repeated or part of a report.
type Uplink interface {
	Run(ctx context.Context) error
	Inbound() <-chan Inbound
	Send(m Outbound)
}

// Inbound is one message from the cluster; exactly one field is set.
type Inbound struct {
	Session bool // a new session has begun: report in full
	Subnet  *Subnet
	Change  *table.Change
	Result  *Result
	Bell    string // the table of this job name has changed; original cluster managers only
}

// Subnet is the node's range, or why there is none yet.
type Subnet struct {
	Prefix netip.Prefix
	Reason string
}

// Result answers a Query.
type Result struct {
	Key     string
	Known   bool
	Version uint64 // of the change that holds the table; 0 from original cluster managers
	Table   table.Table
	Peers   []table.Peer // known from the table alone; original cluster managers only
}

// Outbound is one message to the cluster; exactly one field is set.
type Outbound struct {
	AskSubnet  bool
	Deployed   *Endpoint
	Undeployed *Endpoint
	Query      *Query
	Uninterest string
	Report     *Report
	Ack        *Ack
	Watch      string // tell me by Bell when this job's table changes
	Unwatch    string
}

// Endpoint is a container of this node as the cluster is told.
type Endpoint struct {
	Service   string
	Name      string
	Instance  int
	Namespace netip.Addr
	HostIP    netip.Addr
	HostPort  int
	Grant     uint64
	Try       uint32
	Pending   bool // nothing listens in it yet
}

// Query asks for a service by name or by one of its addresses.
type Query struct {
	Name    string
	Address netip.Addr
}

// Report is the sign of life, every 2 s.
type Report struct {
	Seq       uint64
	Snapshot  bool
	HostIP    netip.Addr
	HostPort  int
	Subnet    netip.Prefix
	Applied   uint64
	Endpoints []Endpoint
	Interests []string
}

// Ack says that a version is in the kernel, or why not.
type Ack struct {
	Version uint64
	Error   string
}
