package fleet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
)

// Register gives a worker its id, the same as long as it keeps its key (an
// original: its machine, address and host name). It returns when the book holds
// it. Where another start of the agent was heard a moment ago that takes up to
// 2 s, see rival. Errors: errs.Invalid without a host name, errs.Conflict for a
// key that somebody else is using right now, errs.Unavailable when stopping.
func (f *Fleet) Register(ctx context.Context, r Registration) (model.NodeID, error) {
	if r.Host == "" {
		return "", errs.Problems{{Path: "host", Message: "must not be empty"}}
	}
	var silent *rival
	for {
		a, err := f.admit(ctx, r, silent)
		if err != nil || a.rival == nil {
			return a.id, cmp.Or(err, a.err)
		}
		silent = a.rival
		if err := silent.wait(ctx); err != nil {
			return "", fmt.Errorf("register %s: %w", r.Host, err)
		}
	}
}

// admission answers a registration; with a rival it is to come again.
type admission struct {
	id    model.NodeID
	err   error
	rival *rival
}

func (f *Fleet) admit(ctx context.Context, r Registration, silent *rival) (admission, error) {
	done := make(chan admission, 1)
	err := f.do(ctx, func(c *core) {
		var a admission
		if a.rival = c.rival(r, silent); a.rival == nil {
			a.id, a.err = c.register(r)
		}
		c.afterCommit(func() { done <- a })
	})
	if err != nil {
		return admission{}, err
	}
	select {
	case a := <-done:
		return a, nil
	case <-ctx.Done():
		return admission{}, fmt.Errorf("register %s: %w: %w", r.Host, ctx.Err(), errs.Unavailable)
	}
}

// chooseID finds the record that a registration continues, or a new id. A
// record whose agent speaks is never taken over from another address: of two
// copies of one disk the second is told so, and of two original agents with one
// host name the second gets another id.
func (c *core) chooseID(r Registration) (model.NodeID, error) {
	if r.Key == "" {
		if id := c.originalID(r); id != "" {
			return id, nil
		}
		return c.freeID(r.Host), nil
	}
	for _, id := range c.where.hosts[r.Host] {
		n := c.nodes[id]
		if n.Key != r.Key {
			continue
		}
		if n.Address != r.Address && n.boot != "" && n.boot != r.Boot && c.speaks(n) {
			return "", fmt.Errorf("the key of worker %s is in use at %s; a copy of its disk must join as a new worker: %w", id, n.Address, errs.Conflict)
		}
		return id, nil
	}
	return c.freeID(r.Host), nil
}

// speaks says that a NodeEngine was heard, or that its silence proves nothing.
func (c *core) speaks(n *node) bool {
	return c.now.Before(later(n.Engine, n.Base).Add(c.f.cfg.LostAfter))
}

// originalID finds the record of an original agent. Two machines behind one
// address that call themselves the same in everything are one.
func (c *core) originalID(r Registration) (best model.NodeID) {
	last := 5
	for _, id := range c.where.hosts[r.Host] {
		n := c.nodes[id]
		if n.Key != "" {
			continue
		}
		v := likeness(n.Node, r, c.speaks(n))
		if v < last || v == last && best != "" && (len(id) < len(best) || len(id) == len(best) && id < best) {
			best, last = id, v
		}
	}
	return best
}

// likeness ranks records for an original agent, the likeliest first; 5 is not
// this one. The id of a machine may change with a reboot, its address too.
func likeness(n store.Node, r Registration, speaks bool) int {
	same := n.Machine != "" && n.Machine == r.Machine
	other := n.Machine != "" && r.Machine != "" && !same
	at := n.Address == r.Address
	switch {
	case same && at:
		return 0
	case at && !other:
		return 2
	case speaks:
		return 5
	case same:
		return 1
	case !other:
		return 3
	case at:
		return 4
	}
	return 5
}

func (c *core) freeID(host string) model.NodeID {
	id := model.NodeID(host)
	for i := 2; c.nodes[id] != nil; i++ {
		id = model.NodeID(fmt.Sprintf("%s-%d", host, i))
	}
	return id
}

func (c *core) register(r Registration) (model.NodeID, error) {
	id, err := c.chooseID(r)
	if err != nil {
		return "", err
	}
	n, known := c.nodes[id]
	if !known {
		n = &node{witness: witness{}}
		c.nodes[id] = n
	}
	changed := store.Node{
		Node: model.Node{ID: id, Host: r.Host, Address: r.Address, Architecture: r.Architecture, Runtimes: r.Runtimes,
			Capacity: r.Capacity, Network: r.Network, Cordoned: n.Cordoned},
		Key: r.Key, Machine: r.Machine, Version: r.Version, Original: r.Key == "", Draining: n.Draining, Ending: n.Ending, Abilities: r.Abilities,
	}
	if changed.Original && known {
		changed.Network = changed.Network || n.Network // see networked
	}
	// A worker that only lost its session says what the book holds: 10 000 of
	// them at once need no write.
	if !known || !reflect.DeepEqual(n.Node, changed) {
		c.dirtyNodes[id] = true
	}
	n.Node = changed
	c.sign(n, &n.Engine) // it speaks to us
	n.Networked = n.Network
	n.doubts = 0
	c.pullsEnded(id)
	if n.boot != r.Boot {
		n.boot, n.reports, n.asked = r.Boot, 0, nil
	}
	n.bootAt = c.now
	c.where.joins(n)
	c.hears(n)
	again := func(v model.NodeID) bool { return v == id }
	c.dropNodes, c.goneNodes = slices.DeleteFunc(c.dropNodes, again), slices.DeleteFunc(c.goneNodes, again)
	c.tellNode(n)
	c.allowMoved = c.allowMoved || !known
	c.liveness(n)
	c.nodeSlots(id)
	c.wakeRefused()
	level := slog.LevelInfo
	if known { // it lost its session, as all have after a restart
		level = slog.LevelDebug
	}
	c.f.log.Log(c.ctx, level, "worker registered", "node", id, "address", r.Address, "known", known)
	return id, nil
}

