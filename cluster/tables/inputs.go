package tables

import (
	"net/netip"
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// handle takes one message of a worker.
func (p *plane) handle(in nodelink.Inbound, now time.Time) {
	if in.Node == "" {
		return
	}
	p.deliveryOf(in.Node).heard = now
	if in.Net == nil && now.Sub(p.start) > originalAfter && !p.worker(in.Node).ours {
		delete(p.gate.expected, in.Node) // an original: it never reports
	}
	switch {
	case in.Net != nil:
		p.netReport(in.Node, *in.Net, now)
	case in.Subnet != nil:
		p.subnetRequest(in.Node)
	case in.Deployed != nil:
		p.touchEndpoints(in.Node, p.putEndpoint(in.Node, *in.Deployed))
	case in.Undeployed != nil:
		p.undeployed(in.Node, *in.Undeployed)
	case in.Query != nil:
		p.query(in.Node, *in.Query, now)
	case in.Uninterest != nil:
		p.uninterest(in.Node, in.Uninterest.Name)
	case in.Ack != nil:
		p.ack(in.Node, *in.Ack)
	}
}

func (p *plane) touchEndpoints(n model.NodeID, services []model.ServiceID) {
	for _, s := range services {
		p.touchService(s)
		if s != "" {
			p.dirty[n] = struct{}{} // it may have stopped hosting s
		}
	}
	if len(services) > 0 {
		p.touchWorker(n)
	}
}

func (p *plane) netReport(n model.NodeID, r nodelink.NetReport, now time.Time) {
	w := p.worker(n)
	before := *w
	w.ours, w.dataplane, w.hostIP, w.hostPort = true, r.Dataplane, r.HostIP, r.HostPort
	if r.Subnet.IsValid() {
		w.subnet = p.claimSubnet(n, r.Subnet)
	}
	if r.Snapshot {
		w.reported = true
		delete(p.gate.expected, n)
		p.snapshot(n, w, r)
	}
	if before.ours != w.ours || before.dataplane != w.dataplane || before.hostIP != w.hostIP ||
		before.hostPort != w.hostPort || before.subnet != w.subnet {
		for s := range p.hosts.of[n] {
			p.touchService(s)
		}
		p.touchWorker(n)
	}
	p.reportDelivery(n, r, now)
}

// snapshot makes a worker's endpoints and interests those of its report.
func (p *plane) snapshot(n model.NodeID, w *worker, r nodelink.NetReport) {
	keep := set[endpointKey]{}
	for _, e := range r.Endpoints {
		keep[endpointKey{e.JobName, e.Number, e.Epoch}] = struct{}{}
	}
	for k := range w.endpoints {
		if !keep.has(k) {
			p.touchEndpoints(n, p.dropEndpoint(n, k))
		}
	}
	for _, e := range r.Endpoints {
		p.touchEndpoints(n, p.putEndpoint(n, e))
	}
	wanted, before := set[model.ServiceID]{}, sorted(w.names)
	clear(w.names)
	for _, name := range r.Interests {
		if s, ok := p.resolve(name, netip.Addr{}); ok {
			wanted[s] = struct{}{}
			continue
		}
		w.names[name] = struct{}{}
		p.loose[n] = struct{}{}
		p.askRoot(name, n)
	}
	for _, name := range before {
		p.dropName(name)
	}
	for s := range p.watchers.of[n] {
		if _, ok := wanted[s]; !ok {
			p.unwatch(s, n)
		}
	}
	for s := range wanted {
		p.watch(s, n)
	}
}

func (p *plane) watch(s model.ServiceID, n model.NodeID) {
	p.wanters.remove(s, n)
	if p.watchers.add(s, n) {
		p.touchWorker(n)
	}
}

func (p *plane) unwatch(s model.ServiceID, n model.NodeID) {
	if !p.watchers.has(s, n) && !p.wanters.has(s, n) {
		return
	}
	p.touchWorker(n) // while the ties are still there
	p.watchers.remove(s, n)
	p.wanters.remove(s, n)
}

func (p *plane) undeployed(n model.NodeID, e nodelink.Endpoint) {
	w := p.worker(n)
	for k, o := range w.endpoints {
		if o.Number != e.Number || (o.JobName != e.JobName && (e.Service == "" || o.service != e.Service)) {
			continue
		}
		if e.NamespaceIP.IsValid() && e.NamespaceIP != o.NamespaceIP {
			continue
		}
		if e.Epoch.IsZero() || o.Epoch == e.Epoch {
			p.touchWorker(n)
			p.touchEndpoints(n, p.dropEndpoint(n, k))
		}
	}
}

// uninterest ends an interest. Original NetManagers drop the pseudo interest in
// an address after 10 s while they go on balancing over the service; from them
// only a name counts.
func (p *plane) uninterest(n model.NodeID, name string) {
	w := p.worker(n)
	if w.names.has(name) {
		delete(w.names, name)
		p.dropName(name)
	}
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool { return a.node == n && a.query.Key == name })
	s, ok := p.resolve(name, netip.Addr{})
	if !ok {
		return
	}
	if _, err := netip.ParseAddr(name); err == nil && !w.ours {
		return
	}
	p.unwatch(s, n)
}

