package model

import "net/netip"

// Resources is an amount of what a node has or a service wants.
// The zero value wants nothing.
type Resources struct {
	MilliCPU int64 // 1000 = one vcpu
	MemoryMB int64 // MiB
	GPUs     int64
	DiskMB   int64 // MiB
}

// Add returns r + o.
func (r Resources) Add(o Resources) Resources {
	return Resources{r.MilliCPU + o.MilliCPU, r.MemoryMB + o.MemoryMB, r.GPUs + o.GPUs, r.DiskMB + o.DiskMB}
}

// Sub returns r - o; parts may go negative.
func (r Resources) Sub(o Resources) Resources {
	return Resources{r.MilliCPU - o.MilliCPU, r.MemoryMB - o.MemoryMB, r.GPUs - o.GPUs, r.DiskMB - o.DiskMB}
}

// Fits says whether want fits into r, part by part.
func (r Resources) Fits(want Resources) bool {
	return want.MilliCPU <= r.MilliCPU && want.MemoryMB <= r.MemoryMB && want.GPUs <= r.GPUs && want.DiskMB <= r.DiskMB
}

// Node is a worker as its cluster knows it.
type Node struct {
	ID           NodeID
	Host         string     // host name as registered
	Address      netip.Addr // where it registered from
	Architecture string     // Go/Debian spelling: amd64, arm64, arm
	Runtimes     []string   // "container", ...
	Capacity     Resources
	Network      bool // NetManager is there: ports and service addresses work
	Subnet       netip.Prefix
	Dataplane    Dataplane
	Cordoned     bool
}

// Dataplane says how a node carries packets between workers.
type Dataplane string

// The data planes. A node that declares none is an original NetManager.
const (
	DataplaneOriginal Dataplane = ""      // bare IP packets in UDP
	DataplaneVXLAN    Dataplane = "vxlan" // kernel VXLAN on UDP 50103
)

// Usage is what a node or an instance uses right now.
type Usage struct {
	CPUPercent    float64 // of one core for instances, of the node for nodes
	MemoryPercent float64 // 0..100
	MemoryBytes   int64
	DiskBytes     int64
}

// Cluster is a site as the root knows it.
type Cluster struct {
	ID       ClusterID
	Name     string
	Location string // "lat,lon,radius" or free text
	Address  netip.Addr
}
