package runner

import (
	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// mostEnded bounds what is remembered of deletions; an order that comes later
// than that many others is taken for a new one.
const mostEnded = 4096

// past remembers up to which attempt of a slot was deleted. A bus may deliver
// an order late, twice or after its successor: what was deleted, or was to be
// before it came, is never started again.
type past struct {
	upTo  map[model.InstanceID]instance.Epoch
	order []model.InstanceID // oldest first
}

func (e *past) note(id model.InstanceID, upTo instance.Epoch) {
	have, known := e.upTo[id]
	if id.Service == "" || upTo.IsZero() || known && !have.Less(upTo) {
		return
	}
	if e.upTo == nil {
		e.upTo = map[model.InstanceID]instance.Epoch{}
	}
	e.upTo[id] = upTo
	if known {
		return
	}
	if e.order = append(e.order, id); len(e.order) > mostEnded {
		delete(e.upTo, e.order[0])
		e.order = e.order[1:]
	}
}

func (e *past) covers(s runtime.Spec) bool {
	a := s.Attempt()
	upTo, known := e.upTo[a.Instance]
	return known && !a.Epoch.IsZero() && !upTo.Less(a.Epoch)
}
