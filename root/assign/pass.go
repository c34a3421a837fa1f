package assign

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/root/clusters"
)

const (
	// retry is how long a slot that no cluster could take waits before it is
	// looked at again; a cluster with more room wakes it sooner.
	retry = 10 * time.Second
	// late is how old an aggregate may be when it arrives: one that comes this
	// soon after an instance was placed may not count it yet.
	late = time.Second
	// inactive is the reason that a cluster is not connected.
	inactive = "inactive"
	// atOnce bounds the slots of one pass, so that reports are read in between.
	atOnce = 1024
)

// pass brings every slot that needs something one step further. It looks at
// levels: running it twice changes nothing.
func (d *Desk) pass(ctx context.Context, s *state) {
	if ctx.Err() != nil {
		return
	}
	n := d.news()
	d.read(ctx, s, n)
	w := &work{}
	for _, id := range slices.Sorted(maps.Keys(n.moved)) {
		grown, settled := d.refreshRoom(s, id)
		if grown {
			d.hope(s, id, w)
		}
		if settled {
			d.reconsider(s, w)
		}
	}
	if s.recovery {
		return
	}
	d.replaceLost(s, w)
	d.sweep(s, w)
	d.rollOut(ctx, s, w)
	d.placeWaiting(s, w)
	d.commit(ctx, s, w)
}

// read reads again what users changed.
func (d *Desk) read(ctx context.Context, s *state, n news) {
	failed := func(id model.ServiceID, err error) {
		d.log.Error("read a service again", "service", id, "error", err)
		d.again(id)
	}
	for id := range n.woken {
		if err := d.reload(ctx, s, id); err != nil {
			failed(id, err)
		}
	}
	for id := range n.turned {
		if n.woken[id.Service] {
			continue
		}
		if err := d.reloadSlot(ctx, s, id); err != nil {
			failed(id.Service, err)
		}
	}
}

func compareID(a, b model.InstanceID) int {
	if a == b {
		return 0
	}
	if a.Less(b) {
		return -1
	}
	return 1
}

// placeWaiting chooses clusters for slots that have none.
func (d *Desk) placeWaiting(s *state, w *work) {
	s.wakeLate(d.now())
	failed := map[model.ServiceID]error{} // slots of a service ask for the same
	for _, id := range slices.SortedFunc(maps.Keys(s.due), compareID) {
		delete(s.due, id)
		in := s.instances[id]
		switch {
		case in.Tombstone && in.over():
			w.finished = append(w.finished, in)
		case in.Tombstone || in.moving:
			s.later(in, d.now().Add(retry))
		default:
			d.place(s, in, failed, w)
		}
		if w.len() >= atOnce {
			d.ring()
			return
		}
	}
}

// place chooses a cluster for a slot, or notes why none can take it.
func (d *Desk) place(s *state, in *slot, failed map[model.ServiceID]error, w *work) {
	svc, ok := s.services[in.ID.Service]
	if !ok {
		d.log.Error("a wanted instance has no service", "instance", in.ID.String())
		s.later(in, d.now().Add(retry))
		return
	}
	err := failed[svc.ID]
	r := request(in, *svc)
	if err == nil || len(r.Exclude) > 0 {
		var choice placement.Choice
		if choice, err = s.index.Place(r); err == nil {
			in.unsure = false
			w.give(s, in, *svc, choice, r)
			return
		}
		if len(r.Exclude) == 0 {
			failed[svc.ID] = err
		}
	}
	s.later(in, d.now().Add(retry))
	u := d.why(s, in, r, err)
	if in.unsure = u.unsure(); in.unsure {
		return // decided with the next report of a cluster: no answer yet
	}
	w.unplaced = append(w.unplaced, u)
}

// refreshRoom makes the index agree with what a cluster reported last, and
// ends the reservations that its report now counts itself. It says whether
// the cluster can take more than before, and whether it counted anything.
func (d *Desk) refreshRoom(s *state, id model.ClusterID) (grown, settled bool) {
	c, known := s.clusters[id]
	if !known {
		return false, false
	}
	room, heard := d.deps.Book.Room(id)
	for slot, v := range s.settle[id] {
		if v.counted(room) {
			settled = true
			s.settled(id, slot)
		}
	}
	active := heard && d.deps.Book.Active(id)
	s.index.Apply(placement.Delta{Upsert: []placement.Candidate{{
		ID: string(id), Name: c.Name, Runtimes: room.Runtimes, Architectures: room.Architectures, Capacity: room.Capacity, Held: room.Reserved,
		Rooms: rooms(room), Partial: room.Partial || room.Number == 0, Loose: room.Number == 0, Network: room.NetworkNodes > 0, Inactive: !active,
	}}})
	was, before := s.rooms[id]
	if !active {
		delete(s.rooms, id)
		return false, settled
	}
	s.rooms[id] = room
	return !before || more(was, room), settled
}

