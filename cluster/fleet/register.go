package fleet

import (
	"context"
	"fmt"
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
// original: its host name). It returns when the book holds it. Errors:
// errs.Invalid without a host name, errs.Unavailable when stopping.
func (f *Fleet) Register(ctx context.Context, r Registration) (model.NodeID, error) {
	if r.Host == "" {
		return "", errs.Problems{{Path: "host", Message: "must not be empty"}}
	}
	type answer struct {
		id  model.NodeID
		err error
	}
	done := make(chan answer, 1)
	err := f.do(ctx, func(c *core) {
		id, err := c.register(r)
		c.afterCommit(func() { done <- answer{id, err} })
	})
	if err != nil {
		return "", err
	}
	select {
	case a := <-done:
		return a.id, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("register %s: %w: %w", r.Host, ctx.Err(), errs.Unavailable)
	}
}

// chooseID finds the id of a host and key among what is registered.
func chooseID(nodes map[model.NodeID]*node, host, key string) model.NodeID {
	if key != "" {
		for id, n := range nodes {
			if n.Host == host && n.Key == key {
				return id
			}
		}
	}
	for i := 1; ; i++ {
		id := model.NodeID(host)
		if i > 1 {
			id = model.NodeID(fmt.Sprintf("%s-%d", host, i))
		}
		n, taken := nodes[id]
		if !taken || key == "" && n.Key == "" && n.Host == host {
			return id
		}
	}
}

func (c *core) register(r Registration) (model.NodeID, error) {
	id := chooseID(c.nodes, r.Host, r.Key)
	n, known := c.nodes[id]
	if !known {
		n = &node{witness: witness{}}
		c.nodes[id] = n
	}
	changed := store.Node{
		Node: model.Node{ID: id, Host: r.Host, Address: r.Address, Architecture: r.Architecture, Runtimes: r.Runtimes,
			Capacity: r.Capacity, Network: r.Network, Cordoned: n.Cordoned},
		Key: r.Key, Version: r.Version, Original: r.Key == "", Draining: n.Draining,
	}
	n.Node = changed
	c.hears(n, &n.Engine) // it speaks to us
	n.Networked = r.Network
	n.boot = r.Boot
	c.dirtyNodes[id] = true
	c.dropNodes = slices.DeleteFunc(c.dropNodes, func(v model.NodeID) bool { return v == id })
	c.tellNode(n)
	c.allow()
	c.liveness(n)
	c.nodeSlots(id)
	c.wakeRefused()
	c.f.log.Info("worker registered", "node", id, "address", r.Address, "known", known)
	return id, nil
}

func (c *core) allow() {
	ids := make([]model.NodeID, 0, len(c.nodes))
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	c.f.deps.Link.Allow(ids)
}

func (c *core) tellNode(n *node) {
	c.f.deps.Network.SetNode(tables.Node{ID: n.ID, Address: n.Address, Network: n.Network})
	c.index.Apply(placement.Delta{Upsert: []placement.Candidate{{
		ID: string(n.ID), Name: n.Host, Runtimes: n.Runtimes, Architectures: []string{n.Architecture}, Capacity: n.Capacity,
		Network: n.Network, Cordoned: n.Cordoned, Inactive: n.live != instance.Alive && n.live != instance.Suspect,
	}}})
	c.changedNodes[n.ID], c.roomMoved = true, true
}

// liveness judges one node again and acts on a change.
func (c *core) liveness(n *node) {
	was := n.live
	n.live, n.judgeAt = judge(n.witness, c.f.cfg, c.now)
	if n.live == was {
		return
	}
	if n.live == instance.Suspect {
		c.send(n.ID, probe())
	}
	if n.live == instance.Lost {
		c.countLost()
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

func (c *core) countLost() {
	window := c.now.Add(-c.f.cfg.LostAfter)
	c.losses = slices.DeleteFunc(c.losses, func(t time.Time) bool { return t.Before(window) })
	c.losses = append(c.losses, c.now)
	if brake(len(c.losses), len(c.nodes)) && !c.now.Before(c.brakeUntil) {
		c.brakeUntil = c.now.Add(c.f.cfg.BrakeFor)
		c.f.log.Warn("many workers lost at once: nothing is replaced for now", "lost", len(c.losses), "of", len(c.nodes))
		c.f.deps.Root.Note("brake", "cluster", fmt.Sprintf("%d of %d workers lost at once, replacement pauses", len(c.losses), len(c.nodes)))
	}
}
