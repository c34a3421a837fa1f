package linux

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/host"
	"oakestra/pkg/errs"
)

// touching matches flows that have the address at any of their four ends.
type touching netip.Addr

// MatchConntrackFlow is called by the netlink library for each flow.
func (t touching) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	a := netip.Addr(t)
	for _, ip := range []net.IP{f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP, f.Reverse.DstIP} {
		if got, ok := netip.AddrFromSlice(ip.To4()); ok && got == a {
			return true
		}
	}
	return false
}

// Forget cuts the flows of a container that is gone, and only those.
func (h *Host) Forget(ctx context.Context, container netip.Addr) error {
	if _, err := h.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, touching(container)); err != nil {
		return fmt.Errorf("forget flows of %s: %w: %w", container, errs.Unavailable, err)
	}
	return nil
}

// opening matches TCP connections that nobody has answered, by their ways. They
// would keep their backend for two minutes, and not only for themselves: another
// connection from the same port within that time would get it, too.
type opening map[host.Way]bool

// MatchConntrackFlow is called by the netlink library for each flow.
func (o opening) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	tcp, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP)
	if !ok || tcp.State != nl.TCP_CONNTRACK_SYN_SENT {
		return false
	}
	service, _ := netip.AddrFromSlice(f.Forward.DstIP.To4())
	backend, _ := netip.AddrFromSlice(f.Reverse.SrcIP.To4())
	return o[host.Way{Service: service, Backend: backend}]
}

// Reroute forgets unanswered connections along ways that are closed.
func (h *Host) Reroute(ctx context.Context, closed []host.Way) error {
	o := make(opening, len(closed))
	for _, w := range closed {
		o[w] = true
	}
	if _, err := h.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, o); err != nil {
		return fmt.Errorf("reroute connections that are being opened: %w: %w", errs.Unavailable, err)
	}
	return nil
}

// Idle lists which of the addresses no flow was opened to.
func (h *Host) Idle(ctx context.Context, services []netip.Addr) ([]netip.Addr, error) {
	flows, err := h.nl.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list flows: %w: %w", errs.Unavailable, err)
	}
	busy := map[netip.Addr]bool{}
	for _, f := range flows {
		if a, ok := netip.AddrFromSlice(f.Forward.DstIP.To4()); ok {
			busy[a] = true
		}
	}
	var idle []netip.Addr
	for _, a := range services {
		if !busy[a] {
			idle = append(idle, a)
		}
	}
	return idle, nil
}
