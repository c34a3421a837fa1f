package assign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/events"
	"oakestra/root/store"
)

// writesAtOnce bounds the writes made side by side; they share syncs.
const writesAtOnce = 64

// work is what one look at the state decided, before it is stored.
type work struct {
	grants   []grant
	unplaced []unplaced
	finished []*slot
	orders   orders // that need no write
}

func (w *work) len() int { return len(w.grants) + len(w.unplaced) + len(w.finished) }

// grant gives a slot to a cluster. What is stored is filled in by commit.
type grant struct {
	in      *slot
	service model.Service
	to      model.ClusterID
	stored  store.Instance
	err     error
}

// unplaced is why a slot waits.
type unplaced struct {
	in *slot
	waits
	err error
}

// unsure says that a cluster may have room, once it has counted what is on its
// way there.
func (u *unplaced) unsure() bool {
	return slices.ContainsFunc(u.reasons, func(r instance.Reason) bool { return r.Name == placement.Promised })
}

// orders are messages by cluster, one each.
type orders map[model.ClusterID][]store.Instance

func (o orders) add(to model.ClusterID, in store.Instance) { o[to] = append(o[to], in) }

func (w *work) order(to model.ClusterID, in store.Instance) {
	if w.orders == nil {
		w.orders = orders{}
	}
	w.orders.add(to, in)
}

// give reserves a place for a slot that is to get a new grant.
func (w *work) give(s *state, in *slot, svc model.Service, choice placement.Choice, r placement.Request) {
	in.moving = true
	s.index.Reserve(in.ID.String(), choice.ID, r)
	w.grants = append(w.grants, grant{in: in, service: svc.Assigned(), to: model.ClusterID(choice.ID)})
}

// commit stores what was decided, side by side, then announces it.
func (d *Desk) commit(ctx context.Context, s *state, w *work) {
	d.storeGrants(ctx, s, w)
	d.noteReasons(w.unplaced)
	d.finish(ctx, s, w.finished)
	d.announce(w.orders)
}

// announce sends orders; a cluster that is away hears them when it is back.
func (d *Desk) announce(o orders) {
	for to, list := range o {
		d.deps.Book.Send(to, d.desired(false, list))
	}
}

func (d *Desk) desired(snapshot bool, list []store.Instance) clusters.Desired {
	out := clusters.Desired{Snapshot: snapshot, Orders: list, Applications: map[model.ApplicationID]model.Application{}}
	for _, in := range list {
		id := in.Service.Application
		if _, done := out.Applications[id]; done || id == "" {
			continue
		}
		// Only its description is told; an application that is gone has none.
		if app, err := d.deps.Store.Applications().Get(context.Background(), id); err == nil {
			out.Applications[id] = app
		}
	}
	return out
}

// storeGrants stores assignments. A slot that moves is ended at the cluster it
// leaves: at once if that cluster runs nothing of it, else once the new one
// runs (superseded).
func (d *Desk) storeGrants(ctx context.Context, s *state, w *work) {
	if len(w.grants) == 0 {
		return
	}
	first, err := d.deps.Store.Meta().NextGrants(ctx, len(w.grants)) // one write for all
	g := errgroup.Group{}
	g.SetLimit(writesAtOnce)
	for i := range w.grants {
		v := &w.grants[i]
		if v.err = err; err != nil {
			continue
		}
		g.Go(func() error {
			v.stored, v.err = d.storeGrant(ctx, v, first+instance.Grant(i))
			return nil
		})
	}
	_ = g.Wait()          // errors are kept with each
	var placed []unplaced // no more
	for _, v := range w.grants {
		in := v.in
		in.moving = false
		if v.err != nil {
			d.log.Error("store an assignment", "instance", in.ID.String(), "cluster", v.to, "error", v.err)
			s.index.Release(in.ID.String())
			s.later(in, d.now().Add(time.Second))
			d.again(in.ID.Service)
			continue
		}
		d.tellAssigned(s, v)
		if in.Cluster != "" && in.Cluster != v.to {
			in.heldBy(in.Cluster, in.Grant)
			if f, heard := d.deps.Book.Reports(in.ID)[in.Cluster]; heard && !serves(f) {
				w.order(in.Cluster, tombstone(in.Instance, in.Grant))
			}
		}
		delete(in.former, v.to)
		delete(s.refusing, in.ID)
		s.issued = max(s.issued, v.stored.Grant)
		if len(in.waits.reasons) != 0 || in.waits.word != "" {
			placed = append(placed, unplaced{in: in})
		}
		s.put(v.stored)
		d.log.Info("instance assigned", "instance", in.ID.String(), "service", v.service.Name.String(), "cluster", s.clusters[v.to].Name, "grant", uint64(v.stored.Grant))
		w.order(v.to, v.stored)
	}
	d.resolve.explain(placed)
}

