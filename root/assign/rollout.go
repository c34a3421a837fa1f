package assign

import (
	"cmp"
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
	"oakestra/root/events"
	"oakestra/root/rollout"
)

// watch is what the loop has seen of a slot under its present grant. After a
// start everything has been seen for no time, so deadlines begin anew.
type watch struct {
	grant        instance.Grant
	target       uint64 // revision it is watched for
	asked, since time.Time
	phase        rollout.Phase
	blocked      time.Time // zero: it is not
	why          string
}

// rollOut takes every rollout one step further: root/rollout decides, here
// slots get new grants. A slot keeps its number and its address.
func (d *Desk) rollOut(ctx context.Context, s *state, w *work) {
	if len(s.rolling) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.rolling)) {
		svc := *s.services[id]
		bySlot := map[int]*slot{}
		seen := make([]rollout.Slot, 0, len(s.of[id]))
		for _, in := range s.of[id] {
			if in.Tombstone {
				continue
			}
			bySlot[in.ID.Number] = in
			seen = append(seen, d.observe(in, svc))
		}
		next := rollout.Plan(rollout.LimitsOf(svc.Spec), seen)
		for _, n := range next.Replace {
			d.replace(s, bySlot[n], svc, w)
		}
		if next.State != model.RolloutRunning {
			d.conclude(ctx, s, svc, next)
		}
	}
}

// observe is a slot as its rollout sees it.
func (d *Desk) observe(in *slot, svc model.Service) rollout.Slot {
	now := d.now()
	f, heard := d.deps.Book.Reports(in.ID)[in.Cluster]
	phase, why := phaseOf(in, f, heard)
	v := &in.watch
	if v.grant != in.Grant || v.asked.IsZero() {
		*v = watch{grant: in.Grant, asked: now, since: now, phase: phase}
	}
	if v.target != svc.Revision {
		v.target, v.blocked = svc.Revision, time.Time{}
	}
	if v.phase != phase {
		v.phase, v.since = phase, now
	}
	out := rollout.Slot{
		Number: in.ID.Number, New: in.moving || in.Service.Spec.Runs(svc.Spec), Kept: in.Service.Revision != svc.Revision,
		Phase: phase, For: now.Sub(v.since), Asked: now.Sub(v.asked), Why: why, BlockedBy: v.why,
	}
	if !v.blocked.IsZero() {
		out.Blocked = now.Sub(v.blocked)
	}
	return out
}

func phaseOf(in *slot, f clusters.Facts, heard bool) (phase rollout.Phase, why string) {
	if in.Cluster == "" {
		return rollout.Waiting, ""
	}
	if !heard || f.Grant != in.Grant {
		return rollout.Starting, "its cluster has not answered"
	}
	word := instance.Status(instance.Facts{Grant: in.Grant, Placement: f.Placement, Observed: f.Observed, Node: f.Node})
	why = string(word)
	if text := cmp.Or(placement.Sentence(f.Placement.Reasons), f.Observed.Reason); text != "" {
		why += ": " + text
	}
	switch word {
	case instance.WordRunning, instance.WordCompleted:
		return rollout.Up, ""
	case instance.WordFailed, instance.WordDead, instance.WordUndeployed:
		if f.Observed.State.Terminal() || f.Placement.Failed() {
			return rollout.Broken, why
		}
		return rollout.Starting, "its worker is lost" // not the fault of what it runs
	default:
		return rollout.Starting, why
	}
}

// replace gives a slot a new grant with the new spec, to the cluster that has
// it if that can still take it: what the slot holds there is its own room. A
// slot whose cluster is away is not moved: it may run on.
func (d *Desk) replace(s *state, in *slot, svc model.Service, w *work) {
	if in.moving {
		return
	}
	stay := request(in, svc)
	stay.Exclude = nil
	stay.Demand = beyond(svc.Spec.Demand, in.Service.Spec.Demand)
	why := s.index.Judge(string(in.Cluster), stay)
	if why == nil {
		w.give(s, in, svc, placement.Choice{ID: string(in.Cluster)}, stay)
		return
	}
	if !d.deps.Book.Active(in.Cluster) || why.Name == inactive {
		d.block(in, fmt.Sprintf("cluster %s is not connected", s.clusters[in.Cluster].Name))
		return
	}
	r := request(in, svc)
	choice, err := s.index.Place(r)
	if err != nil {
		d.block(in, fmt.Sprintf("%s; beyond the room it has: %s", err.Error(), placement.Sentence([]instance.Reason{*why})))
		return
	}
	w.give(s, in, svc, choice, r)
}

func (d *Desk) block(in *slot, why string) {
	if in.watch.why = why; in.watch.blocked.IsZero() {
		in.watch.blocked = d.now()
		d.log.Warn("an instance cannot be replaced yet", "instance", in.ID.String(), "reason", why)
		d.deps.Events.Record(d.about(in.Instance).Say(events.Warning, "ReplaceBlocked", "%s", why))
	}
}

// beyond is what want asks for on top of had.
func beyond(want, had model.Resources) model.Resources {
	more := want.Sub(had)
	return model.Resources{MilliCPU: max(0, more.MilliCPU), MemoryMB: max(0, more.MemoryMB), GPUs: max(0, more.GPUs), DiskMB: max(0, more.DiskMB)}
}

// conclude stores that a rollout is over.
func (d *Desk) conclude(ctx context.Context, s *state, svc model.Service, end rollout.Decision) {
	stored, err := d.deps.Store.Services().Update(ctx, svc.ID, func(v model.Service) (model.Service, error) {
		if v.Revision != svc.Revision || v.Rollout.State != model.RolloutRunning {
			return v, fmt.Errorf("rollout of service %s: changed meanwhile: %w", v.ID, errs.Conflict)
		}
		v.Rollout.State, v.Rollout.Message = end.State, end.Message
		if end.State == model.RolloutDone {
			v.Rollout.From = v.Revision
		}
		return v, nil
	})
	switch {
	case err != nil && (errors.Is(err, errs.Conflict) || errors.Is(err, errs.NotFound)):
		d.Wake(svc.ID) // look at what it is now
	case err != nil:
		d.log.Error("store how a rollout ended", "service", svc.ID, "error", err) // the next pass tries again
	default:
		s.know(stored)
		for _, in := range s.of[svc.ID] {
			in.watch = watch{} // one that goes on later has all the time again
		}
		d.log.Info("rollout ended", "service", svc.ID, "name", svc.Name.String(), "revision", svc.Revision,
			"from", string(model.RolloutRunning), "to", cmp.Or(string(end.State), "done"), "updated", end.Updated, "reason", end.Message)
		d.tellRollout(svc, end)
	}
}
