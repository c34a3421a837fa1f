package assign

import (
	"net/netip"
	"sync"

	"oakestra/pkg/core/model"
)

// resolver finds services by job name and by address, for table queries that
// come from the streams' goroutines, and says which slots have a record.
type resolver struct {
	mu        sync.RWMutex
	services  map[model.ServiceID]model.Service
	byName    map[string]model.ServiceID
	byAddress map[netip.Addr]model.ServiceID
	slots     map[model.ServiceID]map[int]netip.Addr
	records   map[model.InstanceID]bool
}

func newResolver() *resolver {
	r := &resolver{}
	r.reset()
	return r
}

func (r *resolver) reset() {
	r.services, r.byName = map[model.ServiceID]model.Service{}, map[string]model.ServiceID{}
	r.byAddress, r.slots = map[netip.Addr]model.ServiceID{}, map[model.ServiceID]map[int]netip.Addr{}
	r.records = map[model.InstanceID]bool{}
}

func (r *resolver) load(services map[model.ServiceID]model.Service, instances map[model.InstanceID]*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reset()
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
	return r.records[id]
}

// removed forgets the record of a slot.
func (r *resolver) removed(id model.InstanceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.records, id)
}

func (r *resolver) put(s model.Service) {
	r.services[s.ID] = s
	// Two users may have a job of one name; the older id keeps it.
	if have, ok := r.byName[s.Name.String()]; !ok || s.ID < have {
		r.byName[s.Name.String()] = s.ID
	}
	if s.Address.IsValid() {
		r.byAddress[s.Address] = s.ID
	}
}

func (r *resolver) putSlot(in *slot) {
	r.records[in.ID] = true
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
func (r *resolver) replace(id model.ServiceID, s model.Service, exists bool, slots []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.services[id]; ok {
		delete(r.services, id)
		r.unmap(old.Address, id)
		for _, a := range r.slots[id] {
			r.unmap(a, id)
		}
		delete(r.slots, id)
		if name := old.Name.String(); r.byName[name] == id {
			delete(r.byName, name)
			for _, other := range r.services {
				if other.Name == old.Name {
					r.put(other)
				}
			}
		}
	}
	if exists {
		r.put(s)
	}
	for _, in := range slots {
		r.putSlot(in)
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
	return r.services[id], true
}
