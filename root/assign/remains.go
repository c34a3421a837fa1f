package assign

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/events"
)

// remainsAfter is how long the end of a slot takes, at most, where everybody
// answers: its stop has a grace of 10 s.
const remainsAfter = 30 * time.Second

// Removals lists what is to be removed and where something of it may be left, by
// slot. Error: Unavailable when the loop has ended.
func (d *Desk) Removals(ctx context.Context) ([]control.Removal, error) {
	return call(ctx, d, func(s *state) ([]control.Removal, error) {
		var out []control.Removal
		for _, id := range slices.SortedFunc(maps.Keys(s.ending), compareID) {
			out = append(out, d.remains(s, s.instances[id])...)
		}
		return out, nil
	})
}

// remains lists where something of a tombstone may be left.
func (d *Desk) remains(s *state, in *slot) []control.Removal {
	places := map[model.ClusterID]bool{}
	if in.Cluster != "" && !in.gone {
		places[in.Cluster] = true
	}
	for id := range in.former {
		places[id] = true
	}
	name := in.Service.Name
	if svc, known := d.Service(in.ID.Service); known {
		name = svc.Name
	}
	reports := d.deps.Book.Reports(in.ID)
	var out []control.Removal
	for _, id := range slices.Sorted(maps.Keys(places)) {
		f := reports[id]
		on := f.LeftOn
		if len(on) == 0 { // an older cluster, or one that has not said
			on = []model.NodeID{f.Placement.Node}
		}
		for _, node := range on {
			v := control.Removal{Instance: in.ID, Cluster: id, Node: node, Waits: d.waitsFor(s, id, node)}
			if name != (model.ServiceName{}) {
				v.Name = name.String()
			}
			out = append(out, v)
		}
	}
	return out
}

// waitsFor says who has to return before something is removed there, and what to
// do when nobody will; "" when it is on its way. node may be "".
func (d *Desk) waitsFor(s *state, id model.ClusterID, node model.NodeID) string {
	name := s.clusters[id].Name
	switch {
	case !d.deps.Book.Active(id):
		return fmt.Sprintf("cluster %s is not connected; if it will not return: oak cluster rm %s", name, name)
	case node != "" && d.deps.Book.Liveness(id, node) == instance.Lost:
		return fmt.Sprintf("worker %s of cluster %s is lost; if it will not return: oak node rm %s --cluster %s", node, name, node, name)
	}
	return ""
}

// tellRemains tells, once for each slot, that its end waits for somebody who is
// away.
func (d *Desk) tellRemains(s *state, now time.Time) {
	for id := range s.ending {
		in := s.instances[id]
		if in.endsSince.IsZero() {
			in.endsSince = now
		}
		if in.remainsTold || now.Sub(in.endsSince) < remainsAfter {
			continue
		}
		var why []string
		e := d.about(in.Instance)
		for _, v := range d.remains(s, in) {
			if v.Waits == "" || slices.Contains(why, v.Waits) {
				continue
			}
			why = append(why, v.Waits)
			name := s.clusters[v.Cluster].Name
			e = e.Under(events.Subject{Type: events.Cluster, ID: string(v.Cluster), Name: name})
			if v.Node != "" {
				e = e.Under(events.OfNode(v.Cluster, name, v.Node).Subject)
			}
		}
		if len(why) == 0 {
			continue
		}
		in.remainsTold = true
		d.log.Warn("the removal of an instance waits", "instance", id.String(), "reason", strings.Join(why, "; "))
		d.deps.Events.Record(e.Say(events.Warning, "RemovalWaits", "%s", strings.Join(why, "; ")))
	}
}