func (p *plane) setService(s Service) {
	if !changedService(p.services[s.ID], s) {
		return
	}
	p.services[s.ID] = s
	p.named(s.ID)
}

func changedService(a, b Service) bool {
	if a.ID != b.ID || a.Name != b.Name || a.Address != b.Address || a.Tenant != b.Tenant || a.Ends != b.Ends || len(a.Instances) != len(b.Instances) {
		return true
	}
	for n, x := range a.Instances {
		if y, ok := b.Instances[n]; !ok || x != y {
			return true
		}
	}
	return false
}

// named follows a change of what a service is called or of its slots.
func (p *plane) named(id model.ServiceID) {
	p.reindex(id)
	for _, n := range p.adopt(id) {
		p.touchWorker(n)
	}
	p.touchService(id)
	for n := range p.hosts.by[id] {
		p.touchWorker(n) // identities name slots
	}
}

func (p *plane) forgetService(id model.ServiceID) {
	for slot := range p.leaving {
		if slot.Service == id {
			delete(p.leaving, slot)
		}
	}
	if _, ok := p.services[id]; !ok {
		return
	}
	delete(p.services, id)
	p.named(id)
}

func (p *plane) setNode(n Node) {
	w := p.worker(n.ID)
	if w.Node == n {
		return
	}
	w.Node = n
	for s := range p.hosts.of[n.ID] {
		p.touchService(s)
	}
	p.touchWorker(n.ID)
}

func (p *plane) forgetNode(id model.NodeID) {
	w := p.workers[id]
	if w == nil {
		return
	}
	p.touchWorker(id)
	for k := range w.endpoints {
		p.touchEndpoints(id, p.dropEndpoint(id, k))
	}
	for s := range p.servicesOf(id) {
		p.unwatch(s, id)
	}
	delete(p.workers, id)
	delete(p.loose, id)
	delete(p.delivery, id)
	delete(p.dirty, id)
	delete(p.gate.expected, id)
	p.stalePeer(id)
	delete(p.old, id)
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool { return a.node == id })
	p.dropSubnet(id)
}

func (p *plane) nodeLiveness(id model.NodeID, v instance.Liveness) {
	w := p.workers[id]
	if w == nil || w.live == v {
		return
	}
	masked := w.live == instance.Lost
	w.live = v
	if v == instance.Lost {
		delete(p.gate.expected, id)
	}
	if masked == (v == instance.Lost) {
		return
	}
	for s := range p.hosts.of[id] {
		p.touchService(s)
	}
}

func (p *plane) gone(a instance.Attempt, now time.Time) {
	marks := p.leaving[a.Instance]
	originals := set[netip.Addr]{}
	for i := range marks {
		if marks[i].epoch != a.Epoch {
			continue
		}
		if marks[i].originals != nil {
			originals = marks[i].originals
		}
		marks[i].originals = nil // the address may be used again
		if marks[i].until.IsZero() {
			marks[i].until = now.Add(goneFor)
			p.forget = append(p.forget, leftover{a.Instance, a.Epoch, marks[i].until})
		}
	}
	service := a.Instance.Service
	for _, n := range sorted(p.hosts.by[service]) {
		for k, e := range p.workers[n].endpoints {
			if e.service != service || e.Number != a.Instance.Number {
				continue
			}
			if e.Epoch == a.Epoch || (e.Epoch.IsZero() && originals.has(e.NamespaceIP)) {
				p.touchWorker(n)
				p.touchEndpoints(n, p.dropEndpoint(n, k))
			}
		}
	}
	p.touchService(service)
}

// forgetMarks drops marks of attempts that are long gone.
func (p *plane) forgetMarks(now time.Time) {
	for len(p.forget) > 0 && !now.Before(p.forget[0].at) {
		f := p.forget[0]
		p.forget = p.forget[1:]
		left := slices.DeleteFunc(p.leaving[f.id], func(m mark) bool { return m.epoch == f.epoch })
		if len(left) == 0 {
			delete(p.leaving, f.id)
		} else {
			p.leaving[f.id] = left
		}
		p.touchService(f.id.Service)
	}
}

func (p *plane) rootPeers(service model.ServiceID, peers []nodelink.Peer) {
	if len(peers) == 0 {
		delete(p.talkers, service)
		delete(p.applied, service)
	} else {
		p.talkers[service] = peers
	}
	p.staleForeign()
	for n := range p.hosts.by[service] {
		p.dirty[n] = struct{}{}
	}
}
