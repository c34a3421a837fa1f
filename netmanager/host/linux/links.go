package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

const (
	tunnelID     = 10030
	tunnelCost   = 50 // bytes that VXLAN adds over IPv4
	maxMTU       = 1450
	routeProto   = 0x6f // marks our routes; "o"
	loose        = "2"
	bridgePrefix = 0x4f
	tunnelPrefix = 0x50
)

// applyLinks makes the bridge, the tunnel and what leads to the peers.
func (h *Host) applyLinks(d rules.Desired) error {
	n := d.Node
	if !n.Subnet.IsValid() {
		return nil
	}
	mtu, err := h.mtu(n)
	if err != nil {
		return err
	}
	gateway := rules.Gateway(n.Subnet)
	bridge, err := h.ensureLink(rules.Bridge, func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Bridge{LinkAttrs: a}
	}, mtu, mac(bridgePrefix, n.Subnet), nil)
	if err != nil {
		return err
	}
	if err := h.ensureAddress(bridge, netip.PrefixFrom(gateway, n.Subnet.Bits())); err != nil {
		return err
	}
	want := map[netip.Prefix]netlink.Route{rules.ServiceRange: {LinkIndex: bridge.Attrs().Index, Dst: ipNet(rules.ServiceRange),
		Src: gateway.AsSlice(), Scope: netlink.SCOPE_LINK, Protocol: routeProto}}
	if n.Direct {
		err = h.directRoutes(d, mtu, want)
	} else {
		err = h.ensureTunnel(d, mtu, want)
	}
	if err != nil {
		return err
	}
	if err := h.ensureRoutes(want); err != nil {
		return err
	}
	return h.in(func() error { return sysctls(n.Direct) })
}

func (h *Host) mtu(n rules.Node) (int, error) {
	if n.MTU > 0 {
		return n.MTU, nil
	}
	link, err := h.linkOf(n.HostIP)
	if err != nil {
		return 0, err
	}
	if n.Direct {
		return link.Attrs().MTU, nil
	}
	return min(maxMTU, link.Attrs().MTU-tunnelCost), nil
}

// linkOf finds the interface that holds the address.
func (h *Host) linkOf(a netip.Addr) (netlink.Link, error) {
	list, err := h.nl.AddrList(nil, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w: %w", errs.Unavailable, err)
	}
	for _, x := range list {
		if got, ok := netip.AddrFromSlice(x.IP.To4()); ok && got == a {
			link, err := h.nl.LinkByIndex(x.LinkIndex)
			if err != nil {
				return nil, fmt.Errorf("interface of %s: %w: %w", a, errs.Unavailable, err)
			}
			return link, nil
		}
	}
	return nil, fmt.Errorf("no interface has the underlay address %s: %w", a, errs.NotFound)
}

// ensureLink returns the named link, made if absent or if same says that the
// one there differs in what cannot be changed.
func (h *Host) ensureLink(name string, build func(netlink.LinkAttrs) netlink.Link, mtu int, hw net.HardwareAddr, same func(netlink.Link) bool) (netlink.Link, error) {
	link, err := h.nl.LinkByName(name)
	if err == nil && same != nil && !same(link) {
		if err := h.nl.LinkDel(link); err != nil {
			return nil, fmt.Errorf("replace %s: %w: %w", name, errs.Unavailable, err)
		}
		link, err = nil, netlink.LinkNotFoundError{}
	}
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU, a.HardwareAddr = name, mtu, hw
		if err := h.nl.LinkAdd(build(a)); err != nil {
			return nil, fmt.Errorf("make %s: %w: %w", name, errs.Unavailable, err)
		}
		link, err = h.nl.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w: %w", name, errs.Unavailable, err)
	}
	// The kernel gives a bridge its ports' smallest address and MTU unless told.
	if !bytes.Equal(link.Attrs().HardwareAddr, hw) {
		err = errors.Join(err, h.nl.LinkSetHardwareAddr(link, hw))
	}
	if link.Attrs().MTU != mtu {
		err = errors.Join(err, h.nl.LinkSetMTU(link, mtu))
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		err = errors.Join(err, h.nl.LinkSetUp(link))
	}
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w: %w", name, errs.Unavailable, err)
	}
	return link, nil
}

