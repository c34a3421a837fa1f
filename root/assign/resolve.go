package assign

import (
	"maps"
	"net/netip"
	"sync"

	"oakestra/pkg/core/model"
)

// resolver finds services by job name and by address, for table queries that
// come from the streams' goroutines.
type resolver struct {
	mu        *sync.RWMutex
	services  map[model.ServiceID]model.Service
	byName    map[string]model.ServiceID
	byAddress map[netip.Addr]model.ServiceID
	slots     map[model.ServiceID]map[int]netip.Addr
}

func newResolver() resolver {
	r := resolver{mu: &sync.RWMutex{}, services: map[model.ServiceID]model.Service{}, byName: map[string]model.ServiceID{}, byAddress: map[netip.Addr]model.ServiceID{}, slots: map[model.ServiceID]map[int]netip.Addr{}}
	return r
}

func (r *resolver) load(services map[model.ServiceID]model.Service, instances map[model.InstanceID]*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.services)
	clear(r.byName)
	clear(r.byAddress)
	clear(r.slots)
	for _, s := range services {
		r.put(s)
	}
	for _, in := range instances {
		r.putSlot(in)
	}
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

// replace sets a service with its slots; gone removes it.
func (r *resolver) replace(id model.ServiceID, s model.Service, exists bool, slots []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.services[id]; ok {
		delete(r.services, id)
		delete(r.byAddress, old.Address)
		if r.byName[old.Name.String()] == id {
			delete(r.byName, old.Name.String())
		}
		for _, a := range r.slots[id] {
			delete(r.byAddress, a)
		}
		delete(r.slots, id)
	}
	if !exists {
		return
	}
	r.put(s)
	for _, in := range slots {
		r.putSlot(in)
	}
}

func (r *resolver) find(query string) (model.Service, map[int]netip.Addr, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok := r.byName[query]
	if !ok {
		a, err := netip.ParseAddr(query)
		if err != nil {
			return model.Service{}, nil, false
		}
		if id, ok = r.byAddress[a]; !ok {
			return model.Service{}, nil, false
		}
	}
	return r.services[id], maps.Clone(r.slots[id]), true
}
