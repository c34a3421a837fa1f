package harness

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"oakestra/cluster/store"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// disk is what a cluster manager has written: it outlives the manager.
type disk struct {
	mu       sync.Mutex
	identity store.Identity
	slots    map[model.InstanceID]store.Slot
	nodes    map[model.NodeID]store.Node
	subnets  map[model.NodeID]netip.Prefix
	blocks   []netip.Prefix
	revision uint64
	written  func(*disk) // after every commit, with mu held
}

func newDisk(written func(*disk)) *disk {
	return &disk{slots: map[model.InstanceID]store.Slot{}, nodes: map[model.NodeID]store.Node{}, subnets: map[model.NodeID]netip.Prefix{}, written: written}
}

// book is one process' way to a disk. After kill nothing is written any more.
type book struct {
	*disk
	dead bool // guarded by disk.mu
}

var _ store.Store = (*book)(nil)

func (b *book) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead = true
}

func (b *book) change(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead {
		return fmt.Errorf("the process was killed: %w", errs.Unavailable)
	}
	f()
	b.written(b.disk)
	return nil
}

func cloneSlot(s store.Slot) store.Slot {
	s.Old = slices.Clone(s.Old)
	s.Placement.Reasons = slices.Clone(s.Placement.Reasons)
	return s
}

func (b *book) Load(context.Context) (store.State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := store.State{Identity: b.identity, Blocks: slices.Clone(b.blocks), Revision: b.revision}
	for _, v := range b.slots {
		s.Slots = append(s.Slots, cloneSlot(v))
	}
	for _, v := range b.nodes {
		s.Nodes = append(s.Nodes, v)
	}
	return s, nil
}

func (b *book) Commit(_ context.Context, w store.Batch) error {
	return b.change(func() {
		for _, v := range w.Slots {
			b.slots[v.Instance] = cloneSlot(v)
		}
		for _, id := range w.DropSlots {
			delete(b.slots, id)
		}
		for _, v := range w.Nodes {
			b.nodes[v.ID] = v
		}
		for _, id := range w.DropNodes {
			delete(b.nodes, id)
		}
		if w.Blocks != nil {
			b.blocks = slices.Clone(*w.Blocks)
		}
		if w.Revision != nil {
			b.revision = *w.Revision
		}
	})
}

func (b *book) SaveIdentity(_ context.Context, id store.Identity) error {
	return b.change(func() { b.identity = id })
}

func (b *book) LoadSubnets(context.Context) (map[model.NodeID]netip.Prefix, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.subnets), nil
}

func (b *book) SaveSubnet(_ context.Context, id model.NodeID, p netip.Prefix) error {
	return b.change(func() { b.subnets[id] = p })
}

func (b *book) DropSubnet(_ context.Context, id model.NodeID) error {
	return b.change(func() { delete(b.subnets, id) })
}
