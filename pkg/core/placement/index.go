package placement

import (
	"slices"

	"oakestra/pkg/core/model"
)

// Candidate is a worker, or a cluster as the root knows it.
type Candidate struct {
	ID            string
	Name          string // what a direct constraint may name besides the id
	Runtimes      []string
	Architectures []string
	Capacity      model.Resources
	// Held is what is reserved on it besides the reservations made here: what
	// a cluster has reported. Zero for workers.
	Held model.Resources
	// Rooms, for clusters, is the free room of their workers: a demand must fit
	// into one of them, not into their sum. nil for workers. Partial says that
	// some worker has more room than they say; Loose that they are examples
	// only, which says nothing about how much fits.
	Rooms    []Room
	Partial  bool
	Loose    bool
	Network  bool // services that need the overlay can run there
	Cordoned bool // takes nothing new
	Inactive bool // is silent
}

// Request is one instance to place.
type Request struct {
	Service       model.ServiceID
	Demand        model.Resources
	Runtime       string
	Architectures []string // empty: any
	Network       bool     // needs the overlay
	Ports         []model.Port
	// Only restricts to these ids or names when Restricted is set: see
	// OnlyNodes and OnlyClusters.
	Only       []string
	Restricted bool
	Exclude    []string // ids that have refused
	Taken      []string // ids that have another service's instance of this very name
	Avoid      []string // ids to take only when nobody else qualifies
}

// Choice is where an instance goes.
type Choice struct {
	ID string
}

// Delta changes the candidates. Reservations of one that is removed are kept,
// and count again when it comes back.
type Delta struct {
	Upsert []Candidate
	Remove []string
}

// Index is the set of candidates with what is reserved on each.
type Index struct {
	byID     map[string]*entry
	byName   map[string][]string
	tree     *tree
	shut     map[*entry]struct{} // known, and not in the tree
	features *features
	held     map[string]*reservation
	spare    []*reservation
	spread   map[model.ServiceID]*spread
	open     int  // candidates in the tree
	rooms    bool // candidates are clusters: promises are looked at one by one

	generation uint64 // grows with every change
	refusals   refusals
}

// reservation is what of a request counts until it is released. An entry
// lives as long as something is reserved on it.
type reservation struct {
	on      *entry
	service model.ServiceID
	demand  model.Resources
	ports   []model.Port
}

// entry is a candidate with the sums of its reservations.
type entry struct {
	Candidate
	known    bool // false: only reservations are known, the candidate is not
	reserved model.Resources
	services tally
	ports    map[portKey]portUse // nil while there are none
	mask     uint64
	prefix   uint64 // of the id
	kind     string // what it runs
	promised promised
	share    int64 // parts per million, as it stands in the tree
	inTree   bool
}

type portKey struct {
	port     uint16
	protocol model.Protocol
}

type portUse struct {
	service model.ServiceID
	count   int
}

// NewIndex is empty.
func NewIndex() *Index {
	return &Index{
		byID: map[string]*entry{}, byName: map[string][]string{},
		tree: &tree{}, shut: map[*entry]struct{}{}, features: newFeatures(), held: map[string]*reservation{},
		spread: map[model.ServiceID]*spread{},
	}
}

// Apply changes candidates.
func (x *Index) Apply(d Delta) {
	x.generation++
	for _, id := range d.Remove {
		if e, ok := x.byID[id]; ok && e.known {
			x.withdraw(e)
			x.unname(e)
			e.known = false
			delete(x.shut, e)
			x.forgetEmpty(e, id)
		}
	}
	for _, c := range d.Upsert {
		e := x.entry(c.ID)
		x.withdraw(e)
		if e.known {
			x.unname(e)
		}
		e.Candidate, e.known = c, true
		e.mask, e.kind = x.features.of(c), kindOf(c)
		if c.Rooms != nil && !x.rooms {
			x.countPromises()
		}
		if c.Name != "" {
			x.byName[c.Name] = append(x.byName[c.Name], c.ID)
		}
		if x.offer(e); e.inTree {
			delete(x.shut, e)
		} else {
			x.shut[e] = struct{}{}
		}
	}
}

// countPromises begins to look at promises one by one.
func (x *Index) countPromises() {
	x.rooms = true
	for _, v := range x.held {
		v.on.promised.book(v.demand, +1)
	}
}

// offer puts a candidate into the tree and counts what it holds; withdraw
// undoes both.
func (x *Index) offer(e *entry) {
	if x.attach(e); e.inTree {
		e.services.each(func(s model.ServiceID, n int) { x.count(s, 0, n) })
	}
}

func (x *Index) withdraw(e *entry) {
	if e.inTree {
		e.services.each(func(s model.ServiceID, n int) { x.count(s, n, 0) })
		x.detach(e)
	}
}

func (x *Index) entry(id string) *entry {
	e, ok := x.byID[id]
	if !ok {
		e = &entry{Candidate: Candidate{ID: id}, prefix: prefixOf(id)}
		x.byID[id] = e
	}
	return e
}