// ensureAddress gives the link the address and takes other IPv4 ones away.
func (h *Host) ensureAddress(link netlink.Link, p netip.Prefix) error {
	list, err := h.nl.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses: %w: %w", errs.Unavailable, err)
	}
	want := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
	found := false
	for _, x := range list {
		if x.IPNet.String() == want.IPNet.String() {
			found = true
			continue
		}
		if err := h.nl.AddrDel(link, &x); err != nil {
			return fmt.Errorf("remove %s: %w: %w", x.IPNet, errs.Unavailable, err)
		}
	}
	if found {
		return nil
	}
	if err := h.nl.AddrAdd(link, want); err != nil {
		return fmt.Errorf("add %s: %w: %w", p, errs.Unavailable, err)
	}
	return nil
}

func (h *Host) ensureTunnel(d rules.Desired, mtu int, want map[netip.Prefix]netlink.Route) error {
	port := int(d.Node.Port)
	if port == 0 {
		port = rules.DefaultPort
	}
	source := net.IP(d.Node.HostIP.AsSlice())
	link, err := h.ensureLink(rules.Tunnel, func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Vxlan{LinkAttrs: a, VxlanId: tunnelID, SrcAddr: source, Port: port}
	}, mtu, mac(tunnelPrefix, d.Node.Subnet), func(l netlink.Link) bool {
		v, ok := l.(*netlink.Vxlan)
		return ok && v.VxlanId == tunnelID && v.SrcAddr.Equal(source) && v.Port == port && !v.Learning
	})
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	have, err := h.fdb.list(index)
	if err != nil {
		return err
	}
	neighbors, err := h.neighbors(index)
	if err != nil {
		return err
	}
	for _, p := range d.Peers {
		gateway, hw := rules.Gateway(p.Subnet), mac(tunnelPrefix, p.Subnet)
		r := remote{mac: [6]byte(hw), addr: p.HostIP, port: p.Port}
		if int(r.port) == port {
			r.port = 0
		}
		if have[r.mac] != r {
			if err := h.fdb.set(index, r); err != nil {
				return err
			}
		}
		if neighbors[gateway] != hw.String() {
			if err := h.nl.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: gateway.AsSlice(), HardwareAddr: hw}); err != nil {
				return fmt.Errorf("neighbour %s: %w: %w", gateway, errs.Unavailable, err)
			}
		}
		want[p.Subnet] = netlink.Route{LinkIndex: index, Dst: ipNet(p.Subnet), Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
			Src: rules.Gateway(d.Node.Subnet).AsSlice(), Protocol: routeProto}
	}
	return nil
}

func (h *Host) directRoutes(d rules.Desired, mtu int, want map[netip.Prefix]netlink.Route) error {
	link, err := h.linkOf(d.Node.HostIP)
	if err != nil {
		return err
	}
	for _, p := range d.Peers {
		want[p.Subnet] = netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p.Subnet), Gw: p.HostIP.AsSlice(),
			Src: rules.Gateway(d.Node.Subnet).AsSlice(), MTU: mtu, Protocol: routeProto}
	}
	return nil
}

func (h *Host) neighbors(link int) (map[netip.Addr]string, error) {
	list, err := h.nl.NeighList(link, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w: %w", errs.Unavailable, err)
	}
	out := map[netip.Addr]string{}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP.To4()); ok && n.State&netlink.NUD_PERMANENT != 0 {
			out[a] = n.HardwareAddr.String()
		}
	}
	return out, nil
}

// ourRoutes are the routes that carry our protocol number.
func (h *Host) ourRoutes() ([]netlink.Route, error) {
	list, err := h.nl.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: routeProto}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w: %w", errs.Unavailable, err)
	}
	return list, nil
}

func (h *Host) ensureRoutes(want map[netip.Prefix]netlink.Route) error {
	have, err := h.ourRoutes()
	if err != nil {
		return err
	}
	found := map[netip.Prefix]netlink.Route{}
	for _, r := range have {
		found[prefix(r.Dst)] = r
	}
	for p, r := range want {
		if got, ok := found[p]; ok && got.LinkIndex == r.LinkIndex && got.Gw.Equal(r.Gw) && got.Src.Equal(r.Src) && got.MTU == r.MTU {
			continue
		}
		if err := h.nl.RouteReplace(&r); err != nil {
			return fmt.Errorf("route to %s: %w: %w", p, errs.Unavailable, err)
		}
	}
	return nil
}

