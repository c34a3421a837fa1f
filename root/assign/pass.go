package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/store"
)

// retry is how long a slot that no cluster could take waits before it is
// looked at again; a cluster with other room wakes it sooner.
const retry = 10 * time.Second

// pass brings every slot that needs something one step further. It looks at
// levels: running it twice changes nothing.
func (d *Desk) pass(ctx context.Context, s *state) {
	d.mu.Lock()
	woken, moved := d.woken, d.moved
	d.woken, d.moved = map[model.ServiceID]bool{}, map[model.ClusterID]bool{}
	d.mu.Unlock()

	for id := range woken {
		if err := d.reload(ctx, s, id); err != nil {
			d.log.Error("read a service again", "service", id, "error", err)
			d.Wake(id)
		}
	}
	for id := range moved {
		d.refreshRoom(s, id)
		for _, in := range s.instances {
			delete(in.refused, id)
			if in.Cluster == "" {
				in.retryAt = time.Time{}
			}
		}
	}
	if s.recovery {
		return
	}
	now := d.now()
	for _, id := range slices.SortedFunc(maps.Keys(s.instances), compareID) {
		in := s.instances[id]
		switch {
		case in.Tombstone && in.Cluster == "":
			d.finish(ctx, s, in)
		case !in.Tombstone && in.Cluster == "" && !now.Before(in.retryAt):
			d.place(ctx, s, in)
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

// reload reads a service and its slots again, after a user changed them.
func (d *Desk) reload(ctx context.Context, s *state, id model.ServiceID) error {
	svc, err := d.deps.Store.Services().Get(ctx, id)
	exists := err == nil
	if err != nil && !errors.Is(err, errs.NotFound) {
		return err
	}
	list, err := d.deps.Store.Instances().List(ctx, id)
	if err != nil {
		return err
	}
	old, had := s.services[id]
	if exists {
		s.services[id] = svc
	} else if had {
		delete(s.services, id)
		d.retire(old.Address, d.now().Add(rest)) // the store did so when it removed the service
	}
	var slots []*slot
	listed := map[model.InstanceID]bool{}
	for _, in := range list {
		listed[in.ID] = true
		have, known := s.instances[in.ID]
		if !known {
			have = &slot{}
			s.instances[in.ID] = have
		}
		stop := in.Tombstone && !have.Tombstone
		have.Instance = in
		slots = append(slots, have)
		if stop && in.Cluster != "" {
			d.announce(s, in.Cluster, in)
		}
	}
	for sid := range s.instances {
		if sid.Service == id && !listed[sid] {
			delete(s.instances, sid)
			s.index.Release(sid.String())
		}
	}
	d.resolve.replace(id, svc, exists, slots)
	return nil
}

// refreshRoom makes the index agree with what a cluster reported last, and
// ends the reservations that its report now counts itself.
func (d *Desk) refreshRoom(s *state, id model.ClusterID) {
	c, known := s.clusters[id]
	if !known {
		return
	}
	room, heard := d.deps.Book.Room(id)
	for slot := range s.settle[id] {
		s.index.Release(slot.String())
	}
	delete(s.settle, id)
	s.index.Apply(placement.Delta{Upsert: []placement.Candidate{{
		ID: string(id), Name: c.Name, Runtimes: room.Runtimes, Architectures: room.Architectures, Capacity: room.Capacity, Held: room.Reserved,
		Rooms: rooms(room), Network: room.NetworkNodes > 0, Inactive: !heard || !d.deps.Book.Active(id),
	}}})
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

// place gives a slot to a cluster, or notes why none can take it.
func (d *Desk) place(ctx context.Context, s *state, in *slot) {
	svc, ok := s.services[in.ID.Service]
	if !ok {
		d.log.Error("a wanted instance has no service", "instance", in.ID.String())
		in.retryAt = d.now().Add(retry)
		return
	}
	r := request(in, svc)
	choice, err := s.index.Place(r)
	if err != nil {
		in.retryAt = d.now().Add(retry)
		d.unplaced(ctx, s, in, r, err)
		return
	}
	d.grant(ctx, s, in, svc, model.ClusterID(choice.ID), r)
}

// grant stores the assignment, then announces it.
func (d *Desk) grant(ctx context.Context, s *state, in *slot, svc model.Service, to model.ClusterID, r placement.Request) {
	g, err := d.deps.Store.Meta().NextGrant(ctx)
	if err == nil {
		var stored store.Instance
		stored, err = d.deps.Store.Instances().Update(ctx, in.ID, func(v store.Instance) (store.Instance, error) {
			if v.Tombstone {
				return v, fmt.Errorf("%s was deleted meanwhile: %w", v.ID, errs.Conflict)
			}
			v.Cluster, v.Grant, v.Unplaced, v.Reasons, v.Service = to, g, "", nil, svc
			return v, nil
		})
		if err == nil {
			in.Instance = stored
		}
	}
	if err != nil {
		d.log.Error("store an assignment", "instance", in.ID.String(), "cluster", to, "error", err)
		in.retryAt = d.now().Add(time.Second)
		d.Wake(in.ID.Service)
		return
	}
	s.index.Reserve(in.ID.String(), string(to), r)
	d.log.Info("instance assigned", "instance", in.ID.String(), "service", svc.Name.String(), "cluster", s.clusters[to].Name, "grant", uint64(g))
	d.announce(s, to, in.Instance)
}

func (d *Desk) announce(s *state, to model.ClusterID, orders ...store.Instance) {
	d.deps.Book.Send(to, d.desired(s, false, orders))
}

func (d *Desk) desired(s *state, snapshot bool, orders []store.Instance) clusters.Desired {
	out := clusters.Desired{Snapshot: snapshot, Orders: orders, Applications: map[model.ApplicationID]model.Application{}}
	for _, in := range orders {
		id := in.Service.Application
		if _, done := out.Applications[id]; done || id == "" {
			continue
		}
		if app, err := d.deps.Store.Applications().Get(context.Background(), id); err == nil {
			out.Applications[id] = app
		}
	}
	return out
}

// unplaced stores why a slot waits, when that changed.
func (d *Desk) unplaced(ctx context.Context, s *state, in *slot, r placement.Request, why error) {
	word, reasons := instance.WordNoActiveCluster, []instance.Reason(nil)
	var refusal *placement.Refusal
	if errors.As(why, &refusal) {
		reasons = refusal.Reasons
	}
	if r.Restricted {
		word = d.targetWord(s, r.Only)
	}
	if in.Unplaced == word && slices.Equal(in.Reasons, reasons) {
		return
	}
	stored, err := d.deps.Store.Instances().Update(ctx, in.ID, func(v store.Instance) (store.Instance, error) {
		v.Unplaced, v.Reasons = word, reasons
		return v, nil
	})
	if err != nil {
		d.log.Error("store why an instance waits", "instance", in.ID.String(), "error", err)
		return
	}
	in.Instance = stored
	d.log.Warn("no cluster for an instance", "instance", in.ID.String(), "word", string(word), "reason", why.Error())
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

// finish deletes the record of a slot of which nothing is left.
func (d *Desk) finish(ctx context.Context, s *state, in *slot) {
	until := d.now().Add(rest)
	err := d.deps.Store.Instances().Delete(ctx, in.ID, until)
	if err != nil && !errors.Is(err, errs.NotFound) {
		d.log.Error("delete the record of an instance", "instance", in.ID.String(), "error", err)
		return
	}
	d.retire(in.Address, until)
	s.index.Release(in.ID.String())
	delete(s.instances, in.ID)
	d.deps.Book.Forget(in.ID)
	d.log.Info("instance removed", "instance", in.ID.String())
}

// Reported looks at what a cluster said of slots.
func (d *Desk) Reported(from model.ClusterID, facts []clusters.Facts) {
	done := make(chan struct{})
	select {
	case d.calls <- func(s *state) { defer close(done); d.reported(s, from, facts) }:
		<-done
	case <-d.loop:
	}
}

func (d *Desk) reported(s *state, from model.ClusterID, facts []clusters.Facts) {
	if s.recovery {
		return
	}
	ctx := context.Background()
	for _, f := range facts {
		in, known := s.instances[f.Instance]
		if !known {
			continue // listed as unknown by the cluster's resync, left running
		}
		if in.Cluster != from || f.Grant != in.Grant {
			d.superseded(s, from, in, f)
			continue
		}
		switch {
		case f.Gone && in.Tombstone:
			d.finish(ctx, s, in)
		case f.Placement.Verdict == instance.Placed:
			if s.settle[from] == nil {
				s.settle[from] = map[model.InstanceID]bool{}
			}
			s.settle[from][in.ID] = true
			if f.Observed.State == instance.Running {
				d.stopOthers(s, in)
			}
		case f.Placement.Verdict == instance.Refused && !in.Tombstone:
			d.refusedBy(ctx, s, from, in)
		}
	}
}

// refusedBy looks for another cluster. When there is none the slot stays where
// it is: that cluster tries again as soon as it has room, and its reasons are
// what the user sees.
func (d *Desk) refusedBy(ctx context.Context, s *state, from model.ClusterID, in *slot) {
	if in.refused == nil {
		in.refused = map[model.ClusterID]bool{}
	}
	in.refused[from] = true
	svc, ok := s.services[in.ID.Service]
	if !ok {
		return
	}
	r := request(in, svc)
	choice, err := s.index.Place(r)
	if err != nil {
		return
	}
	old := in.Instance
	d.grant(ctx, s, in, svc, model.ClusterID(choice.ID), r)
	if in.Grant != old.Grant {
		old.Tombstone = true
		d.announce(s, from, old)
	}
}

// superseded handles a report under an older grant, or of a cluster the slot
// has left: it is stopped once its successor runs, or if it never ran.
func (d *Desk) superseded(s *state, from model.ClusterID, in *slot, f clusters.Facts) {
	if f.Gone || f.Grant >= in.Grant {
		return
	}
	current, ok := d.deps.Book.Reports(in.ID)[in.Cluster]
	runs := ok && current.Grant == in.Grant && current.Observed.State == instance.Running
	neverRan := f.Placement.Verdict != instance.Placed
	if runs || neverRan || in.Tombstone {
		old := in.Instance
		old.Grant, old.Tombstone = f.Grant, true
		d.announce(s, from, old)
	}
}

// stopOthers ends older grants of a slot that now runs.
func (d *Desk) stopOthers(s *state, in *slot) {
	for c, f := range d.deps.Book.Reports(in.ID) {
		if c != in.Cluster {
			d.superseded(s, c, in, f)
		}
	}
}
