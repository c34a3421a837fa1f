package tables

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// tunnelPort is where workers listen when they do not say otherwise.
const tunnelPort = 50103

// set is a set of ids.
type set[K comparable] map[K]struct{}

func (s set[K]) has(k K) bool { _, ok := s[k]; return ok }

// index relates services and workers, readable from both ends.
type index struct {
	by map[model.ServiceID]set[model.NodeID]
	of map[model.NodeID]set[model.ServiceID]
}

func newIndex() index {
	return index{map[model.ServiceID]set[model.NodeID]{}, map[model.NodeID]set[model.ServiceID]{}}
}

func (x index) has(s model.ServiceID, n model.NodeID) bool { return x.by[s].has(n) }

// add says whether the pair is new.
func (x index) add(s model.ServiceID, n model.NodeID) bool {
	if x.has(s, n) {
		return false
	}
	if x.by[s] == nil {
		x.by[s] = set[model.NodeID]{}
	}
	if x.of[n] == nil {
		x.of[n] = set[model.ServiceID]{}
	}
	x.by[s][n], x.of[n][s] = struct{}{}, struct{}{}
	return true
}

// remove says whether the pair was there.
func (x index) remove(s model.ServiceID, n model.NodeID) bool {
	if !x.has(s, n) {
		return false
	}
	if delete(x.by[s], n); len(x.by[s]) == 0 {
		delete(x.by, s)
	}
	if delete(x.of[n], s); len(x.of[n]) == 0 {
		delete(x.of, n)
	}
	return true
}

// facts is everything the plans follow from: what the levels above want and
// what workers reported. It has no clock and does no I/O.
type facts struct {
	services map[model.ServiceID]Service
	foreign  map[model.ServiceID]RootTable
	names    map[string]model.ServiceID
	sharers  map[string][]model.ServiceID // everybody of that name, the one who has it last
	addrs    map[netip.Addr]model.ServiceID
	workers  map[model.NodeID]*worker
	talkers  map[model.ServiceID][]nodelink.Peer // workers of other clusters, by service here
	leaving  map[model.InstanceID][]mark

	hosts    index // workers with endpoints of a service
	watchers index // workers that hold its table
	wanters  index // workers that will, once its hosts know them

	indexed map[model.ServiceID]indexed
	loose   set[model.NodeID] // workers with endpoints or interests that no service explains
}

// indexed is what names and addrs hold of one service.
type indexed struct {
	name  string
	addrs []netip.Addr
}

// worker is a node of this cluster.
type worker struct {
	Node
	subnet    netip.Prefix // in use, as reported; else as given
	live      instance.Liveness
	ours      bool // has sent a NetReport; originals never do
	reported  bool // its snapshot is here
	dataplane model.Dataplane
	hostIP    netip.Addr
	hostPort  uint16
	endpoints map[endpointKey]endpoint
	names     set[string] // interests that no service explains yet
}

type endpointKey struct {
	job    string
	number int
	epoch  instance.Epoch
}

type endpoint struct {
	nodelink.Endpoint
	service model.ServiceID // "" while unknown
}

// mark says that an attempt is leaving; after Gone it stays until a time, so
// that a report that was on its way does not bring the endpoint back.
type mark struct {
	epoch instance.Epoch
	until time.Time // zero while the attempt is still there
	// originals are the endpoints without epoch that were meant.
	originals set[netip.Addr]
}

func newFacts() *facts {
	return &facts{
		services: map[model.ServiceID]Service{},
		foreign:  map[model.ServiceID]RootTable{},
		names:    map[string]model.ServiceID{}, sharers: map[string][]model.ServiceID{},
		addrs:   map[netip.Addr]model.ServiceID{},
		workers: map[model.NodeID]*worker{},
		talkers: map[model.ServiceID][]nodelink.Peer{},
		leaving: map[model.InstanceID][]mark{},
		hosts:   newIndex(), watchers: newIndex(), wanters: newIndex(),
		indexed: map[model.ServiceID]indexed{}, loose: set[model.NodeID]{},
	}
}

func (f *facts) worker(id model.NodeID) *worker {
	w := f.workers[id]
	if w == nil {
		w = &worker{Node: Node{ID: id}, endpoints: map[endpointKey]endpoint{}, names: set[string]{}}
		f.workers[id] = w
	}
	return w
}

// where is the underlay address of a worker.
func (w *worker) where() (netip.Addr, uint16) {
	ip, port := w.hostIP, w.hostPort
	if !ip.IsValid() || ip.IsUnspecified() {
		ip = w.Address
	}
	if port == 0 {
		port = tunnelPort
	}
	return ip, port
}

// reachable says whether others can be told how to reach the worker.
func (w *worker) reachable() bool {
	ip, _ := w.where()
	return ip.IsValid() && (w.subnet.IsValid() || !w.ours)
}

// header is what a service is called, from here or from the root.
func (f *facts) header(id model.ServiceID) (nodelink.Table, bool) {
	if s, ok := f.services[id]; ok {
		return nodelink.Table{Service: id, Name: s.Name, Address: s.Address, Tenant: s.Tenant}, true
	}
	if t, ok := f.foreign[id]; ok {
		return nodelink.Table{Service: id, Name: t.Name, Address: t.Address, Tenant: t.Tenant}, true
	}
	return nodelink.Table{}, false
}

// resolve finds the service that a name or address stands for.
func (f *facts) resolve(name string, a netip.Addr) (model.ServiceID, bool) {
	if a.IsValid() {
		id, ok := f.addrs[a]
		return id, ok
	}
	if id, ok := f.names[name]; ok {
		return id, true
	}
	if a, err := netip.ParseAddr(name); err == nil {
		id, ok := f.addrs[a.Unmap()]
		return id, ok
	}
	return "", false
}

