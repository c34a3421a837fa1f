package assign

import (
	"net/netip"
	"slices"
	"sync"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// resolver finds services by job name and by address, for table queries that
// come from the streams' goroutines, and says which slots have a record.
type resolver struct {
	mu        sync.RWMutex
	services  map[model.ServiceID]*model.Service // shared with the desk, never written to
	byName    map[string]model.ServiceID
	shadowed  map[string][]model.ServiceID // of a name that an older service has
	byAddress map[netip.Addr]model.ServiceID
	slots     map[model.ServiceID]map[int]netip.Addr
	records   map[model.InstanceID]waits
	refused   map[model.InstanceID]*refusals
}

func newResolver() *resolver {
	r := &resolver{}
	r.reset(0, 0)
	return r
}

func (r *resolver) reset(services, instances int) {
	r.services, r.byName = make(map[model.ServiceID]*model.Service, services), make(map[string]model.ServiceID, services)
	r.shadowed = map[string][]model.ServiceID{}
	r.byAddress, r.slots = make(map[netip.Addr]model.ServiceID, services+instances), map[model.ServiceID]map[int]netip.Addr{}
	r.records, r.refused = make(map[model.InstanceID]waits, instances), map[model.InstanceID]*refusals{}
}

func (r *resolver) load(services map[model.ServiceID]*model.Service, instances map[model.InstanceID]*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reset(len(services), len(instances))
	for _, s := range services {
		r.put(s)
	}
	for _, in := range instances {
		r.putSlot(in)
	}
}

// known says whether a slot has a record, be it a tombstone.
func (r *resolver) known(id model.InstanceID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, has := r.records[id]
	return has
}

// Waits says why no cluster can take a slot, see control.Below.
func (d *Desk) Waits(id model.InstanceID) (instance.Word, []instance.Reason) {
	r := d.resolve
	r.mu.RLock()
	defer r.mu.RUnlock()
	w := r.records[id]
	return w.word, w.reasons
}

// explain enters why slots wait.
func (r *resolver) explain(list []unplaced) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range list {
		if _, has := r.records[u.in.ID]; has {
			r.records[u.in.ID] = u.waits
		}
	}
}

// removed forgets the record of a slot.
func (r *resolver) removed(id model.InstanceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.records, id)
	delete(r.refused, id)
}

func (r *resolver) put(s *model.Service) {
	r.services[s.ID] = s
	// Two users may have a job of one name; the older id keeps it.
	name := s.Name.String()
	have, taken := r.byName[name]
	switch {
	case !taken || s.ID < have:
		r.byName[name] = s.ID
		if taken {
			r.shadowed[name] = append(r.shadowed[name], have)
		}
	case s.ID != have:
		r.shadowed[name] = append(r.shadowed[name], s.ID)
	}
	if s.Address.IsValid() {
		r.byAddress[s.Address] = s.ID
	}
}

func (r *resolver) putSlot(in *slot) {
	r.records[in.ID] = in.waits
	if _, known := r.services[in.ID.Service]; !known || in.Tombstone || !in.Address.IsValid() {
		return
	}
	of, ok := r.slots[in.ID.Service]
	if !ok {
		of = map[int]netip.Addr{}
		r.slots[in.ID.Service] = of
	}
	of[in.ID.Number] = in.Address
	r.byAddress[in.Address] = in.ID.Service
}

// replace sets a service with its slots; one that does not exist is removed.
func (r *resolver) replace(id model.ServiceID, s *model.Service, exists bool, slots []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.services[id]; ok {
		delete(r.services, id)
		r.unmap(old.Address, id)
		for _, a := range r.slots[id] {
			r.unmap(a, id)
		}
		delete(r.slots, id)
		r.unname(old.Name.String(), id)
	}
	if exists {
		r.put(s)
	}
	for _, in := range slots {
		r.putSlot(in)
	}
}

// change enters a slot that is new or was changed; its service is the same.
func (r *resolver) change(in *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.Tombstone {
		r.unmap(in.Address, in.ID.Service)
		delete(r.slots[in.ID.Service], in.ID.Number)
	}
	r.putSlot(in)
}

// unname ends the meaning of a name, or gives it to the oldest of the others.
// Looking for those among all services cost 5 ms of every wake when there were
// 100 000.
func (r *resolver) unname(name string, id model.ServiceID) {
	others := slices.DeleteFunc(r.shadowed[name], func(o model.ServiceID) bool { return o == id })
	if r.byName[name] == id {
		delete(r.byName, name)
		if len(others) > 0 {
			oldest := slices.Min(others)
			r.byName[name] = oldest
			others = slices.DeleteFunc(others, func(o model.ServiceID) bool { return o == oldest })
		}
	}
	if r.shadowed[name] = others; len(others) == 0 {
		delete(r.shadowed, name)
	}
}

// unmap ends the meaning of an address, unless it is somebody else's by now.
func (r *resolver) unmap(a netip.Addr, id model.ServiceID) {
	if r.byAddress[a] == id {
		delete(r.byAddress, a)
	}
}

func (r *resolver) find(query string) (model.Service, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok := r.byName[query]
	if !ok {
		a, err := netip.ParseAddr(query)
		if err != nil {
			return model.Service{}, false
		}
		if id, ok = r.byAddress[a]; !ok {
			return model.Service{}, false
		}
	}
	s, ok := r.services[id]
	if !ok {
		return model.Service{}, false
	}
	return *s, true
}
