package fleet

import (
	"net/netip"
	"reflect"
	"slices"

	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// where finds what belongs together without a walk over everything: with
// 10 000 workers there are 5 000 reports a second, and each may only cost what
// it is about.
type where struct {
	slots    map[model.NodeID]map[model.InstanceID]*slot // that a worker holds or should hold, by current and old attempts
	numbers  map[model.ServiceID]map[int]*slot
	hosts    map[string][]model.NodeID // registered, by host name
	sights   map[model.InstanceID][]model.NodeID
	refused  map[model.InstanceID]bool    // found no room; what has found some since is still in here
	unheard  map[model.NodeID]bool        // may hold anything: not lost, and no complete report since start
	services map[model.ServiceID]bool     // to tell the network plane of
	names    map[string][]model.ServiceID // by job name: more than one while a deleted service goes, or of several users
	titles   map[model.ServiceID]string   // the other way round
}

func newWhere() where {
	return where{
		slots: map[model.NodeID]map[model.InstanceID]*slot{}, numbers: map[model.ServiceID]map[int]*slot{}, hosts: map[string][]model.NodeID{},
		sights: map[model.InstanceID][]model.NodeID{}, refused: map[model.InstanceID]bool{}, unheard: map[model.NodeID]bool{},
		services: map[model.ServiceID]bool{}, names: map[string][]model.ServiceID{}, titles: map[model.ServiceID]string{},
	}
}

// add takes in a new slot.
func (w *where) add(s *slot) {
	id := s.Instance
	if w.numbers[id.Service] == nil {
		w.numbers[id.Service] = map[int]*slot{}
	}
	w.numbers[id.Service][id.Number] = s
	if s.Placement.Verdict == instance.Refused {
		w.refused[id] = true
	}
	w.move(s)
}

// share gives a slot from the book the texts of one that is there already, when
// they are the same.
func (w *where) share(v *store.Slot) {
	for _, s := range w.numbers[v.Instance.Service] {
		if reflect.DeepEqual(s.Service, v.Service) {
			v.Service = s.Service
		}
		return // one look: instances differ while a change is rolled out only
	}
}

// move follows a slot to the workers it concerns now.
func (w *where) move(s *slot) {
	now := make([]model.NodeID, 0, 1+len(s.Old))
	if s.Placement.Node != "" {
		now = append(now, s.Placement.Node)
	}
	for _, o := range s.Old {
		if !slices.Contains(now, o.Node) {
			now = append(now, o.Node)
		}
	}
	for _, n := range s.workers {
		if !slices.Contains(now, n) {
			w.leave(n, s.Instance)
		}
	}
	for _, n := range now {
		if w.slots[n] == nil {
			w.slots[n] = map[model.InstanceID]*slot{}
		}
		w.slots[n][s.Instance] = s
	}
	s.workers = now
}

func (w *where) leave(n model.NodeID, id model.InstanceID) {
	if delete(w.slots[n], id); len(w.slots[n]) == 0 {
		delete(w.slots, n)
	}
}

// drop forgets a slot.
func (w *where) drop(s *slot) {
	for _, n := range s.workers {
		w.leave(n, s.Instance)
	}
	s.workers = nil
	id := s.Instance
	if delete(w.numbers[id.Service], id.Number); len(w.numbers[id.Service]) == 0 {
		delete(w.numbers, id.Service)
		w.uncalled(id.Service)
	}
	delete(w.refused, id)
}

// sees notes whether a worker's last report holds attempts of a slot.
func (w *where) sees(n model.NodeID, id model.InstanceID, holds bool) {
	list := w.sights[id]
	i := slices.Index(list, n)
	switch {
	case holds && i < 0:
		w.sights[id] = append(list, n)
	case !holds && len(list) == 1 && i == 0:
		delete(w.sights, id)
	case !holds && i >= 0:
		w.sights[id] = slices.Delete(list, i, i+1)
	}
}

// joins notes a registered worker.
func (w *where) joins(n *node) {
	if list := w.hosts[n.Host]; !slices.Contains(list, n.ID) {
		w.hosts[n.Host] = append(list, n.ID)
	}
}

// parts forgets a worker.
func (w *where) parts(n *node) {
	w.hosts[n.Host] = slices.DeleteFunc(w.hosts[n.Host], func(v model.NodeID) bool { return v == n.ID })
	if len(w.hosts[n.Host]) == 0 {
		delete(w.hosts, n.Host)
	}
	for id := range n.seen {
		w.sees(n.ID, id, false)
	}
	delete(w.unheard, n.ID)
}

// hears judges again whether a worker may hold what nobody has heard of. Once
// the last one has spoken, what waits for that is looked at.
func (c *core) hears(n *node) {
	if n.completeAt.IsZero() && n.live != instance.Lost {
		c.where.unheard[n.ID] = true
		return
	}
	c.where.heardOf(n.ID, c)
}

func (w *where) heardOf(id model.NodeID, c *core) {
	if !w.unheard[id] {
		return
	}
	if delete(w.unheard, id); len(w.unheard) > 0 {
		return
	}
	for k, s := range c.slots {
		if s.Tombstone {
			c.look[k] = true
		}
	}
}

// tellServices tells the network plane once of each service that changed.
func (c *core) tellServices() {
	for id := range c.where.services {
		t := tables.Service{ID: id, Instances: map[int]netip.Addr{}, Ends: true}
		for number, s := range c.where.numbers[id] {
			t.Instances[number] = s.Address
			t.Ends = t.Ends && s.Tombstone
			if s.Service.Name != (model.ServiceName{}) { // the tombstone of a stray names none
				t.Name, t.Address, t.Tenant = s.Service.Name, s.Service.Address, s.Service.Owner
			}
		}
		if t.Name == (model.ServiceName{}) {
			c.f.deps.Network.ForgetService(id)
			continue
		}
		c.f.deps.Network.SetService(t)
	}
	clear(c.where.services)
}

// involved lists the workers that a plan for the slot has to know of.
func (c *core) involved(s *slot) []model.NodeID {
	out := append(slices.Clone(s.workers), c.where.sights[s.Instance]...)
	if s.Placement.Node != "" {
		out = append(out, s.Placement.Node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// oldOn says whether a slot has an old attempt on a worker.
func oldOn(s *slot, id model.NodeID) bool {
	return slices.ContainsFunc(s.Old, func(o store.Old) bool { return o.Node == id })
}
