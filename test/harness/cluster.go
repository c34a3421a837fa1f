package harness

import (
	"context"
	"fmt"
	"sync"
	"time"

	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/rootlink"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// Cluster is a cluster manager with its broker; it can be killed and started.
type Cluster struct {
	w     *World
	Name  string
	cable *cable // to the root
	delay time.Duration

	mu      sync.Mutex
	life    *life // nil while it is down
	written *disk
}

// life is one process of a cluster manager.
type life struct {
	hub    *memlink.Hub
	fleet  *fleet.Fleet
	link   *rootlink.Link
	book   *book
	gone   chan struct{} // closed when it is killed
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex
	routed map[model.NodeID]bool
}

// ear hears what a fleet tells people.
type ear struct {
	*rootlink.Link
	c *Cluster
}

func (e ear) Note(kind, subject, message string) {
	if kind == "brake" {
		e.c.w.noteBrake(e.c)
	}
	e.c.w.count(kind)
	e.Link.Note(kind, subject, message)
}

func (c *Cluster) disk() *disk {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// LoseDisk loses everything a manager that is down had written.
func (c *Cluster) LoseDisk() {
	fresh := newDisk(c.w.watch.committed(c))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = fresh
}

func (c *Cluster) current() *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life
}

// Start runs the manager on its disk.
func (c *Cluster) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	log := c.w.log.With("of", c.Name)
	l := &life{hub: memlink.New(), book: &book{disk: c.disk()}, gone: make(chan struct{}), cancel: cancel, done: make(chan error, 1), routed: map[model.NodeID]bool{}}
	up, down := c.w.bus()
	l.hub.Fault(c.w.draw(), up, down)
	l.link = rootlink.New(rootlink.Config{Root: "root", Name: c.Name, Version: "test", Client: phone{c}}, log)
	plane := tables.New(tables.Deps{Link: l.hub, Uplink: l.link, Subnets: l.book, Logger: log})
	l.fleet = fleet.New(fleet.Config{}, fleet.Deps{Book: l.book, Link: l.hub, Network: plane, Root: ear{l.link, c}, Logger: log})
	go func() {
		l.done <- lifecycle.Run(ctx,
			lifecycle.Part{Name: "fleet", Run: l.fleet.Run},
			lifecycle.Part{Name: "tables", Run: plane.Run},
			lifecycle.Part{Name: "node link", Run: l.hub.Run},
			lifecycle.Part{Name: "root link", Run: func(ctx context.Context) error { return l.link.Run(ctx, l.book, l.fleet, plane) }},
		)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life = l
}

// Kill ends the manager and its broker at once; the disk stays.
func (c *Cluster) Kill() {
	c.mu.Lock()
	l := c.life
	c.life = nil
	c.mu.Unlock()
	if l == nil {
		return
	}
	l.book.kill()
	c.cable.sever()
	close(l.gone)
	l.cancel()
	if err := <-l.done; err != nil {
		c.w.t.Errorf("cluster %s: %v", c.Name, err)
	}
	c.cable.sever()
}

// register is NodeEngine's HTTP call.
func (c *Cluster) register(ctx context.Context, r fleet.Registration) (*life, model.NodeID, error) {
	l := c.current()
	if l == nil {
		return nil, "", fmt.Errorf("register: %w: %w", errRefused, errs.Unavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // the connection breaks when the manager dies
		select {
		case <-l.gone:
			stop()
		case <-ctx.Done():
		}
	}()
	id, err := l.fleet.Register(ctx, r)
	return l, id, err
}

// route hands what is sent to a node to the machine that has its session.
func (l *life) route(id model.NodeID, m *Machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.routed[id] {
		return
	}
	l.routed[id] = true
	node := l.hub.Node(id)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-l.gone; cancel() }()
	go func() {
		for {
			out, ok := node.Recv(ctx)
			if !ok {
				return
			}
			m.deliver(out)
		}
	}()
}
