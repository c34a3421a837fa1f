package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// Grants is the list of blocks the root has leased.
type Grants = []netip.Prefix

type node struct {
	store.Node
	witness
	live       instance.Liveness
	judgeAt    time.Time
	entryAt    time.Time // of its first entry in the agenda, zero: none
	boot       string
	bootAt     time.Time // when this start of the agent was heard last
	asked      []*rival  // who waits to hear it
	reports    uint64    // sequence of the last one of this boot
	usage      model.Usage
	completeAt time.Time
	doubts     int // reports of what it holds that prove nothing yet, see doubted
	seen       map[model.InstanceID][]Seen
	orphans    []Orphan
	told       []ending          // what it was told of Ending since our start
	lists      map[string]listed // of an original agent with several runtimes
	subnet     netip.Prefix
	dataplane  model.Dataplane
	empty      bool // its drain was reported as done
	queued     bool // in core.queue
}

type slot struct {
	Want
	vital    instance.Vital
	failures int
	running  time.Time // since when the attempt runs
	avoid    []string
	failed   []failure                    // workers that could not start it, the last one at the end
	again    time.Time                    // all that qualify failed: when they may be tried again
	rounds   int                          // how often that was so
	gone     map[store.Old]int            // reports without it since its Delete
	over     map[store.Old]instance.State // how those of Old ended that are known to have
	reported bool                         // a report has held the attempt
	served   instance.Vital               // of what Handoff names
	workers  []model.NodeID               // as where.slots has it
	stuck    string                       // why a drain cannot move it
	publicIP string                       // as its agent says
}

func newSlot() *slot {
	return &slot{Want: Want{DeletedAt: map[store.Old]time.Time{}}, gone: map[store.Old]int{}, over: map[store.Old]instance.State{}}
}

// forget drops what was noted of an attempt that leaves Old.
func (s *slot) forget(o store.Old) {
	delete(s.gone, o)
	delete(s.DeletedAt, o)
	delete(s.over, o)
	s.pullEnded(o)
}

type core struct {
	f            *Fleet
	ctx          context.Context
	now          time.Time
	nodes        map[model.NodeID]*node
	slots        map[model.InstanceID]*slot
	where        where
	agenda       agenda
	index        *placement.Index
	blocks       []netip.Prefix
	revision     uint64
	synced       bool
	started      time.Time
	called       bool                      // callRoll has nothing to do any more
	heard        time.Time                 // a worker, last
	lonely       bool                      // nobody was heard since we were alone
	blank        bool                      // the book held nothing at the start, or not yet all that the root says first
	deaf         bool                      // the broker is gone: nobody can be heard
	look         map[model.InstanceID]bool // plan again now
	timers       map[model.InstanceID]time.Time
	losses       []loss
	dead         int // workers that are lost
	brakeUntil   time.Time
	dirty        map[model.InstanceID]bool // to store
	tell         map[model.InstanceID]bool // to report
	dirtyNodes   map[model.NodeID]bool
	dropNodes    []model.NodeID
	goneNodes    []model.NodeID // to report
	publishSoon  bool
	nodesMoved   bool      // a worker can take something now, or no more
	roomMoved    bool      // something was placed, or has left
	published    time.Time // the sums, last
	aggregates   uint64    // number of the last one; starts with the time, so that it grows over restarts
	changedNodes map[model.NodeID]bool
	queue        []model.NodeID // of changedNodes, to tell the root of now, part by part
	drops        []model.InstanceID
	goneFacts    []Facts
	vitals       map[model.InstanceID]bool // to report with the next tick
	allowMoved   bool
	newBlocks    bool
	newRevision  bool
	orphansMoved bool
	after        []func() // once stored
	leaves       sync.WaitGroup
	messages     [4]uint64 // of known workers, by kind
}

func newCore(ctx context.Context, f *Fleet, s store.State) *core {
	c := &core{
		f: f, ctx: ctx, now: time.Now(), blank: len(s.Slots)+len(s.Nodes) == 0, nodes: map[model.NodeID]*node{}, slots: map[model.InstanceID]*slot{},
		index: placement.NewIndex(), blocks: s.Blocks, revision: s.Revision, look: map[model.InstanceID]bool{}, timers: map[model.InstanceID]time.Time{},
		aggregates: uint64(time.Now().UnixMilli()) << 16,
		dirty:      map[model.InstanceID]bool{}, tell: map[model.InstanceID]bool{}, dirtyNodes: map[model.NodeID]bool{}, changedNodes: map[model.NodeID]bool{},
		where: newWhere(), vitals: map[model.InstanceID]bool{},
	}
	c.started, c.heard = c.now, c.now
	for _, n := range s.Nodes {
		v := &node{Node: n, witness: witness{Base: c.now, Networked: n.Network}}
		c.nodes[n.ID] = v
		v.judgeAt = c.now
		c.await(v)
		c.where.joins(v)
		c.hears(v)
		c.tellNode(v)
	}
	c.forgive(c.now.Add(returnWithin))
	c.allow()
	for i := range s.Slots {
		v := &s.Slots[i]
		c.where.share(v)
		sl := newSlot()
		sl.Slot, sl.Loaded, sl.Since = *v, true, c.now
		c.slots[v.Instance] = sl
		c.where.called(v.Instance.Service, v.Service.Name)
		if sl.Observed = v.Ended; v.Placement.Verdict == instance.Placed && v.Ended.State != instance.Completed {
			c.index.Reserve(v.Instance.String(), string(v.Placement.Node), request(sl))
		}
		c.where.add(sl)
		c.look[v.Instance] = true
		c.where.services[v.Instance.Service] = true
		if v.Recovering {
			c.blank = true // the root may have got no further with what it says first
			c.recovers(sl)
		}
	}
	c.tellServices()
	if len(c.blocks) > 0 {
		f.deps.Network.Blocks(c.blocks)
	}
	return c
}

