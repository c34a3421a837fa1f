package assign

import (
	"cmp"
	"slices"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/root/events"
	"oakestra/root/rollout"
	"oakestra/root/store"
)

// Service finds a service by id; safe from any goroutine.
func (d *Desk) Service(id model.ServiceID) (model.Service, bool) {
	d.resolve.mu.RLock()
	defer d.resolve.mu.RUnlock()
	s, ok := d.resolve.services[id]
	if !ok {
		return model.Service{}, false
	}
	return *s, true
}

// about is an event of a slot. The service may be gone: then what the slot
// remembers of it has to do.
func (d *Desk) about(in store.Instance) events.Event {
	svc, ok := d.Service(in.ID.Service)
	if !ok {
		svc = in.Service
		svc.ID = in.ID.Service
	}
	return events.Of(svc, in.ID.Number)
}

func (d *Desk) tellRecovery(reason, message string) {
	e := events.Event{Subject: events.Subject{Type: events.Root, ID: "root", Name: "root"}}
	d.deps.Events.Record(e.Say(events.Warning, reason, "%s", message))
}

// tellAssigned says where a slot goes, and what it leaves.
func (d *Desk) tellAssigned(s *state, v grant) {
	to := events.Subject{Type: events.Cluster, ID: string(v.to), Name: s.clusters[v.to].Name}
	about := events.Of(v.service, v.in.ID.Number).Under(to)
	if from := v.in.Cluster; from != "" && from != v.to {
		old := events.Subject{Type: events.Cluster, ID: string(from), Name: s.clusters[from].Name}
		d.deps.Events.Record(about.Under(old).Say(events.Normal, "Superseded", "cluster %s takes over from %s", to.Name, old.Name))
	}
	d.deps.Events.Record(about.Say(events.Normal, "Assigned", "to cluster %s", to.Name))
}

func (d *Desk) tellUnplaced(u unplaced) {
	d.deps.Events.Record(d.about(u.in.Instance).Say(events.Warning, cmp.Or(string(u.word), "NoClusterConnected"), "%s", counted(u.reasons)))
}

// tellAdopted says what was taken in.
func (d *Desk) tellAdopted(s *state, in store.Instance) {
	c := events.Subject{Type: events.Cluster, ID: string(in.Cluster), Name: s.clusters[in.Cluster].Name}
	d.deps.Events.Record(d.about(in).Under(c).Say(events.Normal, "Adopted", "cluster %s holds it", c.Name))
}

// tellRollout says how a rollout ended; each replaced slot was told when it was
// assigned.
func (d *Desk) tellRollout(svc model.Service, end rollout.Decision) {
	e := events.OfService(svc)
	if end.State == model.RolloutDone {
		d.deps.Events.Record(e.Say(events.Normal, "RolledOut", "revision %d runs on all %d instances", svc.Revision, end.Updated))
		return
	}
	d.deps.Events.Record(e.Say(events.Warning, "RolloutStopped", "revision %d: %s", svc.Revision, end.Message))
}

// counted lists reasons with their counts: "memory 3 (w1: 512 > 300 MiB free)".
func counted(reasons []instance.Reason) string {
	if len(reasons) == 0 {
		return "waiting for a cluster: none is connected"
	}
	list := slices.Clone(reasons)
	slices.SortStableFunc(list, func(a, b instance.Reason) int { return cmp.Compare(b.Count, a.Count) })
	return placement.Sentence(list)
}
