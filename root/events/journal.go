package events

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"oakestra/pkg/errs"
)

// Bounds of what is kept. Full, a Journal takes some 12 MiB.
const (
	Most        = 8192             // events in all
	MostOwn     = 64               // about one subject itself
	MostListed  = 512              // under one subject, those of its parts included
	mergeWithin = 10 * time.Minute // a repeat that comes later is an event of its own
	mostWaiting = 256              // events that wait for one subscriber
	mostReaders = 256              // subscribers
	maxText     = 1024             // bytes of a message
)

// Journal keeps the last events. All methods may be called from any goroutine.
type Journal struct {
	now func() time.Time

	mu      sync.Mutex
	start   uint64
	begun   bool
	seq     uint64
	dropped uint64     // greatest Seq that was dropped for want of room
	all     *list.List // of *kept, by id
	bySubj  map[ref]*list.List
	latest  map[repeat]*kept
	readers map[*Subscription]bool
	stats   Stats
}

// Stats counts, for metrics.
type Stats struct {
	Recorded, Merged, Cut uint64
	Kept, Readers         int
}

// repeat is what makes two events the same.
type repeat struct {
	ref
	kind            Kind
	reason, message string
}

// kept is an event with its places.
type kept struct {
	Event
	places map[*list.List]*list.Element
	refs   []ref
}

// NewJournal is empty. now may be nil.
func NewJournal(now func() time.Time) *Journal {
	if now == nil {
		now = time.Now
	}
	return &Journal{now: now, all: list.New(), bySubj: map[ref]*list.List{}, latest: map[repeat]*kept{}, readers: map[*Subscription]bool{}}
}

var _ Recorder = (*Journal)(nil)

// Begin sets the start that ids carry from now on. What was recorded before
// gets ids of this start as well.
func (j *Journal) Begin(start uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.start, j.begun = start, true
	for el := j.all.Front(); el != nil; el = el.Next() {
		k := el.Value.(*kept)
		k.ID.Start = start
		j.publish(k.Event)
	}
}

// Record takes an event. One that repeats the last of its subject, word and
// message within ten minutes is counted there, under a new id.
func (j *Journal) Record(e Event) {
	if len(e.Message) > maxText {
		e.Message = strings.ToValidUTF8(e.Message[:maxText], "")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now().UTC()
	j.seq++
	j.stats.Recorded++
	e.ID, e.First, e.Last, e.Count = ID{j.start, j.seq}, now, now, 1
	r := repeat{ref{e.Subject.Type, e.Subject.ID}, e.Kind, e.Reason, e.Message}
	if was := j.latest[r]; was != nil {
		if now.Sub(was.Last) < mergeWithin {
			e.First, e.Count = was.First, was.Count+1
			j.stats.Merged++
			j.remove(was)
		}
	}
	k := &kept{Event: e, places: map[*list.List]*list.Element{}, refs: e.refs()}
	j.latest[r] = k
	j.insert(k)
	if j.begun {
		j.publish(e)
	}
}

// insert files an event and drops what is too much.
func (j *Journal) insert(k *kept) {
	k.places[j.all] = j.all.PushBack(k)
	for i, r := range k.refs {
		l := j.bySubj[r]
		if l == nil {
			l = list.New()
			j.bySubj[r] = l
		}
		k.places[l] = l.PushBack(k)
		if i == 0 {
			j.trimOwn(l, r)
		}
		if l.Len() > MostListed {
			j.unlist(l.Front().Value.(*kept), l, r)
		}
	}
	if j.all.Len() > Most {
		j.drop(j.all.Front().Value.(*kept))
	}
}

// trimOwn drops the oldest event about a subject itself when there are too
// many: one that is noisy does not push out the others.
func (j *Journal) trimOwn(l *list.List, r ref) {
	own := 0
	var oldest *kept
	for el := l.Back(); el != nil; el = el.Prev() {
		if k := el.Value.(*kept); k.refs[0] == r {
			own++
			oldest = k
		}
	}
	if own > MostOwn {
		j.drop(oldest)
	}
}

// unlist takes an event from the list of one subject.
func (j *Journal) unlist(k *kept, l *list.List, r ref) {
	l.Remove(k.places[l])
	delete(k.places, l)
	if l.Len() == 0 {
		delete(j.bySubj, r)
	}
}

// drop removes an event for good.
func (j *Journal) drop(k *kept) {
	j.dropped = max(j.dropped, k.ID.Seq)
	j.remove(k)
}

func (j *Journal) remove(k *kept) {
	j.all.Remove(k.places[j.all])
	for _, r := range k.refs {
		if l := j.bySubj[r]; l != nil && k.places[l] != nil {
			j.unlist(k, l, r)
		}
	}
	rep := repeat{k.refs[0], k.Kind, k.Reason, k.Message}
	if j.latest[rep] == k {
		delete(j.latest, rep)
	}
}

// List returns what is kept about a subject and its parts, oldest first.
func (j *Journal) List(t Type, id string) []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.bySubj[ref{t, id}]
	if l == nil {
		return nil
	}
	out := make([]Event, 0, l.Len())
	for el := l.Front(); el != nil; el = el.Next() {
		out = append(out, el.Value.(*kept).Event)
	}
	return out
}

// Stats counts what happened so far.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Kept, s.Readers = j.all.Len(), len(j.readers)
	return s
}

// Subscription is one reader. Read Missed and Backlog first, then C until it
// is closed; Slow says why.
type Subscription struct {
	// C carries events after Backlog. It is closed by Close, or when the
	// reader was too slow.
	C <-chan Event
	// Backlog is what is kept and came after the id asked for.
	Backlog []Event
	// Missed says that events after the id asked for are no longer kept.
	Missed bool

	c    chan Event
	keep func(Event) bool
	j    *Journal
	slow bool // guarded by j.mu
}

// Subscribe starts a reader after an id; the zero ID starts with everything
// kept, nil with what comes next. keep says what the reader may and wants to
// see; it must be quick and must not call the Journal. Error: Unavailable when
// there are too many readers.
func (j *Journal) Subscribe(after *ID, keep func(Event) bool) (*Subscription, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.readers) >= mostReaders {
		return nil, errs.Unavailable
	}
	c := make(chan Event, mostWaiting)
	s := &Subscription{C: c, c: c, keep: keep, j: j}
	if after != nil {
		s.Missed = j.missed(*after)
		for el := j.all.Back(); el != nil; el = el.Prev() {
			e := el.Value.(*kept).Event
			if !after.Less(e.ID) {
				break
			}
			if keep(e) {
				s.Backlog = append(s.Backlog, e)
			}
		}
		slices.Reverse(s.Backlog)
	}
	j.readers[s] = true
	return s, nil
}

// missed says that something after an id was dropped, or that the id belongs
// to another start of the root.
func (j *Journal) missed(after ID) bool {
	return after != (ID{}) && (after.Start != j.start || after.Seq < j.dropped)
}

// publish hands an event to readers; who does not keep up is cut.
func (j *Journal) publish(e Event) {
	for s := range j.readers {
		if !s.keep(e) {
			continue
		}
		select {
		case s.c <- e:
		default:
			s.slow = true
			j.stats.Cut++
			delete(j.readers, s)
			close(s.c)
		}
	}
}

// Slow says that the reader was cut because it did not keep up.
func (s *Subscription) Slow() bool {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	return s.slow
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	if s.j.readers[s] {
		delete(s.j.readers, s)
		close(s.c)
	}
}
