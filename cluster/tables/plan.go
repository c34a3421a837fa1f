package tables

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// view is what one worker must hold. The values are shared between views and
// never written after they were made, so equal pointers mean equal content.
type view struct {
	tables map[model.ServiceID]*nodelink.Table
	peers  map[model.NodeID]*nodelink.Peer
}

// planner derives views from facts. It remembers tables and peers until told
// that they are stale, since many views share them.
type planner struct {
	*facts
	tables map[tableKey]*nodelink.Table
	peers  map[model.NodeID]*nodelink.Peer
	// Workers of other clusters: now (nil when stale) and before.
	strange, earlier map[model.NodeID]*nodelink.Peer
	planes           set[model.Dataplane] // that tables were made for
	old              map[any]any          // what a stale table or peer was
}

type tableKey struct {
	service   model.ServiceID
	dataplane model.Dataplane
}

func newPlanner(f *facts) *planner {
	return &planner{
		facts: f, tables: map[tableKey]*nodelink.Table{}, peers: map[model.NodeID]*nodelink.Peer{},
		planes: set[model.Dataplane]{}, old: map[any]any{},
	}
}

func (p *planner) staleService(id model.ServiceID) {
	for d := range p.planes {
		k := tableKey{id, d}
		if t, ok := p.tables[k]; ok {
			p.old[k] = t
			delete(p.tables, k)
		}
	}
}

func (p *planner) stalePeer(id model.NodeID) {
	if v, ok := p.peers[id]; ok {
		p.old[id] = v
		delete(p.peers, id)
	}
}

// staleForeign says that some record of a worker of another cluster may have
// changed; refresh tells which.
func (p *planner) staleForeign() {
	if p.strange != nil {
		p.earlier, p.strange = p.strange, nil
	}
}

// refresh makes the records of workers of other clusters anew, if need be, and
// lists those that changed.
func (p *planner) refresh() (changed []model.NodeID) {
	if p.strange != nil {
		return nil
	}
	p.strange = p.strangers()
	for id, v := range p.strange {
		if before := p.earlier[id]; before != nil && reflect.DeepEqual(before, v) {
			p.strange[id] = before
		} else {
			changed = append(changed, id)
		}
	}
	for id := range p.earlier {
		if p.strange[id] == nil {
			changed = append(changed, id)
		}
	}
	p.earlier = nil
	return changed
}

// keep returns the earlier value when nothing changed.
func keep[T any](p *planner, key any, fresh *T) *T {
	before, ok := p.old[key].(*T)
	delete(p.old, key)
	if ok && reflect.DeepEqual(before, fresh) {
		return before
	}
	return fresh
}

// desired is what a worker must hold:
//
//	tables = services it hosts or takes interest in
//	peers  = workers that host one of those, and workers that hold or want the
//	         table of a service hosted here; of the same data plane
//
// Hosts that are leaving stay peers: their flows are still draining.
func (p *planner) desired(n model.NodeID) view {
	v := view{tables: map[model.ServiceID]*nodelink.Table{}, peers: map[model.NodeID]*nodelink.Peer{}}
	w := p.workers[n]
	if w == nil {
		return v
	}
	p.refresh()
	for s := range p.servicesOf(n) {
		hosting, watching := p.hosts.has(s, n), p.watchers.has(s, n)
		if hosting || watching {
			if t := p.table(s, w.dataplane); t != nil {
				v.tables[s] = t
			}
			for h := range p.hosts.by[s] {
				p.addPeer(v, w, h)
			}
			for _, sl := range p.foreign[s].Slices {
				for _, e := range sl.Endpoints {
					p.addStranger(v, w, foreignNode(sl.Cluster, e.Node))
				}
			}
		}
		if !hosting {
			continue
		}
		for _, x := range []index{p.watchers, p.wanters} {
			for o := range x.by[s] {
				p.addPeer(v, w, o)
			}
		}
		for _, t := range p.talkers[s] {
			p.addStranger(v, w, t.Node)
		}
	}
	return v
}

func (p *planner) addPeer(v view, w *worker, id model.NodeID) {
	o := p.workers[id]
	if id == w.ID || o == nil || !o.ours || !w.ours || o.dataplane != w.dataplane || !o.reachable() {
		return
	}
	v.peers[id] = p.peer(o)
}

