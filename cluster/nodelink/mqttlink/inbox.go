package mqttlink

import (
	"sync"

	"oakestra/api/mqtt"
	"oakestra/pkg/core/model"
)

// raw is a message as it came.
type raw struct {
	node    model.NodeID
	suffix  string
	payload []byte
}

// inbox takes what the broker delivers and never waits: the one goroutine that
// reads from an outside broker must not. When the fleet is slower than the
// workers a periodic report replaces the one of the same worker that still
// waits, so everybody is heard, late, instead of some not at all. It never
// passes another message of its worker.
type inbox struct {
	mu    sync.Mutex
	items []raw
	last  map[place]int // of items, the report that may be replaced
	bell  chan struct{}
	freed chan struct{} // closed when there is room again, nil when nobody waits
	limit int
}

type place struct {
	node   model.NodeID
	suffix string
}

func newInbox(limit int) *inbox {
	return &inbox{last: map[place]int{}, bell: make(chan struct{}, 1), limit: limit}
}

// periodic says whether a later message of the kind makes an earlier one
// worthless. Lists of original agents do not: they send one per runtime.
func periodic(suffix string) bool { return suffix == mqtt.UpInformation }

// put says whether there was room.
func (i *inbox) put(m raw) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	k := place{m.node, m.suffix}
	if periodic(m.suffix) {
		if at, ok := i.last[k]; ok {
			i.items[at] = m
			return true
		}
		i.last[k] = len(i.items)
	} else if m.suffix != mqtt.UpResources { // of original agents, whose reports are in two parts
		delete(i.last, place{m.node, mqtt.UpInformation})
	}
	if len(i.items) >= i.limit {
		delete(i.last, k)
		return false
	}
	i.items = append(i.items, m)
	select {
	case i.bell <- struct{}{}:
	default:
	}
	return true
}

// room is closed when there may be room.
func (i *inbox) room() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.freed == nil {
		i.freed = make(chan struct{})
	}
	free := i.freed
	if len(i.items) < i.limit { // meanwhile
		close(i.freed)
		i.freed = nil
	}
	return free
}

// take hands over everything. spare is used for what comes next.
func (i *inbox) take(spare []raw) []raw {
	i.mu.Lock()
	defer i.mu.Unlock()
	items := i.items
	i.items = spare[:0]
	if i.freed != nil {
		close(i.freed)
		i.freed = nil
	}
	if len(i.last) > 256 { // clearing one that was large once costs as much each time
		i.last = map[place]int{}
	}
	clear(i.last)
	return items
}
