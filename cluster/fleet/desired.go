package fleet

import (
	"cmp"
	"slices"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

func (c *core) desired(d Desired) {
	for _, a := range d.Changed {
		c.assign(a)
	}
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

func (c *core) assign(a Assignment) {
	s := c.slots[a.Instance]
	if s != nil && a.Grant < s.Grant {
		return
	}
	if s == nil {
		s = &slot{Want: Want{DeletedAt: map[store.Old]time.Time{}}, gone: map[store.Old]int{}}
		s.Instance = a.Instance
		c.slots[a.Instance] = s
	}
	again := s.Grant != 0 && a.Grant > s.Grant
	if again {
		c.giveUp(s)
		c.fresh(s)
		s.Placement, s.LastTry, s.failures, s.Leaving, s.Left = instance.Placement{}, 0, 0, false, false
		s.Handoff, s.HandingOver = store.Old{}, false
	}
	s.Grant, s.Revision, s.Tombstone = a.Grant, a.Revision, a.Tombstone
	s.Service, s.Description, s.Address = a.Service, a.Description, a.Address
	c.byJob[a.Service.Name.String()] = a.Instance.Service
	c.change(s)
	if again && !s.Tombstone {
		c.place(s) // before anybody who waits for room: what it had is its own
	}
	c.tellService(a.Instance.Service)
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
	f := Facts{Instance: s.Instance, Grant: s.Grant, Placement: s.Placement, Observed: s.Observed, Vital: s.vital}
	if n := c.nodes[s.Placement.Node]; n != nil {
		f.Node = n.live
		if s.Observed.State != instance.Unknown && f.Vital.PublicIP == "" {
			f.Vital.PublicIP = s.publicIP
			if s.publicIP == "" && n.Address.IsValid() {
				f.Vital.PublicIP = n.Address.String()
			}
		}
	}
	return f
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
	c.published, c.roomMoved = c.now, false
	var list []NodeView
	for id := range c.changedNodes {
		if n := c.nodes[id]; n != nil {
			list = append(list, c.nodeView(n))
		}
	}
	clear(c.changedNodes)
	if len(list)+len(c.goneNodes) > 0 {
		c.f.deps.Root.Nodes(list, c.goneNodes)
		c.goneNodes = nil
	}
	if c.orphansMoved {
		c.orphansMoved = false
		c.f.deps.Root.Orphans(c.orphans())
	}
	c.f.deps.Root.Aggregate(c.aggregate())
}

func (c *core) aggregate() Aggregate {
	var a Aggregate
	var rooms []model.Resources
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
		if !n.Cordoned {
			rooms = append(rooms, offered(n).Sub(held))
		}
		a.Runtimes = append(a.Runtimes, n.Runtimes...)
		a.Architectures = append(a.Architectures, n.Architecture)
	}
	if a.ActiveNodes > 0 {
		a.CPUPercent /= float64(a.ActiveNodes)
		a.MemoryPercent /= float64(a.ActiveNodes)
	}
	slices.Sort(a.Runtimes)
	slices.Sort(a.Architectures)
	a.Runtimes, a.Architectures = slices.Compact(a.Runtimes), slices.Compact(a.Architectures)
	a.Largest = largest(rooms)
	return a
}

// largest picks the roomiest nodes by each resource, without doubles.
func largest(rooms []model.Resources) []model.Resources {
	var out []model.Resources
	for _, by := range []func(model.Resources) int64{
		func(r model.Resources) int64 { return r.MilliCPU }, func(r model.Resources) int64 { return r.MemoryMB },
		func(r model.Resources) int64 { return r.GPUs }, func(r model.Resources) int64 { return r.DiskMB },
	} {
		slices.SortFunc(rooms, func(a, b model.Resources) int { return cmp.Compare(by(b), by(a)) })
		for _, r := range rooms[:min(4, len(rooms))] {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}