func (p *planner) addStranger(v view, w *worker, id model.NodeID) {
	if s := p.strange[id]; s != nil && s.Dataplane == w.dataplane {
		v.peers[id] = s
	}
}

// peer is a worker's record for others, with who its containers are.
func (p *planner) peer(w *worker) *nodelink.Peer {
	if v, ok := p.peers[w.ID]; ok {
		return v
	}
	ip, port := w.where()
	fresh := &nodelink.Peer{Node: w.ID, HostIP: ip, HostPort: port, Subnet: w.subnet, Dataplane: w.dataplane}
	newest := map[netip.Addr]instance.Epoch{}
	ids := map[netip.Addr]nodelink.Identity{}
	for _, e := range w.endpoints {
		s := p.services[e.service]
		at, ok := s.Instances[e.Number]
		if !ok || !at.IsValid() {
			continue
		}
		if before, ok := newest[e.NamespaceIP]; ok && e.Epoch.Less(before) {
			continue
		}
		newest[e.NamespaceIP] = e.Epoch
		ids[e.NamespaceIP] = nodelink.Identity{NamespaceIP: e.NamespaceIP, InstanceAddress: at, Tenant: s.Tenant}
	}
	for _, i := range ids {
		fresh.Identities = append(fresh.Identities, i)
	}
	sortIdentities(fresh.Identities)
	v := keep(p, w.ID, fresh)
	p.peers[w.ID] = v
	return v
}

func sortIdentities(ids []nodelink.Identity) {
	slices.SortFunc(ids, func(a, b nodelink.Identity) int { return a.NamespaceIP.Compare(b.NamespaceIP) })
}

// strangers are the records of workers of other clusters: one each, whatever
// number of services they came with.
func (p *planner) strangers() map[model.NodeID]*nodelink.Peer {
	out := map[model.NodeID]*nodelink.Peer{}
	who := map[model.NodeID]map[netip.Addr]nodelink.Identity{}
	take := func(peer nodelink.Peer, ids ...nodelink.Identity) {
		if !peer.HostIP.IsValid() || !peer.Subnet.IsValid() {
			return
		}
		if out[peer.Node] == nil {
			peer.Identities = nil
			out[peer.Node], who[peer.Node] = &peer, map[netip.Addr]nodelink.Identity{}
		}
		for _, i := range ids {
			if i.NamespaceIP.IsValid() && i.InstanceAddress.IsValid() {
				who[peer.Node][i.NamespaceIP] = i
			}
		}
	}
	for _, s := range sorted(p.foreign) {
		t := p.foreign[s]
		for _, sl := range t.Slices {
			for _, e := range sl.Endpoints {
				take(nodelink.Peer{
					Node: foreignNode(sl.Cluster, e.Node), HostIP: e.HostIP, HostPort: e.HostPort,
					Subnet: e.Subnet, Dataplane: e.Dataplane,
				}, nodelink.Identity{NamespaceIP: e.NamespaceIP, InstanceAddress: e.InstanceAddress, Tenant: t.Tenant})
			}
		}
	}
	for _, s := range sorted(p.talkers) {
		for _, t := range p.talkers[s] {
			take(t, t.Identities...)
		}
	}
	for id, peer := range out {
		for _, i := range who[id] {
			peer.Identities = append(peer.Identities, i)
		}
		sortIdentities(peer.Identities)
	}
	return out
}

// table is a service as workers of one data plane balance it; nil for a
// service nobody has named.
func (p *planner) table(id model.ServiceID, d model.Dataplane) *nodelink.Table {
	k := tableKey{id, d}
	if t, ok := p.tables[k]; ok {
		return t
	}
	p.planes[d] = struct{}{}
	t, ok := p.header(id)
	if !ok {
		delete(p.old, k)
		return nil
	}
	for _, c := range choose(p.candidates(id), func(c candidate) bool { return c.Dataplane == d }) {
		t.Entries = append(t.Entries, nodelink.TableEntry{
			Number: c.Number, InstanceAddress: c.InstanceAddress, NamespaceIP: c.NamespaceIP,
			Node: c.Node, HostIP: c.HostIP, HostPort: c.HostPort,
		})
	}
	v := keep(p, k, &t)
	p.tables[k] = v
	return v
}