func (d *Desk) storeGrant(ctx context.Context, v *grant, g instance.Grant) (store.Instance, error) {
	return d.deps.Store.Instances().Update(ctx, v.in.ID, func(in store.Instance) (store.Instance, error) {
		if in.Tombstone {
			return in, fmt.Errorf("%s was deleted meanwhile: %w", in.ID, errs.Conflict)
		}
		in.Former = v.in.leaves(v.to)
		in.Cluster, in.Grant, in.Service = v.to, g, v.service
		return in, nil
	})
}

// leaves lists the clusters that may hold a slot when another one gets it, nil
// for none.
func (in *slot) leaves(to model.ClusterID) map[model.ClusterID]instance.Grant {
	var out map[model.ClusterID]instance.Grant
	add := func(id model.ClusterID, g instance.Grant) {
		if out == nil {
			out = map[model.ClusterID]instance.Grant{}
		}
		out[id] = g
	}
	for id, g := range in.former {
		if id != to {
			add(id, g)
		}
	}
	if in.Cluster != "" && in.Cluster != to {
		add(in.Cluster, in.Grant)
	}
	return out
}

// again looks at a service anew in a moment, not at once: what failed would
// fail again.
func (d *Desk) again(id model.ServiceID) { time.AfterFunc(time.Second, func() { d.Wake(id) }) }

// waits is why no cluster can take a slot. It follows from what clusters
// report, so that it is not stored: it was every second write of a root that
// was asked for instances nobody could take.
type waits struct {
	word    instance.Word
	reasons []instance.Reason // never written to
}

// noteReasons keeps why slots wait, and tells it where it changed. Details
// change with every aggregate and are not worth an event.
func (d *Desk) noteReasons(list []unplaced) {
	same := func(a, b instance.Reason) bool { return a.Name == b.Name && a.Count == b.Count }
	for _, u := range list {
		was := u.in.waits
		u.in.waits = u.waits
		if was.word == u.word && slices.EqualFunc(was.reasons, u.reasons, same) {
			continue
		}
		d.log.Warn("no cluster for an instance", "instance", u.in.ID.String(), "word", string(u.word), "reason", u.err)
		d.tellUnplaced(u)
	}
	d.resolve.explain(list)
}

// finish deletes the records of slots of which nothing is left.
func (d *Desk) finish(ctx context.Context, s *state, list []*slot) {
	until := d.now().Add(rest)
	failed := make([]error, len(list))
	g := errgroup.Group{}
	g.SetLimit(writesAtOnce)
	for i, in := range list {
		g.Go(func() error {
			failed[i] = d.deps.Store.Instances().Delete(ctx, in.ID, until)
			return nil
		})
	}
	_ = g.Wait() // errors are kept with each
	for i, in := range list {
		if err := failed[i]; err != nil && !errors.Is(err, errs.NotFound) {
			d.log.Error("delete the record of an instance", "instance", in.ID.String(), "error", err)
			s.wait(in) // the next pass tries again
			continue
		}
		d.Retire(in.Address, until)
		s.drop(in.ID)
		d.resolve.removed(in.ID)
		d.deps.Book.Forget(in.ID)
		d.log.Info("instance removed", "instance", in.ID.String())
		d.deps.Events.Record(d.about(in.Instance).Say(events.Normal, "Removed", "nothing of it is left"))
	}
}

// over says that nothing of a tombstone is left anywhere.
func (in *slot) over() bool { return len(in.former) == 0 && (in.Cluster == "" || in.gone) }
