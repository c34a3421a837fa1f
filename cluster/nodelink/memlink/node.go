package memlink

import (
	"context"
	"sync"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// Node is one worker as its agents see it.
type Node struct {
	id    model.NodeID
	hub   *Hub
	queue *queue[nodelink.Outbound]

	// guarded by hub.mu
	connected bool
	held      []held[nodelink.Outbound]
	heldUp    []held[nodelink.Inbound]
}

// ID is the node's id.
func (n *Node) ID() model.NodeID { return n.id }

// Send hands a message to the manager; in.Node is set here.
func (n *Node) Send(in nodelink.Inbound) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if !n.connected || !n.hub.allowed[n.id] {
		n.hub.lost++
		return
	}
	in.Node = n.id
	for _, in := range disturb(n.hub, n.hub.up, &n.heldUp, in) {
		n.hub.queue.put(in)
	}
}

// Recv waits for the next message; ok is false when ctx ends first.
func (n *Node) Recv(ctx context.Context) (m nodelink.Outbound, ok bool) { return n.queue.take(ctx) }

// Pending takes what has arrived, without waiting.
func (n *Node) Pending() []nodelink.Outbound { return n.queue.drain() }

// Disconnect loses what is on its way in both directions, and what follows.
func (n *Node) Disconnect() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.connected, n.held, n.heldUp = false, nil, nil
	n.queue.drain()
}

// Renew begins a clean session: what waits for the node is lost.
func (n *Node) Renew() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.held = nil
	n.queue.drain()
}

// Connect ends a Disconnect.
func (n *Node) Connect() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.connected = true
}

// queue is a list without bound that can be waited for.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	bell  chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{bell: make(chan struct{}, 1)} }

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	q.items = append(q.items, v)
	q.mu.Unlock()
	select {
	case q.bell <- struct{}{}:
	default:
	}
}

func (q *queue[T]) take(ctx context.Context) (v T, ok bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			v = q.items[0]
			q.items = q.items[1:]
			q.mu.Unlock()
			return v, true
		}
		q.mu.Unlock()
		select {
		case <-q.bell:
		case <-ctx.Done():
			return v, false
		}
	}
}

func (q *queue[T]) drain() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}
