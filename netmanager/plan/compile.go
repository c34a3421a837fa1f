package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"oakestra/netmanager/rules"
	"oakestra/netmanager/table"
)

// State is everything Compile looks at.
type State struct {
	Node      rules.Node
	Tables    map[string]table.Table
	Peers     map[string]table.Peer
	Endpoints []Endpoint
	Dead      map[string]bool // peers that do not answer, by node id
}

// Endpoint is a container of this node.
type Endpoint struct {
	Service   string // id, may be ""
	Name      string // job name
	Instance  int
	Namespace netip.Addr
	Address   netip.Addr // instance address, invalid when unknown yet
	ServiceIP netip.Addr // invalid when unknown
	Tenant    string
	Ports     []Port
	Retired   bool // about to stop: no new flows by the service address
	Pending   bool // nothing listens in it yet: no new flows while there is another
}

// ready says whether it is right to send new flows here.
func (e Endpoint) ready() bool { return !e.Retired && !e.Pending }

// Port publishes a container port on the node.
type Port struct {
	Protocol  rules.Protocol
	Host      uint16
	Container uint16
}

// Compile says what the kernel must hold. Own endpoints are in their service's
// table even before the cluster says so; backends behind dead peers are left
// out while another one lives, and so are own containers in which nothing
// listens yet; peers of another data plane are not reachable.
func Compile(s State) rules.Desired {
	d := rules.Desired{Node: s.Node}
	if !s.Node.Subnet.IsValid() {
		return d
	}
	d.Peers = peers(s)
	d.Services = services(s)
	d.Identities = identities(s)
	d.HostPorts = hostPorts(s.Endpoints)
	return d
}

func usable(s State, p table.Peer) bool {
	// A peer on loopback is a machine without a network.
	return p.Node != s.Node.ID && p.HostIP.IsValid() && !p.HostIP.IsLoopback() && p.Subnet.IsValid() &&
		!p.Subnet.Overlaps(s.Node.Subnet) && (p.Dataplane == "" || p.Dataplane == "vxlan")
}

func peers(s State) []rules.Peer {
	var out []rules.Peer
	taken := map[netip.Prefix]bool{}
	for _, id := range slices.Sorted(maps.Keys(s.Peers)) {
		p := s.Peers[id]
		if !usable(s, p) || taken[p.Subnet] {
			continue
		}
		taken[p.Subnet] = true
		out = append(out, rules.Peer{ID: id, Subnet: p.Subnet, HostIP: p.HostIP, Port: p.Port})
	}
	return out
}

// Serving lists the peers that tables name as a place of flows, by node id.
func Serving(s State) []rules.Peer {
	names := map[string]bool{}
	for _, t := range s.Tables {
		for _, e := range t.Entries {
			names[e.Node] = true
		}
	}
	if len(names) == 0 || !s.Node.Subnet.IsValid() {
		return nil
	}
	return slices.DeleteFunc(peers(s), func(p rules.Peer) bool { return !names[p.ID] })
}

// backend is one place a flow can go to.
type backend struct {
	instance int
	address  netip.Addr // instance address
	to       netip.Addr
	dead     bool
	retired  bool
	pending  bool
}

func services(s State) []rules.Service {
	d := directory{services: map[netip.Addr][]netip.Addr{}, instances: map[netip.Addr]netip.Addr{}}
	matched := make([]bool, len(s.Endpoints))
	for _, id := range slices.Sorted(maps.Keys(s.Tables)) {
		t := s.Tables[id]
		d.addTable(t, backends(s, t, matched))
	}
	for _, ready := range []bool{true, false} { // those that wait for nothing first
		for i, e := range s.Endpoints {
			if !matched[i] && e.ready() == ready {
				d.addEndpoint(e)
			}
		}
	}
	return d.list()
}

// directory is where each address leads.
type directory struct {
	services  map[netip.Addr][]netip.Addr
	instances map[netip.Addr]netip.Addr // to its one backend; invalid: there is none
}

func (d directory) addTable(t table.Table, list []backend) {
	if t.Address.IsValid() {
		d.services[t.Address] = alive(list)
	}
	for _, e := range t.Entries { // an address whose endpoint is elsewhere is rejected, not held
		if e.Address.IsValid() && !d.instances[e.Address].IsValid() {
			d.instances[e.Address] = netip.Addr{}
		}
	}
	for _, b := range list {
		if !b.address.IsValid() || (b.retired || b.pending) && d.instances[b.address].IsValid() {
			continue
		}
		d.instances[b.address] = b.to
	}
}

