package rootlink

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/model"
)

// Peer is a worker of another cluster.
type Peer = nodelink.Peer

// outbox keeps the last word about each thing until it is sent. Slices and
// interests are kept for every later root, the end of a slice until a root has
// it. The wish for a block is said once: tables has it again every 10 s (every
// 2 s while a worker waits) as long as there is no room.
type outbox struct {
	mu        sync.Mutex
	bell      chan struct{}
	on        bool
	facts     map[model.InstanceID]fleet.Facts
	orphans   *[]fleet.Orphan
	nodes     map[model.NodeID]fleet.NodeView
	removed   []model.NodeID
	aggregate *fleet.Aggregate
	notes     []*linkv1.Up
	slices    map[model.ServiceID]tables.Slice
	sliced    map[model.ServiceID]bool   // to send
	ended     map[model.ServiceID]uint64 // slices without endpoints that were sent, by the number of the heartbeat after that
	beats     uint64                     // number of the last heartbeat
	interests map[string]tables.Interest
	asked     map[string]bool // to send
	applied   map[model.ServiceID]map[model.ClusterID]uint64
	block     []netip.Prefix
	wantBlock bool
}

func newOutbox() outbox {
	return outbox{
		bell: make(chan struct{}, 1), facts: map[model.InstanceID]fleet.Facts{}, nodes: map[model.NodeID]fleet.NodeView{},
		slices: map[model.ServiceID]tables.Slice{}, sliced: map[model.ServiceID]bool{}, interests: map[string]tables.Interest{}, asked: map[string]bool{},
		ended: map[model.ServiceID]uint64{}, applied: map[model.ServiceID]map[model.ClusterID]uint64{},
	}
}

func (o *outbox) edit(fn func()) {
	o.mu.Lock()
	fn()
	o.mu.Unlock()
	select {
	case o.bell <- struct{}{}:
	default:
	}
}

func (o *outbox) disconnect() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = false
	clear(o.facts)
	clear(o.nodes)
	clear(o.applied) // who waits for it has given up by the next session
	clear(o.ended)   // the root may have missed them
	o.orphans, o.removed = nil, nil
}

// collect starts collecting before Hello says what is held: what changes from
// then on is told after the snapshot, the end of a slot, too.
func (o *outbox) collect() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = true
}

// connect says everything again that is kept for every root.
func (o *outbox) connect() {
	o.edit(func() {
		o.on = true
		for id := range o.slices {
			o.sliced[id] = true
		}
		for q := range o.interests {
			o.asked[q] = true
		}
	})
}

// beat is the number of the next heartbeat.
func (o *outbox) beat() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beats++
	return o.beats
}

// echoed says that the root has taken all that was sent before a heartbeat: it
// takes one message after the other. Slices that had ended by then are over.
func (o *outbox) echoed(beat uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, after := range o.ended {
		if after <= beat {
			delete(o.ended, id)
			delete(o.slices, id)
		}
	}
}

// summed drops sums that are no newer than those the snapshot has.
func (o *outbox) summed(number uint64) {
	o.edit(func() {
		if o.aggregate != nil && o.aggregate.Number <= number {
			o.aggregate = nil
		}
	})
}

func (o *outbox) take() []*linkv1.Up {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.on {
		return nil
	}
	var out []*linkv1.Up
	// That nothing is left unexplained is a report of its own: beside facts, no
	// orphans means that nothing is said of them.
	none := o.orphans != nil && len(*o.orphans) == 0
	if len(o.facts) > 0 || o.orphans != nil && !none {
		out = append(out, reportTo(false, o.facts, o.orphans))
		clear(o.facts)
	}
	if none {
		out = append(out, reportTo(false, nil, o.orphans))
	}
	o.orphans = nil
	if len(o.nodes)+len(o.removed) > 0 {
		out = append(out, nodesTo(false, o.nodes, o.removed))
		clear(o.nodes)
		o.removed = nil
	}
	if o.aggregate != nil {
		out = append(out, aggregateTo(*o.aggregate))
		o.aggregate = nil
	}
	for id := range o.sliced {
		out = append(out, sliceTo(o.slices[id]))
		if len(o.slices[id].Endpoints) == 0 {
			o.ended[id] = o.beats + 1
		}
	}
	clear(o.sliced)
	for q := range o.asked {
		out = append(out, interestTo(o.interests[q]))
		if o.interests[q].Remove {
			delete(o.interests, q)
		}
	}
	clear(o.asked)
	for id, versions := range o.applied {
		out = append(out, appliedTo(id, versions))
	}
	clear(o.applied)
	if o.wantBlock {
		out = append(out, &linkv1.Up{Body: &linkv1.Up_BlockRequest{BlockRequest: &linkv1.BlockRequest{Held: texts(o.block)}}})
		o.wantBlock = false
	}
	out = append(out, o.notes...)
	o.notes = nil
	return out
}

// Report tells facts of slots.
func (l *Link) Report(facts []fleet.Facts) {
	l.out.edit(func() {
		for _, f := range facts {
			if l.out.on {
				l.out.facts[f.Instance] = f
			}
		}
	})
}

// Orphans tells all containers that nothing explains.
func (l *Link) Orphans(all []fleet.Orphan) {
	l.out.edit(func() { l.out.orphans = &all })
}

// Nodes tells workers that changed, after those that were removed: one may be
// both, and then it is there again.
func (l *Link) Nodes(changed []fleet.NodeView, removed []model.NodeID) {
	l.out.edit(func() {
		for _, id := range removed {
			delete(l.out.nodes, id)
			l.out.removed = append(l.out.removed, id)
		}
		for _, n := range changed {
			l.out.nodes[n.ID] = n
			l.out.removed = slices.DeleteFunc(l.out.removed, func(id model.NodeID) bool { return id == n.ID })
		}
	})
}

// Aggregate tells the cluster's sums.
func (l *Link) Aggregate(a fleet.Aggregate) { l.out.edit(func() { l.out.aggregate = &a }) }

// Note tells something a user should be able to read; the last 256 are kept.
func (l *Link) Note(kind, subject, message string) {
	n := &linkv1.Up{Body: &linkv1.Up_Event{Event: &linkv1.EventNote{Kind: kind, Subject: subject, Message: message, UnixMs: time.Now().UnixMilli()}}}
	l.out.edit(func() { l.out.notes = append(l.out.notes[max(0, len(l.out.notes)-255):], n) })
}

// SendSlice tells this cluster's part of a table.
func (l *Link) SendSlice(s tables.Slice) {
	l.out.edit(func() {
		l.out.slices[s.Service], l.out.sliced[s.Service] = s, true
		delete(l.out.ended, s.Service)
	})
}

// SendInterest asks for a table.
func (l *Link) SendInterest(i tables.Interest) {
	l.out.edit(func() { l.out.interests[i.Query], l.out.asked[i.Query] = i, true })
}

// SendApplied tells which slices of other clusters the workers here use.
func (l *Link) SendApplied(service model.ServiceID, versions map[model.ClusterID]uint64) {
	l.out.edit(func() {
		if l.out.on {
			l.out.applied[service] = versions
		}
	})
}

// RequestBlock asks for room for more subnets.
func (l *Link) RequestBlock(held []netip.Prefix) {
	l.out.edit(func() { l.out.block, l.out.wantBlock = held, true })
}