func (c *core) allow() {
	ids := make([]model.NodeID, 0, len(c.nodes))
	for id := range c.nodes {
		ids = append(ids, id)
	}
	c.f.deps.Link.Allow(ids)
}

func (c *core) tellNode(n *node) {
	c.f.deps.Network.SetNode(tables.Node{ID: n.ID, Address: n.Address, Network: n.Network})
	c.index.Apply(placement.Delta{Upsert: []placement.Candidate{{
		ID: string(n.ID), Name: n.Host, Runtimes: n.Runtimes, Architectures: []string{n.Architecture}, Capacity: offered(n),
		Network: n.Network, Cordoned: n.Cordoned,
		// What it holds has to be known first.
		Inactive: n.live != instance.Alive && n.live != instance.Suspect || n.completeAt.IsZero(),
	}}})
	c.changedNodes[n.ID], c.nodesMoved = true, true
}

// spoke notes a sign of life. One that is alive stays so: its next judgement
// is due some time anyway.
func (c *core) spoke(n *node) {
	if n.live != instance.Alive {
		c.liveness(n)
	}
}

// liveness judges one node again and acts on a change.
func (c *core) liveness(n *node) {
	was := n.live
	n.live, n.judgeAt = judge(n.witness, c.f.cfg, c.now)
	c.await(n)
	if n.live == was {
		return
	}
	c.hears(n)
	c.dead += one(n.live == instance.Lost) - one(was == instance.Lost)
	if n.live == instance.Suspect {
		c.send(n.ID, probe())
	}
	if n.live == instance.Lost {
		n.seen, n.completeAt, n.doubts = nil, time.Time{}, 2 // what it held then is not what it holds when it returns
		c.countLost(n)
	}
	if n.live == instance.Lost || was == instance.Lost {
		c.f.log.Warn("worker", "node", n.ID, "from", was, "to", n.live)
		kind := "node-back"
		if n.live == instance.Lost {
			kind = "node-lost"
		}
		c.f.deps.Root.Note(kind, string(n.ID), livenessWord(n.live))
	}
	c.f.deps.Network.NodeLiveness(n.ID, n.live)
	c.tellNode(n)
	c.nodeSlots(n.ID)
	if n.live == instance.Alive {
		c.wakeRefused()
	}
}

func livenessWord(l instance.Liveness) string {
	return [...]string{"not seen yet", "is back", "is silent", "is lost"}[l]
}

// release ends the pause that countLost began.
func (c *core) release(why string) (paused bool) {
	if c.brakeUntil.IsZero() {
		return false
	}
	c.brakeUntil, c.losses, c.roomMoved = time.Time{}, nil, true // to tell the root
	for k := range c.slots {
		c.look[k] = true
	}
	c.f.log.Info("workers that are lost are replaced again", "why", why)
	c.f.deps.Root.Note("brake-over", "cluster", "replacement goes on: "+why)
	return true
}

// loss is a worker that was lost lately.
type loss struct {
	n  *node
	at time.Time
}

// countLost notes a loss and brakes when there are too many at once. Only what
// was there before the window is counted: records of workers that are long dead
// say nothing about how many of the others may go.
func (c *core) countLost(n *node) {
	window := c.now.Add(-c.f.cfg.LostAfter)
	c.losses = slices.DeleteFunc(c.losses, func(l loss) bool { return l.n == n || l.at.Before(window) })
	c.losses = append(c.losses, loss{n, c.now})
	if c.now.Before(c.brakeUntil) {
		return
	}
	were := len(c.nodes) - c.dead
	for _, l := range c.losses {
		were += one(l.n.live == instance.Lost && c.nodes[l.n.ID] == l.n)
	}
	if brake(len(c.losses), were) {
		c.brakeUntil, c.roomMoved = c.now.Add(c.f.cfg.BrakeFor), true
		c.f.log.Warn("many workers lost at once: nothing is replaced for now", "lost", len(c.losses), "of", were)
		c.f.deps.Root.Note("brake", "cluster", fmt.Sprintf("%d of %d workers lost at once, replacement pauses", len(c.losses), were))
	}
}
