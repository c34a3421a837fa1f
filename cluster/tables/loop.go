package tables

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Deps is what the network plane acts through. Clock and logger may be left
// out.
type Deps struct {
	Link    nodelink.Link // only Send is used
	Uplink  Uplink
	Subnets Subnets
	Logger  *slog.Logger
}

// Loop is the network plane: Network for its callers, one goroutine inside.
type Loop struct {
	deps  Deps
	log   *slog.Logger
	inbox inbox
}

var _ Network = (*Loop)(nil)

// New makes a network plane that does nothing until Run; what is called
// before is done then. Call SetNode and SetService for everything that is
// known from the store before Run.
func New(deps Deps) *Loop {
	log := deps.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Loop{deps: deps, log: log.With("part", "tables"), inbox: inbox{bell: make(chan struct{}, 1)}}
}

// Run serves until ctx ends. Error: the book of subnets cannot be read.
func (l *Loop) Run(ctx context.Context) error {
	book, err := l.deps.Subnets.LoadSubnets(ctx)
	if err != nil {
		return fmt.Errorf("load the book of subnets: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	jobs := make(chan []saveJob)
	g.Go(func() error { l.keepBook(ctx, jobs); return nil })
	g.Go(func() error { l.serve(ctx, book, jobs); return nil })
	return g.Wait()
}

func (l *Loop) serve(ctx context.Context, book map[model.NodeID]netip.Prefix, jobs chan<- []saveJob) {
	p := newPlane(ctx, l.deps, l.log, book, time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, f := range l.inbox.take() {
			f(p, time.Now())
		}
		timer.Stop()
		if next := p.step(time.Now()); !next.IsZero() {
			timer.Reset(max(time.Until(next), 0))
		}
		var out chan<- []saveJob
		if len(p.subnets.jobs) > 0 {
			out = jobs
		}
		select {
		case <-l.inbox.bell:
		case <-timer.C:
		case out <- p.subnets.jobs:
			p.subnets.jobs = nil
		case <-ctx.Done():
			return
		}
	}
}

// keepBook writes the book, one change after the other, and reports back.
func (l *Loop) keepBook(ctx context.Context, jobs <-chan []saveJob) {
	for {
		var batch []saveJob
		select {
		case batch = <-jobs:
		case <-ctx.Done():
			return
		}
		for _, j := range batch {
			call, cancel := context.WithTimeout(ctx, saveWait)
			var err error
			if j.subnet.IsValid() {
				err = l.deps.Subnets.SaveSubnet(call, j.node, j.subnet)
			} else {
				err = l.deps.Subnets.DropSubnet(call, j.node)
			}
			cancel()
			l.inbox.put(func(p *plane, now time.Time) { p.saved(j, err, now) })
		}
	}
}

// inbox is the queue of what callers want done, in order.
type inbox struct {
	mu    sync.Mutex
	items []func(p *plane, now time.Time)
	bell  chan struct{}
}

func (i *inbox) put(f func(p *plane, now time.Time)) {
	i.mu.Lock()
	i.items = append(i.items, f)
	i.mu.Unlock()
	select {
	case i.bell <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []func(p *plane, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	items := i.items
	i.items = nil
	return items
}

// Handle takes a worker's network message.
func (l *Loop) Handle(in nodelink.Inbound) {
	l.inbox.put(func(p *plane, now time.Time) { p.handle(in, now) })
}

// SetService tells a service's name, addresses and slots.
func (l *Loop) SetService(s Service) {
	l.inbox.put(func(p *plane, _ time.Time) { p.setService(s) })
}

// ForgetService drops a service without assignments here.
func (l *Loop) ForgetService(id model.ServiceID) {
	l.inbox.put(func(p *plane, _ time.Time) { p.forgetService(id) })
}

// SetNode tells that a node exists.
func (l *Loop) SetNode(n Node) {
	l.inbox.put(func(p *plane, _ time.Time) { p.setNode(n) })
}

// ForgetNode drops a removed node and frees its subnet.
func (l *Loop) ForgetNode(id model.NodeID) {
	l.inbox.put(func(p *plane, _ time.Time) { p.forgetNode(id) })
}

// NodeLiveness masks (Lost) or unmasks a node's endpoints.
func (l *Loop) NodeLiveness(id model.NodeID, v instance.Liveness) {
	l.inbox.put(func(p *plane, _ time.Time) { p.nodeLiveness(id, v) })
}

// Gone says that nothing is left of an attempt on its node.
func (l *Loop) Gone(a instance.Attempt) {
	l.inbox.put(func(p *plane, now time.Time) { p.gone(a, now) })
}

// RootTable takes a table of other clusters from the root.
func (l *Loop) RootTable(t RootTable) {
	l.inbox.put(func(p *plane, now time.Time) { p.rootTable(t, now) })
}

// RootPeers takes the workers of other clusters that talk to a service here;
// the list is complete for that service. Their ids must differ from the ids
// of this cluster's nodes: callers write <cluster>/<node>.
func (l *Loop) RootPeers(service model.ServiceID, peers []nodelink.Peer) {
	l.inbox.put(func(p *plane, _ time.Time) { p.rootPeers(service, peers) })
}

// SliceApplied says that another cluster's workers use a version of the slice
// of this one.
func (l *Loop) SliceApplied(service model.ServiceID, by model.ClusterID, version uint64) {
	l.inbox.put(func(p *plane, _ time.Time) { p.sliceApplied(service, by, version) })
}

// Blocks sets the address blocks leased to this cluster.
func (l *Loop) Blocks(blocks []netip.Prefix) {
	l.inbox.put(func(p *plane, _ time.Time) { p.setBlocks(blocks) })
}

// Leave takes an attempt out of every table and waits until the connected
// workers that may still send to it have acknowledged that, in this cluster and
// in others, 2 s at most.
func (l *Loop) Leave(ctx context.Context, a instance.Attempt) {
	done := make(chan struct{})
	l.inbox.put(func(p *plane, now time.Time) { p.leave(a, done, now) })
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(leaveWait): // also when nothing runs
	}
}
