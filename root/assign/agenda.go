package assign

import (
	"container/heap"
	"time"

	"oakestra/pkg/core/model"
)

// agenda is when waiting slots are looked at. Every waiting slot is due or has
// an entry in late, so that a pass costs as much as there is to look at, not
// as much as waits: going through all of them at every wake took a third of a
// root to whose services instances were added.
type agenda struct {
	due  map[model.InstanceID]bool // by the next pass
	late lateSlots
}

func newAgenda() agenda { return agenda{due: map[model.InstanceID]bool{}} }

// wait enters a slot that belongs to no cluster; it is due.
func (s *state) wait(in *slot) {
	s.waiting[in.ID] = true
	s.soon(in)
}

// stopWaiting ends the waiting of a slot.
func (s *state) stopWaiting(id model.InstanceID) {
	delete(s.waiting, id)
	delete(s.due, id) // what it has in late means nothing any more
}

// soon makes a waiting slot due.
func (s *state) soon(in *slot) {
	in.retryAt = time.Time{}
	s.due[in.ID] = true
}

// later puts off a waiting slot; nothing for one that does not wait.
func (s *state) later(in *slot, at time.Time) {
	if !s.waiting[in.ID] {
		return
	}
	in.retryAt = at
	delete(s.due, in.ID)
	heap.Push(&s.late, lateSlot{at, in.ID})
}

// wakeLate makes the slots due whose time has come.
func (s *state) wakeLate(now time.Time) {
	for len(s.late) > 0 && !now.Before(s.late[0].at) {
		v := heap.Pop(&s.late).(lateSlot)
		// The time of a slot may have changed since the entry was made.
		if in := s.instances[v.id]; s.waiting[v.id] && in.retryAt.Equal(v.at) {
			s.soon(in)
		}
	}
}

type lateSlot struct {
	at time.Time
	id model.InstanceID
}

// lateSlots is a heap, the earliest first.
type lateSlots []lateSlot

func (l lateSlots) Len() int           { return len(l) }
func (l lateSlots) Less(i, j int) bool { return l[i].at.Before(l[j].at) }
func (l lateSlots) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *lateSlots) Push(v any)        { *l = append(*l, v.(lateSlot)) }
func (l *lateSlots) Pop() any {
	last := len(*l) - 1
	v := (*l)[last]
	*l = (*l)[:last]
	return v
}
