package memlink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Faults are probabilities per message, 0 to 1.
type Faults struct {
	Drop    float64
	Dup     float64
	Reorder float64 // the message waits until others have passed it
	// Window is how many may pass a message that waits, each time between 1 and
	// this; 0 is 1.
	Window int
}

// held is a message that waits until others have passed it.
type held[T any] struct {
	m    T
	wait int // so many more
}

// Hub is the link and the broker in one.
type Hub struct {
	inbound chan nodelink.Inbound

	mu      sync.Mutex
	rng     *rand.Rand
	up      Faults
	down    Faults
	allowed map[model.NodeID]bool
	nodes   map[model.NodeID]*Node
	queue   *queue[nodelink.Inbound]
	lost    int
}

var _ nodelink.Link = (*Hub)(nil)

// New makes a hub without faults. Its seed is fixed; see Fault.
func New() *Hub {
	return &Hub{
		inbound: make(chan nodelink.Inbound),
		rng:     rand.New(rand.NewPCG(1, 2)),
		nodes:   map[model.NodeID]*Node{},
		queue:   newQueue[nodelink.Inbound](),
	}
}

// Fault sets what happens to messages from now on, upwards and downwards. A
// direction that reorders no more delivers what it holds.
func (h *Hub) Fault(seed uint64, up, down Faults) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rng = rand.New(rand.NewPCG(seed, seed))
	h.up, h.down = up, down
	for _, n := range h.nodes {
		if up.Reorder == 0 {
			for _, v := range n.heldUp {
				h.queue.put(v.m)
			}
			n.heldUp = nil
		}
		if down.Reorder == 0 {
			for _, v := range n.held {
				n.queue.put(v.m)
			}
			n.held = nil
		}
	}
}

// Lost counts messages that were dropped by faults or had no receiver.
func (h *Hub) Lost() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// Run delivers until ctx ends. It says Serving first.
func (h *Hub) Run(ctx context.Context) error {
	h.Restart()
	for {
		in, ok := h.queue.take(ctx)
		if !ok {
			return nil
		}
		select {
		case h.inbound <- in:
		case <-ctx.Done():
			return nil
		}
	}
}

// Inbound delivers what workers sent.
func (h *Hub) Inbound() <-chan nodelink.Inbound { return h.inbound }

// Allow tells which node ids exist; messages of others are dropped.
func (h *Hub) Allow(nodes []model.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.allowed = map[model.NodeID]bool{}
	for _, n := range nodes {
		h.allowed[n] = true
	}
}

// Send delivers to a worker that is connected, else nowhere. Error:
// errs.Unavailable once ctx has ended.
func (h *Hub) Send(ctx context.Context, node model.NodeID, m nodelink.Outbound) error {
	if ctx.Err() != nil {
		return fmt.Errorf("send to %s: %w", node, errs.Unavailable)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Updates != nil {
		for _, n := range h.nodes {
			h.pass(&n.held, n, m)
		}
		return nil
	}
	n := h.nodes[node]
	if n == nil {
		h.lost++
		return nil
	}
	h.pass(&n.held, n, m)
	return nil
}

// pass applies the faults of the way down. The caller holds mu.
func (h *Hub) pass(waiting *[]held[nodelink.Outbound], n *Node, m nodelink.Outbound) {
	if !n.connected {
		h.lost++
		return
	}
	for _, m := range disturb(h, h.down, waiting, m) {
		n.queue.put(m)
	}
}

// disturb decides what comes out when m goes in. The caller holds mu.
func disturb[T any](h *Hub, f Faults, waiting *[]held[T], m T) []T {
	if h.rng.Float64() < f.Drop {
		h.lost++
		return nil
	}
	if h.rng.Float64() < f.Reorder {
		*waiting = append(*waiting, held[T]{m, 1 + h.rng.IntN(max(f.Window, 1))})
		return nil
	}
	out := []T{m}
	if h.rng.Float64() < f.Dup {
		if h.rng.Float64() < f.Reorder {
			*waiting = append(*waiting, held[T]{m, 1 + h.rng.IntN(max(f.Window, 1))})
		} else {
			out = append(out, m)
		}
	}
	left := (*waiting)[:0]
	for _, v := range *waiting {
		if v.wait--; v.wait > 0 {
			left = append(left, v)
			continue
		}
		out = append(out, v.m)
	}
	*waiting = left
	return out
}

// Break is the broker dying: the manager hears Deaf, and everybody is
// disconnected until they Connect again.
func (h *Hub) Break() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nodes {
		n.connected, n.held, n.heldUp = false, nil, nil
	}
	h.queue.put(nodelink.Inbound{Deaf: &nodelink.Deaf{}})
}

// Restart is the broker starting anew: everybody is disconnected and connects
// again, and the manager hears Serving.
func (h *Hub) Restart() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nodes {
		n.held, n.heldUp = nil, nil
	}
	h.queue.put(nodelink.Inbound{Serving: &nodelink.Serving{}})
}

// Node is the worker's side of a node, connected; the same one every time.
func (h *Hub) Node(id model.NodeID) *Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[id]
	if n == nil {
		n = &Node{id: id, hub: h, queue: newQueue[nodelink.Outbound](), connected: true}
		h.nodes[id] = n
	}
	return n
}