// removePeers takes away what leads to workers that are no peers any more. It
// runs after the table, so that no rule sends where no route leads.
func (h *Host) removePeers(d rules.Desired) error {
	if !d.Node.Subnet.IsValid() {
		return nil
	}
	keep, macs, gateways := map[netip.Prefix]bool{rules.ServiceRange: true}, map[[6]byte]bool{}, map[netip.Addr]bool{}
	for _, p := range d.Peers {
		keep[p.Subnet], macs[[6]byte(mac(tunnelPrefix, p.Subnet))], gateways[rules.Gateway(p.Subnet)] = true, true, true
	}
	routes, err := h.ourRoutes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if !keep[prefix(r.Dst)] {
			if err := h.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove the route to %s: %w: %w", r.Dst, errs.Unavailable, err)
			}
		}
	}
	link, err := h.nl.LinkByName(rules.Tunnel)
	if d.Node.Direct || err != nil {
		if err == nil { // from a tunnel to direct routes
			err = h.nl.LinkDel(link)
		}
		return ignoreAbsent(err)
	}
	return h.removeNeighbors(link.Attrs().Index, macs, gateways)
}

func (h *Host) removeNeighbors(link int, macs map[[6]byte]bool, gateways map[netip.Addr]bool) error {
	entries, err := h.fdb.list(link)
	if err != nil {
		return err
	}
	for m, r := range entries {
		if !macs[m] {
			if err := h.fdb.del(link, r); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	list, err := h.neighbors(link)
	if err != nil {
		return err
	}
	for a := range list {
		if !gateways[a] {
			err := h.nl.NeighDel(&netlink.Neigh{LinkIndex: link, IP: a.AsSlice()})
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove neighbour %s: %w: %w", a, errs.Unavailable, err)
			}
		}
	}
	return nil
}

// removeLinks deletes every link that carries our names; routes go with them.
func (h *Host) removeLinks() error {
	links, err := h.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w: %w", errs.Unavailable, err)
	}
	routes, err := h.ourRoutes()
	for _, r := range routes {
		err = errors.Join(err, ignoreGone(h.nl.RouteDel(&r)))
	}
	for _, l := range links {
		if name := l.Attrs().Name; name == rules.Bridge || name == rules.Tunnel || isVeth(name) {
			err = errors.Join(err, ignoreAbsent(h.nl.LinkDel(l)))
		}
	}
	return err
}

// sysctls opens what the rules need, on our own links where the kernel allows.
func sysctls(direct bool) error {
	wanted := [][2]string{
		{"ip_forward", "1"},
		{"conf/" + rules.Bridge + "/rp_filter", loose},
		{"conf/" + rules.Bridge + "/route_localnet", "1"},
		{"conf/" + rules.Bridge + "/send_redirects", "0"},
	}
	if !direct {
		wanted = append(wanted, [2]string{"conf/" + rules.Tunnel + "/rp_filter", loose})
	}
	for _, w := range wanted {
		path := filepath.Join("/proc/sys/net/ipv4", w[0])
		have, err := os.ReadFile(path)
		if err == nil && string(bytes.TrimSpace(have)) == w[1] {
			continue
		}
		if err := os.WriteFile(path, []byte(w[1]), 0); err != nil {
			return fmt.Errorf("set net.ipv4 %s: %w: %w", w[0], errs.Unavailable, err)
		}
	}
	return nil
}

// mac derives a hardware address from a /26, so that peers need not ask for it.
func mac(kind byte, p netip.Prefix) net.HardwareAddr {
	b := p.Addr().As4()
	return append(net.HardwareAddr{0x02, kind}, b[:]...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP.To4())
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones)
}

func ignoreAbsent(err error) error {
	var absent netlink.LinkNotFoundError
	if err == nil || errors.As(err, &absent) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove a link: %w: %w", errs.Unavailable, err)
}

func ignoreGone(err error) error {
	if err == nil || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("remove a route: %w: %w", errs.Unavailable, err)
}
