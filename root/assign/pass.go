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
	// atOnce bounds the slots of one pass, so that reports are read in between.
	atOnce = 1024
)

// pass brings every slot that needs something one step further. It looks at
// levels: running it twice changes nothing.
func (d *Desk) pass(ctx context.Context, s *state) {
	if ctx.Err() != nil {
		return
	}
	woken, moved := d.news()
	for id := range woken {
		if err := d.reload(ctx, s, id); err != nil {
			d.log.Error("read a service again", "service", id, "error", err)
			d.again(id)
		}
	}
	w := &work{}
	for _, id := range slices.Sorted(maps.Keys(moved)) {
		if d.refreshRoom(s, id) {
			d.hope(s, id, w)
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
	now := d.now()
	failed := map[model.ServiceID]error{} // slots of a service ask for the same
	for _, id := range slices.SortedFunc(maps.Keys(s.waiting), compareID) {
		in := s.instances[id]
		switch {
		case in.Tombstone && in.over():
			w.finished = append(w.finished, in)
		case in.Tombstone || in.moving || now.Before(in.retryAt):
			continue
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
		in.retryAt = d.now().Add(retry)
		return
	}
	err := failed[svc.ID]
	r := request(in, *svc)
	if err == nil || len(in.refused) > 0 {
		var choice placement.Choice
		if choice, err = s.index.Place(r); err == nil {
			w.give(s, in, *svc, choice, r)
			return
		}
		if len(in.refused) == 0 {
			failed[svc.ID] = err
		}
	}
	in.retryAt = d.now().Add(retry)
	w.unplaced = append(w.unplaced, d.why(s, in, r, err))
}

// refreshRoom makes the index agree with what a cluster reported last, and
// ends the reservations that its report now counts itself. It says whether
// the cluster can take more than before.
func (d *Desk) refreshRoom(s *state, id model.ClusterID) (grown bool) {
	c, known := s.clusters[id]
	if !known {
		return false
	}
	room, heard := d.deps.Book.Room(id)
	for slot, placed := range s.settle[id] {
		if room.At.After(placed.Add(late)) {
			s.index.Release(slot.String())
			delete(s.settle[id], slot)
		}
	}
	active := heard && d.deps.Book.Active(id)
	s.index.Apply(placement.Delta{Upsert: []placement.Candidate{{
		ID: string(id), Name: c.Name, Runtimes: room.Runtimes, Architectures: room.Architectures, Capacity: room.Capacity, Held: room.Reserved,
		Rooms: rooms(room), Network: room.NetworkNodes > 0, Inactive: !active,
	}}})
	was, before := s.rooms[id]
	if !active {
		delete(s.rooms, id)
		return false
	}
	s.rooms[id] = room
	return !before || more(was, room)
}

// more says whether b offers anything that a does not.
func more(a, b clusters.Room) bool {
	lacks := func(have, want []string) bool {
		return slices.ContainsFunc(want, func(v string) bool { return !slices.Contains(have, v) })
	}
	return b.ActiveNodes > a.ActiveNodes || b.NetworkNodes > a.NetworkNodes || lacks(a.Runtimes, b.Runtimes) || lacks(a.Architectures, b.Architectures) ||
		!a.Capacity.Sub(a.Reserved).Fits(b.Capacity.Sub(b.Reserved)) || slices.ContainsFunc(b.Largest, func(r model.Resources) bool {
		return !slices.ContainsFunc(a.Largest, func(had model.Resources) bool { return had.Fits(r) })
	})
}

// hope gives slots another chance since a cluster can take more.
func (d *Desk) hope(s *state, id model.ClusterID, w *work) {
	for slot := range s.waiting {
		in := s.instances[slot]
		delete(in.refused, id)
		in.retryAt = time.Time{}
	}
	for _, slot := range slices.SortedFunc(maps.Keys(s.refusing), compareID) {
		in := s.instances[slot]
		if delete(in.refused, id); in.Cluster != id {
			d.elsewhere(s, in, w)
		}
	}
}

// elsewhere looks for another cluster for a slot that its cluster refuses.
// When there is none the slot stays where it is: that cluster tries again as
// soon as it has room, and its reasons are what the user sees.
func (d *Desk) elsewhere(s *state, in *slot, w *work) {
	if _, wanted := s.services[in.ID.Service]; !wanted || in.Tombstone || in.moving || s.recovery {
		return
	}
	svc := in.Service // its own revision: only a rollout changes that
	r := request(in, svc)
	choice, err := s.index.Place(r)
	if err != nil {
		return
	}
	w.give(s, in, svc, choice, r)
}

func rooms(r clusters.Room) []model.Resources {
	if r.Largest == nil {
		return []model.Resources{}
	}
	return r.Largest
}

// request is what a slot asks of a cluster.
func request(in *slot, svc model.Service) placement.Request {
	only, restricted := placement.OnlyClusters(svc.Spec.Constraints)
	r := placement.Request{
		Service: svc.ID, Demand: svc.Spec.Demand, Runtime: svc.Spec.Runtime, Architectures: svc.Spec.Arch,
		Network: svc.Spec.NeedsNetwork(svc.Chosen), Only: only, Restricted: restricted,
	}
	for id := range in.refused {
		r.Exclude = append(r.Exclude, string(id))
	}
	return r
}

// why is the word and the reasons for a slot that waits.
func (d *Desk) why(s *state, in *slot, r placement.Request, err error) unplaced {
	u := unplaced{in: in, word: instance.WordNoActiveCluster, err: err}
	var refusal *placement.Refusal
	if errors.As(err, &refusal) {
		u.reasons = refusal.Reasons
	}
	if r.Restricted {
		u.word = d.targetWord(s, r.Only)
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
