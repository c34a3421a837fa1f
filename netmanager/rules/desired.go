package rules

import "net/netip"

// Protocol of a published port: "tcp" or "udp".
type Protocol string

// Desired is everything the data plane of one node depends on.
type Desired struct {
	Node       Node
	Peers      []Peer
	Services   []Service
	Identities []Identity
	HostPorts  []HostPort
}

// Node is this worker's own side of the overlay.
type Node struct {
	ID     string
	Subnet netip.Prefix // its /26; invalid until the cluster gave one
	HostIP netip.Addr   // underlay address used as VXLAN source
	Port   uint16       // UDP port of the tunnel, 50103
	MTU    int          // of bridge, veths and VXLAN; 0 = min(1450, underlay - 50)
	Direct bool         // host-gw: routes without a tunnel; only by explicit setting
}

// Peer is another worker reached through the tunnel.
type Peer struct {
	ID     string
	Subnet netip.Prefix
	HostIP netip.Addr
	Port   uint16 // UDP port to send to
}

// Service is one address that is balanced over backends: a service address,
// or an instance address with exactly one backend. No backends: reject at once.
type Service struct {
	Address  netip.Addr
	Backends []netip.Addr // container addresses, in slot order
}

// Identity says that packets of a container appear at servers as its instance address.
type Identity struct {
	Container netip.Addr
	Instance  netip.Addr
	Tenant    string
}

// HostPort publishes a port of the node, balanced over backends.
type HostPort struct {
	Protocol Protocol
	Port     uint16
	Backends []netip.AddrPort
}
