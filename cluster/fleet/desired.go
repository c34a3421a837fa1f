package fleet

import (
	"cmp"
	"maps"
	"slices"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func (c *core) desired(d Desired) {
	for _, a := range d.Changed {
		c.assign(a, d.Snapshot && c.blank)
	}
	c.blank = c.blank && !d.Snapshot
	if d.Snapshot && !c.synced {
		c.synced = true
		for k := range c.slots {
			c.look[k] = true
		}
	}
	if len(d.Unknown) > 0 {
		c.f.log.Warn("the root does not know slots that are held here; they keep running", "slots", d.Unknown)
	}
	if d.Revision != c.revision {
		c.revision, c.newRevision = d.Revision, true
	}
}

func (c *core) assign(a Assignment, recovers bool) {
	s := c.slots[a.Instance]
	if s != nil && a.Grant < s.Grant {
		return
	}
	if s == nil {
		s = newSlot()
		s.Instance = a.Instance
		c.slots[a.Instance] = s
		c.where.add(s)
	} else {
		recovers = false
	}
	again := s.Grant != 0 && a.Grant > s.Grant
	if again {
		c.regrant(s, a.Tombstone)
	}
	s.Grant, s.Revision, s.Tombstone = a.Grant, a.Revision, a.Tombstone
	// An original agent knows the container by its name and nothing else.
	if !nameless(a) || s.Service.ID == "" {
		s.Service, s.Description, s.Address = a.Service, a.Description, a.Address
	}
	c.where.called(a.Instance.Service, a.Service.Name)
	c.change(s)
	if recovers {
		c.recovers(s)
	}
	if again && !s.Tombstone {
		c.place(s) // before anybody who waits for room: what it had is its own
	}
	c.where.services[a.Instance.Service] = true
}

// regrant begins anew with a slot that has got a higher grant. What runs goes
// on until its successor runs here and has its place in the tables; one that
// is to end, or did not run, has nothing to hand over.
func (c *core) regrant(s *slot, ends bool) {
	old, runs := store.Old{Epoch: s.Started(), Node: s.Placement.Node}, s.Placement.Verdict == instance.Placed && s.Observed.State == instance.Running
	c.giveUp(s)
	c.fresh(s)
	s.Placement, s.LastTry, s.failures, s.Leaving, s.Left = instance.Placement{}, 0, 0, false, false
	switch {
	case ends:
		s.Handoff, s.HandingOver = store.Old{}, false
	case runs: // else what is handed over still serves
		s.Handoff, s.HandingOver = old, false
	}
}

func (c *core) blocksGranted(g Grants) {
	if !slices.Equal(g, c.blocks) {
		c.blocks, c.newBlocks = slices.Clone(g), true
	}
	c.f.deps.Network.Blocks(c.blocks)
}

func (c *core) facts(s *slot) Facts {
	if f, ok := c.handoffFacts(s); ok {
		return f
	}
	f := Facts{Instance: s.Instance, Grant: s.Grant, Placement: s.Placement, Observed: s.Observed, Vital: s.vital, Counted: c.aggregates + 1}
	if n := c.nodes[s.Placement.Node]; n != nil {
		f.Node = n.live
		if s.Observed.State != instance.Unknown && f.Vital.PublicIP == "" {
			f.Vital.PublicIP = s.publicIP
			if s.publicIP == "" && n.Address.IsValid() {
				f.Vital.PublicIP = n.Address.String()
			}
		}
	}
	if s.Placement.Verdict != instance.Placed {
		f.Observed = c.before(s)
	}
	if s.Tombstone {
		f.LeftOn = s.left()
	}
	return f
}

// left lists the workers that may hold an attempt of a slot.
func (s *slot) left() []model.NodeID {
	var out []model.NodeID
	if s.Placement.Verdict == instance.Placed {
		out = append(out, s.Placement.Node)
	}
	for _, o := range s.Old {
		out = append(out, o.Node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// before is the newest attempt under an older grant that goes on while nothing
// is placed under the present one.
func (c *core) before(s *slot) (o instance.Observed) {
	for _, old := range s.Old {
		n := c.nodes[old.Node]
		if n == nil || n.live == instance.Lost || s.Tombstone {
			continue
		}
		for _, v := range n.seen[s.Instance] {
			if v.Epoch == old.Epoch && v.State == instance.Running && o.Epoch.Less(v.Epoch) {
				o = instance.Observed{Epoch: v.Epoch, State: v.State}
			}
		}
	}
	return o
}

func (c *core) nodeView(n *node) NodeView {
	v := NodeView{Node: n.Node.Node, Reserved: c.index.Load(string(n.ID)), Usage: n.usage, Liveness: n.live, LastSeen: later(n.Engine, n.Net), Version: n.Version, Draining: n.Draining}
	v.Subnet, v.Dataplane = n.subnet, n.dataplane
	return v
}

func (c *core) snapshot() Snapshot {
	s := Snapshot{Orphans: c.orphans()}
	for _, v := range c.slots {
		s.Facts = append(s.Facts, c.facts(v))
	}
	for _, n := range c.nodes {
		s.Nodes = append(s.Nodes, c.nodeView(n))
	}
	slices.SortFunc(s.Facts, func(a, b Facts) int {
		return cmp.Or(cmp.Compare(a.Instance.Service, b.Instance.Service), cmp.Compare(a.Instance.Number, b.Instance.Number))
	})
	slices.SortFunc(s.Nodes, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	c.aggregates++ // which the facts above say that it counts them
	s.Sums = c.aggregate()
	return s
}

func (c *core) orphans() []Orphan {
	var out []Orphan
	for _, n := range c.nodes {
		out = append(out, n.orphans...)
	}
	return out
}

func (c *core) holdings() Holdings {
	h := Holdings{Blocks: slices.Clone(c.blocks)}
	for _, s := range c.slots {
		h.Slots = append(h.Slots, s.Slot)
	}
	return h
}

// publish tells the root the sums, and nodes that changed.
func (c *core) publish() {
	c.nodesMoved = false
	for id := range c.changedNodes {
		if n := c.nodes[id]; n != nil && !n.queued {
			n.queued = true
			c.queue = append(c.queue, id)
		}
	}
	clear(c.changedNodes)
	c.tellNodes()
	if c.orphansMoved {
		c.orphansMoved = false
		c.f.deps.Root.Orphans(c.orphans())
	}
	c.tellSums()
}

// tellSums tells the root what the cluster could take.
func (c *core) tellSums() {
	c.published, c.roomMoved = c.now, false
	c.aggregates++
	c.f.deps.Root.Aggregate(c.aggregate())
}

// tellNodes tells the root of the workers in the queue, of a large site a part
// with each tick: all 10 000 at once are 30 MiB for a moment, which stay.
func (c *core) tellNodes() {
	part := c.queue[:min(len(c.queue), max(atOnce, len(c.nodes)/16))]
	list := make([]NodeView, 0, len(part))
	for _, id := range part {
		delete(c.changedNodes, id)
		if n := c.nodes[id]; n != nil {
			n.queued = false
			list = append(list, c.nodeView(n))
		}
	}
	if c.queue = c.queue[len(part):]; len(c.queue) == 0 {
		c.queue = nil
	}
	if len(list)+len(c.goneNodes) > 0 {
		c.f.deps.Root.Nodes(list, c.goneNodes)
		c.goneNodes = nil
	}
}

// atOnce is how many workers the root is told of in one go.
const atOnce = 512

// mostRooms keeps an aggregate within 1 KiB.
const mostRooms = 48

// aggregate adds up all workers, each time anew: a few hundred microseconds per
// 10 000 workers each 5 s, and sums that cannot drift.
func (c *core) aggregate() Aggregate {
	a := Aggregate{Number: c.aggregates, PausedUntil: c.brakeUntil}
	runtimes, architectures := map[string]bool{}, map[string]bool{}
	for _, n := range c.nodes {
		if n.live != instance.Alive && n.live != instance.Suspect {
			continue
		}
		held := c.index.Load(string(n.ID))
		a.ActiveNodes++
		a.Capacity, a.Reserved = a.Capacity.Add(offered(n)), a.Reserved.Add(held)
		a.CPUPercent += n.usage.CPUPercent
		a.MemoryPercent += n.usage.MemoryPercent
		if n.Network {
			a.NetworkNodes++
		}
		for _, r := range n.Runtimes {
			runtimes[r] = true
		}
		architectures[n.Architecture] = true
	}
	if a.ActiveNodes > 0 {
		a.CPUPercent /= float64(a.ActiveNodes)
		a.MemoryPercent /= float64(a.ActiveNodes)
	}
	a.Runtimes, a.Architectures = slices.Sorted(maps.Keys(runtimes)), slices.Sorted(maps.Keys(architectures))
	a.Rooms, a.Partial = c.index.Rooms(mostRooms)
	return a
}
