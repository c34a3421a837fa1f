package table

import (
	"maps"
	"net/netip"
	"slices"
)

// Table is one service as this node balances it.
type Table struct {
	Service string // id; of an original cluster manager the job name
	Name    string // job name
	Address netip.Addr
	Tenant  string
	Entries []Entry
}

// Entry is one endpoint. Leaving endpoints are not listed.
type Entry struct {
	Instance  int
	Address   netip.Addr // instance address
	Namespace netip.Addr // container address
	Node      string
}

// Peer is another worker and who its containers are.
type Peer struct {
	Node       string
	HostIP     netip.Addr
	Port       uint16 // UDP port to send to
	Subnet     netip.Prefix
	Dataplane  string
	Identities []Identity
}

// Identity says which instance a container address is.
type Identity struct {
	Namespace netip.Addr
	Instance  netip.Addr
	Tenant    string
}

// Change is a snapshot, or what differs from version Base.
type Change struct {
	Epoch      string
	Base       uint64
	Version    uint64
	Snapshot   bool
	Tables     []Table
	GoneTables []string
	Peers      []Peer
	GonePeers  []string
}

// Book is all tables and peers at one version of one epoch. The zero value
// has no version: only a snapshot opens it.
type Book struct {
	Epoch   string
	Version uint64
	Synced  bool // a snapshot was taken since this process started
	Tables  map[string]Table
	Peers   map[string]Peer
}

// Outcome of Apply.
type Outcome int

// The outcomes: the book has changed, the change was already in it, or
// something between is missing and a snapshot has to be asked for.
const (
	Applied Outcome = iota
	Old
	Gap
)

// Apply takes one change. On Gap the book stays as it was.
func (b *Book) Apply(c Change) Outcome {
	if c.Snapshot {
		b.Epoch, b.Version, b.Synced = c.Epoch, c.Version, true
		b.Tables, b.Peers = map[string]Table{}, map[string]Peer{}
		b.merge(c)
		return Applied
	}
	if !b.Synced || c.Epoch != b.Epoch {
		return Gap
	}
	if c.Version <= b.Version {
		return Old
	}
	if c.Base != b.Version {
		return Gap
	}
	b.Version = c.Version
	for _, id := range c.GoneTables {
		delete(b.Tables, id)
	}
	for _, id := range c.GonePeers {
		delete(b.Peers, id)
	}
	b.merge(c)
	return Applied
}

func (b *Book) merge(c Change) {
	if b.Tables == nil {
		b.Tables = map[string]Table{}
	}
	if b.Peers == nil {
		b.Peers = map[string]Peer{}
	}
	for _, t := range c.Tables {
		b.Tables[t.Service] = t
	}
	for _, p := range c.Peers {
		b.Peers[p.Node] = p
	}
}

// Put takes one table of an original cluster manager, which has no versions,
// and learns its peers: a peer is known by its host address and every container
// lies in a subnet of 64 addresses.
func (b *Book) Put(t Table, peers []Peer) {
	b.merge(Change{Tables: []Table{t}})
	for _, p := range peers {
		if old, ok := b.Peers[p.Node]; ok {
			p.Identities = union(old.Identities, p.Identities)
		}
		b.Peers[p.Node] = p
	}
}

func union(old, add []Identity) []Identity {
	by := map[netip.Addr]Identity{}
	for _, i := range slices.Concat(old, add) {
		by[i.Namespace] = i
	}
	return slices.SortedFunc(maps.Values(by), func(x, y Identity) int { return x.Namespace.Compare(y.Namespace) })
}

// Drop forgets one table; for original cluster managers only.
func (b *Book) Drop(service string) { delete(b.Tables, service) }

// Find is the table that has the address as service or instance address.
func (b *Book) Find(a netip.Addr) (Table, bool) {
	for _, t := range b.Tables {
		if t.has(a) {
			return t, true
		}
	}
	return Table{}, false
}

// Named is the table of a job name.
func (b *Book) Named(name string) (Table, bool) {
	for _, t := range b.Tables {
		if t.Name == name {
			return t, true
		}
	}
	return Table{}, false
}

func (t Table) has(a netip.Addr) bool {
	return t.Address == a || slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Address == a })
}

// Addresses are the service address and those of its instances.
func (t Table) Addresses() []netip.Addr {
	var out []netip.Addr
	if t.Address.IsValid() {
		out = append(out, t.Address)
	}
	for _, e := range t.Entries {
		if e.Address.IsValid() {
			out = append(out, e.Address)
		}
	}
	return out
}
