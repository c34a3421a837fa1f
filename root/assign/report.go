package assign

import (
	"context"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/clusters"
)

// Reported looks at what a cluster said of slots, and waits until it was
// looked at: a cluster that floods is slowed by this.
func (d *Desk) Reported(from model.ClusterID, facts []clusters.Facts) {
	done := make(chan struct{})
	select {
	case d.calls <- func(s *state) {
		defer close(done)
		w := &work{}
		for _, f := range facts {
			if in, known := s.instances[f.Instance]; known {
				d.judge(s, from, in, f, w)
			} // else it is listed as unknown and left running
		}
		// Not the context of a stream: what is decided here outlives it.
		d.commit(context.Background(), s, w)
	}:
		<-done
	case <-d.loop:
	}
}

// recheck looks at everything reported again: in recovery little of it could
// be acted upon.
func (d *Desk) recheck(s *state, w *work) {
	for id, in := range s.instances {
		for from, f := range d.deps.Book.Reports(id) {
			d.judge(s, from, in, f, w)
		}
	}
}

// judge decides what follows from one report.
func (d *Desk) judge(s *state, from model.ClusterID, in *slot, f clusters.Facts, w *work) {
	switch {
	case in.Cluster != from || f.Grant != in.Grant:
		d.superseded(s, from, in, f, w)
	case f.Gone && in.Tombstone:
		in.gone = true
		s.held[from] = slices.DeleteFunc(s.held[from], func(h clusters.Held) bool { return h.Instance == in.ID })
		if in.over() {
			w.finished = append(w.finished, in)
		}
	case in.Tombstone || f.Gone || s.recovery:
	case f.Placement.Verdict == instance.Placed:
		d.placed(s, from, in, f, w)
	case f.Placement.Verdict == instance.Refused:
		// It has booked nothing, so nothing is reserved there either.
		s.index.Release(in.ID.String())
		d.refuses(in, from, f.Placement.Reasons)
		s.refusing[in.ID] = true
		d.elsewhere(s, in, w)
	}
}

func (d *Desk) placed(s *state, from model.ClusterID, in *slot, f clusters.Facts, w *work) {
	d.setRefused(in, nil)
	delete(s.refusing, in.ID)
	if _, reserved := s.index.Reserved(in.ID.String()); reserved {
		s.settles(from, in.ID, d.now(), f.Counted)
	}
	if hasRun(f, in.Grant) {
		for c, old := range d.deps.Book.Reports(in.ID) {
			if c != in.Cluster {
				d.superseded(s, c, in, old, w)
			}
		}
	}
}

// settles ends the reservation of a placement, at once or with the aggregate
// that counts it.
func (s *state) settles(from model.ClusterID, id model.InstanceID, now time.Time, number uint64) {
	if s.settle[from] == nil {
		s.settle[from] = map[model.InstanceID]settling{}
	}
	v, noted := s.settle[from][id]
	if !noted {
		v.placed = now
	}
	v.number = number
	if number != 0 && v.counted(s.rooms[from]) {
		s.settled(from, id)
		return
	}
	s.settle[from][id] = v
}

// settled ends the reservation of a placement, unless the slot has one
// elsewhere by now.
func (s *state) settled(from model.ClusterID, id model.InstanceID) {
	if at, _ := s.index.Reserved(id.String()); at == string(from) {
		s.index.Release(id.String())
	}
	delete(s.settle[from], id)
}

// superseded handles a report under an older grant, or of a cluster the slot
// has left: it is stopped once its successor runs, or if it never ran.
func (d *Desk) superseded(s *state, from model.ClusterID, in *slot, f clusters.Facts, w *work) {
	if f.Grant >= in.Grant || from == in.Cluster {
		return // the cluster itself drops what it held under a lower grant
	}
	if f.Gone {
		if f.Grant < in.former[from] {
			return // of what was there before that
		}
		if delete(in.former, from); in.Tombstone && in.over() {
			w.finished = append(w.finished, in)
		}
		return
	}
	in.heldBy(from, f.Grant)
	if s.recovery {
		return
	}
	if hasRun(d.deps.Book.Reports(in.ID)[in.Cluster], in.Grant) || !serves(f) || in.Tombstone {
		w.order(from, tombstone(in.Instance, f.Grant))
	}
}