func (x *Index) unname(e *entry) {
	ids := slices.DeleteFunc(x.byName[e.Name], func(id string) bool { return id == e.ID })
	if len(ids) == 0 {
		delete(x.byName, e.Name)
		return
	}
	x.byName[e.Name] = ids
}

func (x *Index) forgetEmpty(e *entry, id string) {
	if !e.known && e.services.empty() {
		delete(x.byID, id)
	}
}

// attach puts a candidate that may take something into the tree.
func (x *Index) attach(e *entry) {
	if !e.known || e.Cordoned || e.Inactive {
		return
	}
	e.share, e.inTree = share(e), true
	x.open++
	x.tree.insert(e)
}

func (x *Index) detach(e *entry) {
	if e.inTree {
		x.tree.remove(e)
		x.open--
		e.inTree = false
	}
}

// Reserve books a request on a candidate under a key, such as the instance's
// id. An earlier reservation of the key is released first.
func (x *Index) Reserve(key, candidate string, r Request) {
	v := x.held[key]
	if v != nil {
		x.book(v, -1)
	} else {
		v = x.blank()
		x.held[key] = v
	}
	*v = reservation{x.entry(candidate), r.Service, r.Demand, r.Ports}
	x.book(v, +1)
}

// blank reuses a reservation that was released: there are many, and the map
// holds no more than where they are.
func (x *Index) blank() *reservation {
	if n := len(x.spare); n > 0 {
		v := x.spare[n-1]
		x.spare = x.spare[:n-1]
		return v
	}
	return &reservation{}
}

// Release ends a reservation; an unknown key is no error.
func (x *Index) Release(key string) {
	v := x.held[key]
	if v == nil {
		return
	}
	delete(x.held, key)
	x.book(v, -1)
	if *v = (reservation{}); len(x.spare) < 1024 {
		x.spare = append(x.spare, v)
	}
}

// Reserved says where a key is booked.
func (x *Index) Reserved(key string) (candidate string, ok bool) {
	v := x.held[key]
	if v == nil {
		return "", false
	}
	return v.on.ID, true
}

// Room says whether a candidate has the room and the host ports that a request
// needs once what is reserved under key is given back. It looks at nothing else:
// callers ask about what runs there already.
func (x *Index) Room(id, key string, r Request) bool {
	e := x.byID[id]
	if e == nil || !e.known {
		return false
	}
	for _, p := range r.Ports {
		if use, taken := e.ports[portKey{p.Host, p.Protocol}]; taken && use.service != r.Service {
			return false
		}
	}
	free := e.free()
	if v := x.held[key]; v != nil && v.on == e {
		free = free.Add(v.demand)
	}
	return judgeDemand(free, r.Demand).none()
}

func (x *Index) book(v *reservation, sign int) {
	x.generation++
	e := v.on
	if e.inTree {
		n := e.services.of(v.service)
		x.count(v.service, n, n+sign)
	}
	x.detach(e)
	if sign > 0 {
		e.reserved = e.reserved.Add(v.demand)
	} else {
		e.reserved = e.reserved.Sub(v.demand)
	}
	if x.rooms {
		e.promised.book(v.demand, sign)
	}
	e.services.add(v.service, sign)
	for _, p := range v.ports {
		e.bind(portKey{p.Host, p.Protocol}, v.service, sign)
	}
	x.attach(e)
	x.forgetEmpty(e, e.ID)
}

func (e *entry) bind(k portKey, s model.ServiceID, sign int) {
	if e.ports == nil {
		e.ports = map[portKey]portUse{}
	}
	use := e.ports[k]
	use.service, use.count = s, use.count+sign
	if e.ports[k] = use; use.count <= 0 {
		delete(e.ports, k)
	}
}

// Load is what is reserved on a candidate, by reservations made here.
func (x *Index) Load(id string) model.Resources {
	if e, ok := x.byID[id]; ok {
		return e.reserved
	}
	return model.Resources{}
}

// Len counts the known candidates.
func (x *Index) Len() int {
	n := 0
	for _, e := range x.byID {
		if e.known {
			n++
		}
	}
	return n
}

func (e *entry) free() model.Resources {
	return e.Capacity.Sub(e.Held).Sub(e.reserved)
}

// share is the reserved part of the scarcest resource, in parts per million.
func share(e *entry) int64 {
	used := e.Held.Add(e.reserved)
	most := int64(0)
	for _, p := range [][2]int64{
		{used.MilliCPU, e.Capacity.MilliCPU}, {used.MemoryMB, e.Capacity.MemoryMB},
		{used.GPUs, e.Capacity.GPUs}, {used.DiskMB, e.Capacity.DiskMB},
	} {
		if p[1] > 0 {
			most = max(most, p[0]*1_000_000/p[1])
		}
	}
	return most
}