// reindex writes the names and addresses of one service anew, and those of
// others with its name: one may be removed while the next is created, with the
// same address even, and two users may have chosen one name.
func (f *facts) reindex(id model.ServiceID) {
	was, name := f.unindex(id), ""
	if h, ok := f.header(id); ok {
		name = h.Name.String()
		f.sharers[name] = append(f.sharers[name], id)
	}
	f.indexName(name)
	if was != name {
		f.indexName(was)
	}
}

func (f *facts) indexName(name string) {
	list := f.sharers[name]
	slices.SortFunc(list, func(a, b model.ServiceID) int {
		if x := f.services[a].Ends; x != f.services[b].Ends {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return cmp.Compare(b, a) // the oldest keeps it, as at the root
	})
	for _, v := range list {
		f.index(v)
	}
}

// unindex forgets what a service was called, and returns it.
func (f *facts) unindex(id model.ServiceID) string {
	before, known := f.indexed[id]
	if !known {
		return ""
	}
	delete(f.indexed, id)
	if f.names[before.name] == id {
		delete(f.names, before.name)
	}
	for _, a := range before.addrs {
		if f.addrs[a] == id {
			delete(f.addrs, a)
		}
	}
	left := slices.DeleteFunc(f.sharers[before.name], func(v model.ServiceID) bool { return v == id })
	if f.sharers[before.name] = left; len(left) == 0 {
		delete(f.sharers, before.name)
	}
	return before.name
}

func (f *facts) index(id model.ServiceID) {
	h, ok := f.header(id)
	if !ok {
		return
	}
	now := indexed{name: h.Name.String()}
	f.names[now.name] = id
	add := func(a netip.Addr) {
		if a.IsValid() {
			f.addrs[a] = id
			now.addrs = append(now.addrs, a)
		}
	}
	add(h.Address)
	for _, a := range f.services[id].Instances {
		add(a)
	}
	for _, sl := range f.foreign[id].Slices {
		for _, e := range sl.Endpoints {
			add(e.InstanceAddress)
		}
	}
	f.indexed[id] = now
}

// adopt gives endpoints and interests that came under a name to the service
// that now explains the name. It returns the workers concerned.
func (f *facts) adopt(id model.ServiceID) []model.NodeID {
	h, ok := f.header(id)
	if !ok {
		return nil
	}
	job, touched := h.Name.String(), []model.NodeID(nil)
	if f.names[job] != id {
		return nil
	}
	for n := range f.loose {
		w, hit, left := f.workers[n], false, false
		for k, e := range w.endpoints {
			if e.service == "" && e.JobName == job {
				e.service = id
				w.endpoints[k] = e
				f.hosts.add(id, n)
				hit = true
			}
			left = left || e.service == ""
		}
		for name := range w.names {
			if s, ok := f.resolve(name, netip.Addr{}); ok && s == id {
				delete(w.names, name)
				f.watchers.add(id, n)
				hit = true
			}
		}
		if hit {
			touched = append(touched, n)
		}
		if !left && len(w.names) == 0 {
			delete(f.loose, n)
		}
	}
	return touched
}

// putEndpoint takes a reported endpoint; false when nothing changed. An older
// endpoint with the same container address is gone: addresses are reused only
// after that.
func (f *facts) putEndpoint(n model.NodeID, e nodelink.Endpoint) (touched []model.ServiceID) {
	w := f.worker(n)
	k := endpointKey{e.JobName, e.Number, e.Epoch}
	stored := endpoint{Endpoint: e, service: e.Service}
	if stored.service == "" {
		stored.service, _ = f.resolve(e.JobName, netip.Addr{})
	}
	if w.endpoints[k] == stored {
		return nil
	}
	for other, o := range w.endpoints {
		if other == k || o.NamespaceIP == e.NamespaceIP {
			touched = append(touched, f.dropEndpoint(n, other)...)
		}
	}
	w.endpoints[k] = stored
	if stored.service != "" {
		f.hosts.add(stored.service, n)
	} else {
		f.loose[n] = struct{}{}
	}
	return append(touched, stored.service)
}

func (f *facts) dropEndpoint(n model.NodeID, k endpointKey) []model.ServiceID {
	w := f.workers[n]
	if w == nil {
		return nil
	}
	e, ok := w.endpoints[k]
	if !ok {
		return nil
	}
	delete(w.endpoints, k)
	for _, o := range w.endpoints {
		if o.service == e.service {
			return []model.ServiceID{e.service}
		}
	}
	f.hosts.remove(e.service, n)
	return []model.ServiceID{e.service}
}

// servicesOf lists what a worker hosts, holds or wants.
func (f *facts) servicesOf(n model.NodeID) set[model.ServiceID] {
	out := set[model.ServiceID]{}
	for _, x := range []index{f.hosts, f.watchers, f.wanters} {
		for s := range x.of[n] {
			out[s] = struct{}{}
		}
	}
	return out
}

// isLeaving says whether an endpoint must not be balanced over any more.
func (f *facts) isLeaving(e endpoint) bool {
	for _, m := range f.leaving[model.InstanceID{Service: e.service, Number: e.Number}] {
		if m.epoch == e.Epoch || (e.Epoch.IsZero() && m.originals.has(e.NamespaceIP)) {
			return true
		}
	}
	return false
}

// foreignNode is how a worker of another cluster is called here.
func foreignNode(c model.ClusterID, n model.NodeID) model.NodeID {
	if strings.Contains(string(n), "/") {
		return n
	}
	return model.NodeID(string(c) + "/" + string(n))
}

func sorted[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