// addEndpoint adds an own container that no table names yet.
func (d directory) addEndpoint(e Endpoint) {
	if e.ServiceIP.IsValid() && (e.ready() || len(d.services[e.ServiceIP]) == 0) {
		d.services[e.ServiceIP] = append(d.services[e.ServiceIP], e.Namespace)
		slices.SortFunc(d.services[e.ServiceIP], netip.Addr.Compare)
	}
	if e.Address.IsValid() && (e.ready() || !d.instances[e.Address].IsValid()) {
		d.instances[e.Address] = e.Namespace
	}
}

// list has every address once: one that is both a service's and an instance's
// is the service's.
func (d directory) list() []rules.Service {
	by := maps.Clone(d.services)
	for a, to := range d.instances {
		if _, service := by[a]; service {
			continue
		}
		by[a] = nil
		if to.IsValid() {
			by[a] = []netip.Addr{to}
		}
	}
	out := make([]rules.Service, 0, len(by))
	for _, a := range slices.SortedFunc(maps.Keys(by), netip.Addr.Compare) {
		out = append(out, rules.Service{Address: a, Backends: by[a]})
	}
	return out
}

// backends of one table in the order of instances, own endpoints included. An
// entry inside the own subnet counts only while the container is there.
func backends(s State, t table.Table, matched []bool) []backend {
	var list []backend
	seen := map[netip.Addr]bool{}
	for i, e := range s.Endpoints {
		if (e.Service == "" || e.Service != t.Service) && e.Name != t.Name {
			continue
		}
		matched[i] = true
		seen[e.Namespace] = true
		list = append(list, backend{instance: e.Instance, address: instanceAddress(e, t), to: e.Namespace, retired: e.Retired, pending: e.Pending})
	}
	for _, e := range t.Entries {
		if !e.Namespace.IsValid() || seen[e.Namespace] || s.Node.Subnet.Contains(e.Namespace) {
			continue
		}
		seen[e.Namespace] = true
		list = append(list, backend{instance: e.Instance, address: e.Address, to: e.Namespace, dead: s.Dead[e.Node]})
	}
	slices.SortFunc(list, func(a, b backend) int {
		return cmp.Or(cmp.Compare(a.instance, b.instance), a.to.Compare(b.to))
	})
	return list
}

func instanceAddress(e Endpoint, t table.Table) netip.Addr {
	if e.Address.IsValid() {
		return e.Address
	}
	for _, x := range t.Entries {
		if x.Instance == e.Instance {
			return x.Address
		}
	}
	return netip.Addr{}
}

func alive(list []backend) []netip.Addr {
	var live, all []netip.Addr
	for _, b := range list {
		if b.retired {
			continue
		}
		all = append(all, b.to)
		if !b.dead && !b.pending {
			live = append(live, b.to)
		}
	}
	if len(live) > 0 {
		return live
	}
	return all
}

func identities(s State) []rules.Identity {
	by := map[netip.Addr]rules.Identity{}
	for _, p := range s.Peers {
		if !usable(s, p) {
			continue
		}
		for _, i := range p.Identities {
			if i.Namespace.IsValid() && i.Instance.IsValid() && p.Subnet.Contains(i.Namespace) {
				by[i.Namespace] = rules.Identity{Container: i.Namespace, Instance: i.Instance, Tenant: i.Tenant}
			}
		}
	}
	for _, e := range s.Endpoints {
		a, tenant := e.Address, e.Tenant
		if !a.IsValid() {
			for _, t := range s.Tables {
				if t.Name == e.Name {
					a, tenant = instanceAddress(e, t), t.Tenant
				}
			}
		}
		if a.IsValid() {
			by[e.Namespace] = rules.Identity{Container: e.Namespace, Instance: a, Tenant: tenant}
		}
	}
	return slices.SortedFunc(maps.Values(by), func(a, b rules.Identity) int { return a.Container.Compare(b.Container) })
}

func hostPorts(endpoints []Endpoint) []rules.HostPort {
	type key struct {
		protocol rules.Protocol
		port     uint16
	}
	by, ready := map[key][]netip.AddrPort{}, map[key]bool{}
	for _, e := range endpoints {
		for _, p := range e.Ports {
			k := key{p.Protocol, p.Host}
			ready[k] = ready[k] || e.ready()
		}
	}
	for _, e := range endpoints {
		for _, p := range e.Ports {
			k := key{p.Protocol, p.Host}
			if ready[k] && !e.ready() {
				continue
			}
			by[k] = append(by[k], netip.AddrPortFrom(e.Namespace, p.Container))
		}
	}
	var out []rules.HostPort
	for k, to := range by {
		slices.SortFunc(to, netip.AddrPort.Compare)
		out = append(out, rules.HostPort{Protocol: k.protocol, Port: k.port, Backends: slices.Compact(to)})
	}
	slices.SortFunc(out, func(a, b rules.HostPort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return out
}
