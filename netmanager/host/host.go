package host

import (
	"context"
	"net/netip"

	"oakestra/netmanager/rules"
)

// Host is the kernel side of NetManager. Every method is idempotent; removing
// what is gone is no error. Calls are serialised by the caller.
type Host interface {
	// Check says what is missing on this machine (UDP port taken, no
	// iptables, no nf_tables), every problem with what to do about it.
	Check(ctx context.Context, n rules.Node) error
	// Underlay is the address and MTU other workers reach this one at: of the
	// default route, or of the named interface.
	Underlay(ctx context.Context, iface string) (netip.Addr, int, error)
	// Apply makes the kernel match d: links, routes, neighbours, tables. It
	// observes first and writes only what differs; adds come before removals.
	Apply(ctx context.Context, d rules.Desired) error
	// Attach gives the network namespace of pid an interface with the address
	// and a default route through the bridge. Attaching again is a check.
	Attach(ctx context.Context, a Attachment) (Attached, error)
	// Detach removes the container's interface; the namespace may be gone.
	Detach(ctx context.Context, a Attachment) error
	// Alive says whether the attachment's namespace still exists (same pid
	// with the same start time and namespace inode).
	Alive(ctx context.Context, a Attachment) (bool, error)
	// Listens says whether something in the attachment's namespace takes TCP
	// connections or UDP packets.
	Listens(ctx context.Context, a Attachment) (bool, error)
	// Forget deletes conntrack entries of flows to a backend or, from the
	// clients' side, to a container address that is gone.
	Forget(ctx context.Context, container netip.Addr) error
	// Reroute has connections that are still being opened along a way which is
	// closed now take another: their next packet meets the rules as they are.
	Reroute(ctx context.Context, closed []Way) error
	// Idle lists which of the addresses (10.30) have no conntrack entry.
	Idle(ctx context.Context, services []netip.Addr) ([]netip.Addr, error)
	// Echo asks other workers' bridges for an answer through the overlay, and
	// does not wait for it.
	Echo(ctx context.Context, to []netip.Addr) error
	// Echoes delivers the addresses that answered.
	Echoes() <-chan netip.Addr
	// Unknown delivers service addresses that a packet asked for and that no
	// rule knows. The packet is held until Release or a deadline.
	Unknown() <-chan netip.Addr
	// Release lets held packets to the address go on: they meet the rules as
	// they are now (programmed: dstnat; unknown: reject).
	Release(address netip.Addr, known bool)
	// Remove takes away everything Apply and Attach ever made on this machine.
	Remove(ctx context.Context) error
}

// Way is how flows to a service go.
type Way struct{ Service, Backend netip.Addr }

// Attachment names one container's interface.
type Attachment struct {
	Name      string // stable per attempt; the veth names derive from it
	Pid       int
	StartTime uint64 // of pid, clock ticks since boot; 0 = not recorded yet
	Netns     uint64 // inode of the namespace; 0 = not recorded yet
	Address   netip.Prefix
	Gateway   netip.Addr
	MTU       int
}

// Attached is what Attach found or made.
type Attached struct {
	StartTime uint64
	Netns     uint64
	Veth      string
}