func request(s *slot) placement.Request {
	spec := s.Service.Spec
	only, restricted := placement.OnlyNodes(spec.Constraints)
	var failed []string
	for _, f := range s.failed {
		failed = append(failed, string(f.node))
	}
	return placement.Request{
		Service: s.Instance.Service, Demand: spec.Demand, Runtime: spec.Runtime, Architectures: spec.Arch,
		Network: spec.NeedsNetwork(s.Service.Chosen), Ports: spec.Ports, Only: only, Restricted: restricted, Avoid: s.avoid, Exclude: failed,
	}
}

func (c *core) afterCommit(f func()) { c.after = append(c.after, f) }

func (c *core) send(id model.NodeID, m nodelink.Outbound) {
	c.afterCommit(func() {
		if err := c.f.deps.Link.Send(c.ctx, id, m); err != nil {
			c.f.log.Debug("message not queued", "node", id, "error", err) // sent again by the plan
		}
	})
}

func probe() nodelink.Outbound { return nodelink.Outbound{Probe: &nodelink.Probe{}} }

func (c *core) change(s *slot) {
	c.dirty[s.Instance], c.tell[s.Instance], c.look[s.Instance] = true, true, true
	c.where.move(s)
}

// nodeSlots looks again at everything that a node holds or should hold.
func (c *core) nodeSlots(id model.NodeID) {
	for k, s := range c.where.slots[id] {
		c.look[k] = true
		if s.Placement.Node == id && s.Placement.Verdict == instance.Placed {
			c.tell[k] = true
		}
	}
}

// wakeRefused places again what found no room, soon.
func (c *core) wakeRefused() {
	for k := range c.where.refused {
		s := c.slots[k]
		if s == nil || s.Placement.Verdict != instance.Refused {
			delete(c.where.refused, k)
			continue
		}
		if s.RetryAt.After(c.now) {
			s.RetryAt = c.now
			c.look[k] = true
		}
	}
}

func (c *core) tick() {
	for k := range c.vitals {
		c.tell[k] = true
	}
	clear(c.vitals)
	switch waited := c.now.Sub(c.published) >= time.Second; {
	case c.nodesMoved && waited:
		c.publish() // what waits at the root need not wait for the next report
	case c.roomMoved && waited:
		c.tellSums()
	case len(c.queue) > 0:
		c.tellNodes()
	}
	if c.deaf {
		c.forgive(c.now)
	}
	if c.alone() {
		c.lonely, c.brakeUntil = true, later(c.brakeUntil, c.now.Add(returnWithin))
	}
	c.callRoll()
	c.judgeDue()
	if !c.brakeUntil.IsZero() && !c.now.Before(c.brakeUntil) {
		c.release("the pause is over")
	}
	for k, t := range c.timers {
		if !t.After(c.now) {
			delete(c.timers, k)
			c.look[k] = true
		}
	}
}

// settle plans what changed until nothing moves, stores it, then tells.
func (c *core) settle(ctx context.Context) error {
	for round := 0; len(c.look) > 0 && round < 5; round++ {
		todo := c.look
		c.look = map[model.InstanceID]bool{}
		for k := range todo {
			if s := c.slots[k]; s != nil {
				c.plan(s)
			}
		}
	}
	b := store.Batch{DropSlots: c.drops, DropNodes: c.dropNodes}
	for k := range c.dirty {
		if s := c.slots[k]; s != nil {
			b.Slots = append(b.Slots, s.Slot)
		}
	}
	for id := range c.dirtyNodes {
		if n := c.nodes[id]; n != nil {
			b.Nodes = append(b.Nodes, n.Node)
		}
	}
	if c.newBlocks {
		b.Blocks = &c.blocks
	}
	if c.newRevision {
		b.Revision = &c.revision
	}
	if !b.Empty() {
		if err := c.f.deps.Book.Commit(ctx, b); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return fmt.Errorf("write the cluster's book: %w", err)
		}
	}
	clear(c.dirty)
	clear(c.dirtyNodes)
	c.drops, c.dropNodes, c.newBlocks, c.newRevision = nil, nil, false, false
	c.announce()
	return nil
}

func (c *core) announce() {
	if c.allowMoved {
		c.allowMoved = false
		c.allow()
	}
	c.tellServices()
	facts := c.goneFacts
	for k := range c.tell {
		if s := c.slots[k]; s != nil {
			facts = append(facts, c.facts(s))
		}
	}
	c.goneFacts = nil
	clear(c.tell)
	if len(facts) > 0 {
		c.f.deps.Root.Report(facts)
	}
	if c.publishSoon {
		c.publishSoon = false
		c.publish()
	}
	after := c.after
	c.after = nil
	for _, f := range after {
		f()
	}
}
