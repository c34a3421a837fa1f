package rules

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"oakestra/pkg/errs"
)

// ServiceRange holds every service and instance address.
var ServiceRange = netip.MustParsePrefix("10.30.0.0/16")

// Lanes is how many services with the same number of backends have a counter
// of their own; beyond it, counters are shared.
const Lanes = 256

// Caps is what the kernel at hand can do.
type Caps struct {
	// ClampMSS: nftables can rewrite the MSS option.
	ClampMSS bool
}

// Validate lists what no ruleset can be made of. Host.Apply refuses such input.
func (d Desired) Validate() error {
	var p problems
	d.checkNodes(&p)
	d.checkServices(&p)
	d.checkContainers(&p)
	return p.Err()
}

type problems struct{ errs.Problems }

func (p *problems) add(path string, value any, message string) {
	p.Problems = append(p.Problems, errs.Problem{Path: path, Value: fmt.Sprint(value), Message: message})
}

// checkNodes looks at this node and its peers.
func (d Desired) checkNodes(p *problems) {
	if d.Node.Subnet.IsValid() && !subnet(d.Node.Subnet) {
		p.add("node.subnet", d.Node.Subnet, "must be an IPv4 /26 at its base")
	}
	for i, x := range d.Peers {
		if !subnet(x.Subnet) {
			p.add(fmt.Sprintf("peers[%d].subnet", i), x.Subnet, "must be an IPv4 /26 at its base")
		}
		if !x.HostIP.Is4() {
			p.add(fmt.Sprintf("peers[%d].hostip", i), x.HostIP, "must be an IPv4 address")
		}
	}
}

func (d Desired) checkServices(p *problems) {
	for i, s := range d.Services {
		if !s.Address.Is4() || !ServiceRange.Contains(s.Address) {
			p.add(fmt.Sprintf("services[%d].address", i), s.Address, "must lie in "+ServiceRange.String())
		}
		if slices.ContainsFunc(s.Backends, func(a netip.Addr) bool { return !a.Is4() }) {
			p.add(fmt.Sprintf("services[%d].backends", i), s.Backends, "must be IPv4 addresses")
		}
	}
}

// checkContainers looks at what single containers are known by.
func (d Desired) checkContainers(p *problems) {
	for i, x := range d.Identities {
		if !x.Container.Is4() || !x.Instance.Is4() {
			p.add(fmt.Sprintf("identities[%d]", i), x, "must be IPv4 addresses")
		}
	}
	for i, h := range d.HostPorts {
		if h.Port == 0 || (h.Protocol != "tcp" && h.Protocol != "udp") {
			p.add(fmt.Sprintf("hostports[%d]", i), h, "needs tcp or udp and a port")
		}
	}
}

func subnet(p netip.Prefix) bool { return p.Addr().Is4() && p.Bits() == 26 && p == p.Masked() }

// Gateway is the bridge's address in a node's /26: base + 1.
func Gateway(p netip.Prefix) netip.Addr { return p.Addr().Next() }

// Compile turns valid input into the whole table. Order of the input does not
// matter, except that of backends. Of doubled entries the last one counts.
func Compile(d Desired, caps Caps) Ruleset {
	r := Ruleset{Chains: frame(d.Node, caps), Sets: map[string]map[Key]Value{}}
	for _, name := range Sets() {
		r.Sets[name] = map[Key]Value{}
	}
	for _, p := range d.Peers {
		r.Sets[SetPeers][addrKey(p.Subnet.Addr())] = Value{}
		r.Sets[SetSenders][addrKey(p.HostIP)] = Value{}
		r.Sets[SetTunnelPorts][numberKey(portOr(p.Port))] = Value{}
	}
	for _, x := range d.Identities {
		r.Sets[SetIdentities][addrKey(x.Container)] = addrValue(x.Instance)
	}
	compileServices(r, d)
	compileHostPorts(r, d)
	return r
}

func portOr(p uint16) uint16 {
	if p == 0 {
		return DefaultPort
	}
	return p
}

// DefaultPort is the tunnel's UDP port.
const DefaultPort = 50103

func compileServices(r Ruleset, d Desired) {
	services := map[netip.Addr][]netip.Addr{}
	for _, s := range d.Services {
		services[s.Address] = s.Backends
	}
	taken := map[[2]int]bool{}
	for _, address := range slices.SortedFunc(maps.Keys(services), netip.Addr.Compare) {
		backends := services[address]
		n := len(backends)
		chain := chainRefuse
		if n > 0 {
			chain = lane(taken, address, n)
			r.Chains[chain] = Chain{Rules: []Rule{rule(count(DnatSlot, uint32(n)))}}
		}
		r.Sets[SetKnown][addrKey(address)] = Value{}
		r.Sets[SetServices][addrKey(address)] = Value{Chain: chain}
		if n == 0 {
			continue
		}
		// Every node starts somewhere else, or all first flows of a site
		// would meet at one backend.
		start := int(hash(d.Node.ID+"/"+address.String()) % uint32(n))
		for slot := range n {
			r.Sets[SetBackends][slotKey(address, slot)] = addrValue(backends[(slot+start)%n])
		}
	}
}

// lane names the chain whose counter the service uses: its own while one is
// free. It depends on the set of services alone, not on history.
func lane(taken map[[2]int]bool, address netip.Addr, n int) string {
	if n == 1 {
		return "lane-1"
	}
	at := int(hash(address.String()) % Lanes)
	for i := range Lanes {
		if k := [2]int{n, (at + i) % Lanes}; !taken[k] {
			taken[k] = true
			at = k[1]
			break
		}
	}
	return fmt.Sprintf("lane-%d-%d", n, at)
}

func compileHostPorts(r Ruleset, d Desired) {
	for _, h := range d.HostPorts {
		n := len(h.Backends)
		chain := chainRefuse
		if n > 0 {
			chain = fmt.Sprintf("port-%s-%d", h.Protocol, h.Port)
			r.Chains[chain] = Chain{Rules: []Rule{rule(count(DnatPort, uint32(n)))}}
		}
		r.Sets[SetHostPorts][portKey(h.Protocol, h.Port)] = Value{Chain: chain}
		for slot, b := range h.Backends {
			r.Sets[SetHostSlots][portSlotKey(h.Protocol, h.Port, slot)] = addrPortValue(b)
		}
	}
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s)) // never fails
	return h.Sum32()
}
