package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// underlay is an address other workers may reach this one at.
type underlay struct {
	link string
	addr netip.Addr
	mtu  int
	why  string
}

// Underlay is the first address of the named interface, else of the one with
// the default route of the lowest metric. A machine with neither, say a laptop
// without a network, is worker enough for itself: it takes the first interface
// that is up, and at last loopback. A change is logged with its reason.
func (h *Host) Underlay(ctx context.Context, iface string) (netip.Addr, int, error) {
	u, err := h.findUnderlay(iface)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	if u != h.underlay {
		h.log.Info("underlay chosen", "interface", u.link, "address", u.addr.String(), "mtu", u.mtu, "reason", u.why)
		h.underlay = u
	}
	return u.addr, u.mtu, nil
}

func (h *Host) findUnderlay(iface string) (underlay, error) {
	if iface != "" {
		link, err := h.nl.LinkByName(iface)
		var absent netlink.LinkNotFoundError
		if errors.As(err, &absent) {
			return underlay{}, fmt.Errorf("interface %s: %w", iface, errs.NotFound)
		}
		if err != nil {
			return underlay{}, fmt.Errorf("interface %s: %w: %w", iface, errs.Unavailable, err)
		}
		a, err := h.firstAddress(link)
		if err == nil && !a.IsValid() {
			err = fmt.Errorf("interface %s has no IPv4 address: %w", iface, errs.NotFound)
		}
		return underlay{iface, a, link.Attrs().MTU, "named by -iface"}, err
	}
	link, err := h.defaultLink()
	if err != nil {
		return underlay{}, err
	}
	if link != nil {
		a, err := h.firstAddress(link)
		if err != nil || a.IsGlobalUnicast() {
			return underlay{link.Attrs().Name, a, link.Attrs().MTU, "it has the default route"}, err
		}
	}
	return h.anyUnderlay()
}

// anyUnderlay prefers an interface with a carrier over one that is only up.
func (h *Host) anyUnderlay() (underlay, error) {
	links, err := h.nl.LinkList()
	if err != nil {
		return underlay{}, fmt.Errorf("list links: %w: %w", errs.Unavailable, err)
	}
	best := underlay{}
	for _, l := range links {
		at := l.Attrs()
		if at.Flags&net.FlagUp == 0 || at.Flags&net.FlagLoopback != 0 || ours(at.Name) {
			continue
		}
		carrier := at.RawFlags&unix.IFF_LOWER_UP != 0
		if best.addr.IsValid() && !carrier {
			continue
		}
		a, err := h.firstAddress(l)
		if err != nil {
			return underlay{}, err
		}
		if !a.IsGlobalUnicast() {
			continue
		}
		best = underlay{at.Name, a, at.MTU, "there is no default route and it is the first interface that is up"}
		if carrier {
			return best, nil
		}
	}
	if best.addr.IsValid() {
		return best, nil
	}
	lo := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return underlay{"lo", lo, loopbackMTU, "no other interface has an address: only this machine is served"}, nil
}

const loopbackMTU = 65536

func ours(link string) bool { return link == rules.Bridge || link == rules.Tunnel || isVeth(link) }

// firstAddress is the link's first IPv4 address, invalid if there is none or
// the link is gone.
func (h *Host) firstAddress(link netlink.Link) (netip.Addr, error) {
	list, err := h.nl.AddrList(link, unix.AF_INET)
	if err != nil && ignoreAbsent(err) != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w: %w", link.Attrs().Name, errs.Unavailable, err)
	}
	for _, x := range list {
		if a, ok := netip.AddrFromSlice(x.IP.To4()); ok && x.Scope == int(netlink.SCOPE_UNIVERSE) {
			return a, nil
		}
	}
	return netip.Addr{}, nil
}

// defaultLink has the default route of the lowest metric; nil without one.
func (h *Host) defaultLink() (netlink.Link, error) {
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
		return nil, nil
	}
	index := routes[best].LinkIndex
	if index == 0 && len(routes[best].MultiPath) > 0 {
		index = routes[best].MultiPath[0].LinkIndex
	}
	link, err := h.nl.LinkByIndex(index)
	if err != nil {
		if ignoreAbsent(err) == nil {
			return nil, nil // it went meanwhile
		}
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