// more says whether b offers anything that a does not.
func more(a, b clusters.Room) bool {
	lacks := func(have, want []string) bool {
		return slices.ContainsFunc(want, func(v string) bool { return !slices.Contains(have, v) })
	}
	return b.ActiveNodes > a.ActiveNodes || b.NetworkNodes > a.NetworkNodes || lacks(a.Runtimes, b.Runtimes) || lacks(a.Architectures, b.Architectures) ||
		!a.Capacity.Sub(a.Reserved).Fits(b.Capacity.Sub(b.Reserved)) || slices.ContainsFunc(b.Rooms, func(r placement.Room) bool {
		return !slices.ContainsFunc(a.Rooms, func(had placement.Room) bool {
			return had.Free.Fits(r.Free) && had.Network == r.Network && slices.Equal(had.Runtimes, r.Runtimes) && slices.Equal(had.Architectures, r.Architectures)
		})
	})
}

// reconsider looks again at slots that waited for a report.
func (d *Desk) reconsider(s *state, w *work) {
	for slot := range s.waiting {
		if in := s.instances[slot]; in.unsure {
			s.soon(in)
		}
	}
	for _, slot := range slices.SortedFunc(maps.Keys(s.refusing), compareID) {
		d.elsewhere(s, s.instances[slot], w)
	}
}

// hope gives slots another chance since a cluster can take more.
func (d *Desk) hope(s *state, id model.ClusterID, w *work) {
	for slot := range s.waiting {
		in := s.instances[slot]
		d.offers(in, id)
		s.soon(in)
	}
	for _, slot := range slices.SortedFunc(maps.Keys(s.refusing), compareID) {
		in := s.instances[slot]
		if d.offers(in, id); in.Cluster != id {
			d.elsewhere(s, in, w)
		}
	}
}

// elsewhere looks for another cluster for a slot that its cluster refuses.
// When there is none the slot stays where it is: that cluster tries again as
// soon as it has room, and the user sees its reasons and those of the others.
func (d *Desk) elsewhere(s *state, in *slot, w *work) {
	if _, wanted := s.services[in.ID.Service]; !wanted || in.Tombstone || in.moving || s.recovery {
		return
	}
	svc := in.Service // its own revision: only a rollout changes that
	r := request(in, svc)
	choice, err := s.index.Place(r)
	if err != nil {
		d.barred(in, err)
		return
	}
	w.give(s, in, svc, choice, r)
}

func rooms(r clusters.Room) []placement.Room {
	if r.Rooms == nil {
		return []placement.Room{}
	}
	return r.Rooms
}

// request is what a slot asks of a cluster.
func request(in *slot, svc model.Service) placement.Request {
	only, restricted := placement.OnlyClusters(svc.Spec.Constraints)
	return placement.Request{
		Service: svc.ID, Demand: svc.Spec.Demand, Runtime: svc.Spec.Runtime, Architectures: svc.Spec.Arch,
		Network: svc.Spec.NeedsNetwork(svc.Chosen), Only: only, Restricted: restricted,
		Exclude: in.refused.of(svc.Revision),
	}
}

// why is the word and the reasons for a slot that waits.
func (d *Desk) why(s *state, in *slot, r placement.Request, err error) unplaced {
	u := unplaced{in: in, waits: waits{word: instance.WordNoActiveCluster}, err: err}
	var refusal *placement.Refusal
	if errors.As(err, &refusal) {
		u.reasons = refusal.Reasons
	}
	switch {
	case r.Restricted:
		u.word = d.targetWord(s, r.Only)
	case len(u.reasons) == 0, len(u.reasons) == 1 && u.reasons[0].Name == inactive:
		u.word = "" // nothing is wrong with it: it waits for a connection
	}
	return u
}

// targetWord says what is wrong with the clusters a constraint names.
func (d *Desk) targetWord(s *state, only []string) instance.Word {
	word := instance.WordTargetNotFound
	for id, c := range s.clusters {
		if !slices.Contains(only, c.Name) && !slices.Contains(only, string(id)) {
			continue
		}
		if d.deps.Book.Active(id) {
			return instance.WordTargetNoCapacity
		}
		word = instance.WordTargetNotActive
	}
	return word
}