// candidate is an endpoint that could be listed.
type candidate struct {
	SliceEndpoint
	masked  bool // its node is lost
	pending bool // nothing listens in it yet
	local   bool
}

// candidates lists a service's endpoints here and elsewhere that are not
// leaving and whose slot is known.
func (f *facts) candidates(id model.ServiceID) []candidate {
	var out []candidate
	slots := f.services[id].Instances
	for n := range f.hosts.by[id] {
		w := f.workers[n]
		if w == nil || !w.reachable() {
			continue
		}
		for _, e := range w.endpoints {
			if at, known := slots[e.Number]; e.service == id && known && !f.isLeaving(e) {
				out = append(out, candidate{local: true, masked: w.live == instance.Lost, pending: e.Pending, SliceEndpoint: w.sliceEndpoint(e, at)})
			}
		}
	}
	for _, sl := range f.foreign[id].Slices {
		for _, e := range sl.Endpoints {
			if e.Unlisted {
				continue
			}
			e.Node = foreignNode(sl.Cluster, e.Node)
			out = append(out, candidate{SliceEndpoint: e})
		}
	}
	return out
}

// outclassed says which endpoints are left out of a list. Those of lost nodes
// are, while another one lives: a lost node may only be cut off from us, and
// with nothing else it is the best guess. So are those in which nothing
// listens yet, while another one takes flows.
func outclassed(all []candidate) func(candidate) bool {
	living := slices.ContainsFunc(all, func(c candidate) bool { return !c.masked })
	taking := slices.ContainsFunc(all, func(c candidate) bool { return !c.masked && !c.pending })
	return func(c candidate) bool { return living && c.masked || taking && c.pending }
}

// choose lists one endpoint per slot, the newest attempt, in slot order.
func choose(all []candidate, want func(candidate) bool) []SliceEndpoint {
	all = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !want(c) })
	left := outclassed(all)
	best := map[int]SliceEndpoint{}
	for _, c := range all {
		if left(c) {
			continue
		}
		b, ok := best[c.Number]
		if !ok || cmp.Or(b.Epoch.Compare(c.Epoch), cmp.Compare(b.Node, c.Node), b.NamespaceIP.Compare(c.NamespaceIP)) < 0 {
			best[c.Number] = c.SliceEndpoint
		}
	}
	var out []SliceEndpoint
	for _, e := range best {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b SliceEndpoint) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// sliceEndpoint is one of a worker's endpoints as others see it.
func (w *worker) sliceEndpoint(e endpoint, instance netip.Addr) SliceEndpoint {
	ip, port := w.where()
	if !w.ours && e.HostIP.IsValid() {
		ip, port = e.HostIP, cmp.Or(e.HostPort, port)
	}
	return SliceEndpoint{
		Number: e.Number, Epoch: e.Epoch, InstanceAddress: instance, NamespaceIP: e.NamespaceIP,
		Node: w.ID, HostIP: ip, HostPort: port, Subnet: w.subnet, Dataplane: w.dataplane,
	}
}

// unlisted are a service's endpoints here that are in no table: they leave,
// wait, were replaced, or their worker is lost.
func (f *facts) unlisted(id model.ServiceID, listed []SliceEndpoint) (out []SliceEndpoint) {
	slots := f.services[id].Instances
	for n := range f.hosts.by[id] {
		w := f.workers[n]
		if w == nil || !w.reachable() {
			continue
		}
		for _, e := range w.endpoints {
			at, known := slots[e.Number]
			if e.service != id || !known {
				continue
			}
			if s := w.sliceEndpoint(e, at); !slices.Contains(listed, s) {
				s.Unlisted = true
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b SliceEndpoint) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), a.Epoch.Compare(b.Epoch), cmp.Compare(a.Node, b.Node), a.NamespaceIP.Compare(b.NamespaceIP))
	})
	return out
}

// slice is this cluster's part of a service's table: what is listed, then what
// other clusters' workers must still reach.
func (f *facts) slice(id model.ServiceID) []SliceEndpoint {
	all := f.candidates(id)
	left := outclassed(all)
	listed := choose(all, func(c candidate) bool { return c.local && !left(c) })
	return append(listed, f.unlisted(id, listed)...)
}
