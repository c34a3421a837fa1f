package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// Check lists what keeps this machine from being a worker.
func (h *Host) Check(ctx context.Context, n rules.Node) error {
	var p errs.Problems
	for _, tool := range []string{"iptables", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			p = append(p, errs.Problem{Path: tool, Message: "is missing; run: apt-get install iptables"})
			break
		}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		p = append(p, errs.Problem{Path: "ip", Message: "is missing; run: apt-get install iproute2"})
	}
	if _, err := h.table.conn.ListTablesOfFamily(nftables.TableFamilyIPv4); err != nil {
		p = append(p, errs.Problem{Path: "nf_tables", Value: err.Error(), Message: "the kernel does not answer; run: modprobe nf_tables"})
	}
	if !n.Direct {
		if err := h.checkPort(n.Port); err != nil {
			p = append(p, errs.Problem{Path: fmt.Sprintf("udp port %d", portOf(n)), Value: err.Error(),
				Message: fmt.Sprintf("is taken by another program; find it with: ss -lunp sport = :%d", portOf(n))})
		}
	}
	return p.Err()
}

func portOf(n rules.Node) int {
	if n.Port == 0 {
		return rules.DefaultPort
	}
	return int(n.Port)
}

// checkPort binds the port, unless our own tunnel holds it.
func (h *Host) checkPort(port uint16) error {
	number := portOf(rules.Node{Port: port})
	if link, err := h.nl.LinkByName(rules.Tunnel); err == nil {
		if v, ok := link.(*netlink.Vxlan); ok && v.Port == number {
			return nil
		}
	}
	return h.in(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: number})
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Underlay is the first address of the named interface, or of the one with the
// default route of the lowest metric.
func (h *Host) Underlay(ctx context.Context, iface string) (netip.Addr, int, error) {
	link, err := h.underlayLink(iface)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	list, err := h.nl.AddrList(link, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("addresses of %s: %w: %w", link.Attrs().Name, errs.Unavailable, err)
	}
	for _, x := range list {
		if a, ok := netip.AddrFromSlice(x.IP.To4()); ok && x.Scope == int(netlink.SCOPE_UNIVERSE) {
			return a, link.Attrs().MTU, nil
		}
	}
	return netip.Addr{}, 0, fmt.Errorf("interface %s has no IPv4 address: %w", link.Attrs().Name, errs.NotFound)
}

func (h *Host) underlayLink(iface string) (netlink.Link, error) {
	if iface != "" {
		link, err := h.nl.LinkByName(iface)
		var absent netlink.LinkNotFoundError
		if errors.As(err, &absent) {
			return nil, fmt.Errorf("interface %s: %w", iface, errs.NotFound)
		}
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w: %w", iface, errs.Unavailable, err)
		}
		return link, nil
	}
	routes, err := h.nl.RouteList(nil, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w: %w", errs.Unavailable, err)
	}
	best := -1
	for i, r := range routes {
		if isDefault(r) && (best < 0 || r.Priority < routes[best].Priority) {
			best = i
		}
	}
	if best < 0 {
		return nil, fmt.Errorf("no default route; name the interface with -iface: %w", errs.NotFound)
	}
	index := routes[best].LinkIndex
	if index == 0 && len(routes[best].MultiPath) > 0 {
		index = routes[best].MultiPath[0].LinkIndex
	}
	link, err := h.nl.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("interface %d: %w: %w", index, errs.Unavailable, err)
	}
	return link, nil
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}
