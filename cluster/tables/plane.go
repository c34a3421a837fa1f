package tables

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// The bounds of the plane.
const (
	gateWait      = 10 * time.Second       // longest wait for workers to report after a start
	leaveWait     = 2 * time.Second        // longest wait of Leave
	hostsWait     = 500 * time.Millisecond // longest wait for the hosts of a queried service
	unknownWait   = 300 * time.Millisecond // longest wait of a query for the root
	saveWait      = 5 * time.Second        // for one change of the book
	lateWait      = 10 * time.Second       // how long the root may still answer a query
	deniedFor     = 5 * time.Second        // how long the root's "unknown" is believed
	silentAfter   = 6 * time.Second        // a worker not heard for this long is not connected
	originalAfter = 4 * time.Second        // ours has sent a NetReport by then
	maxWaiting    = 4096                   // queries held or asked of the root at one time
	resendMin     = time.Second            // before a state that was not applied is sent again
	resendMax     = 30 * time.Second
	goneFor       = time.Minute // how long reports of a gone attempt are ignored
)

// plane is the state of the loop: one goroutine owns it.
type plane struct {
	*planner
	deps  Deps
	log   *slog.Logger
	ctx   context.Context
	start time.Time
	epoch string // of this start, in every NetState
	first uint64 // versions begin here, above those of earlier starts
	floor uint64 // the same of slices, and above those of slices that ended

	gate      gate
	subnets   subnets
	delivery  map[model.NodeID]*delivery
	dirty     set[model.NodeID]    // workers whose view may have changed
	outward   set[model.ServiceID] // services whose slice, interest or bells may have changed
	waits     []*wait
	asks      []*ask // for services nobody here knows
	held      []func(now time.Time)
	denied    map[string]time.Time
	slices    map[model.ServiceID]sentSlice // with endpoints
	interests map[model.ServiceID]sentInterest
	bells     map[model.ServiceID]*nodelink.Table
	answers   map[model.ServiceID]uint64                     // tables the root has sent, counted
	applied   map[model.ServiceID]map[model.ClusterID]uint64 // versions of slices here that other clusters use
	spans     set[model.ServiceID]
	forget    []leftover
}

// gate holds everything back until what is known is complete.
//
// Rule: after a start nothing is pushed, no slice is sent and no query is
// answered until every worker with a subnet in the book has sent a snapshot, is
// lost or removed, or 10 s have passed. A worker keeps its last tables until a
// snapshot comes, so waiting costs nothing but news; a snapshot made too early
// would take living endpoints out of the tables of others. After 10 s a worker
// that is still silent counts as gone.
type gate struct {
	open     bool
	until    time.Time
	expected set[model.NodeID]
}

// leftover is a mark to be dropped when its time is over.
type leftover struct {
	id    model.InstanceID
	epoch instance.Epoch
	at    time.Time
}

func newPlane(ctx context.Context, deps Deps, log *slog.Logger, book map[model.NodeID]netip.Prefix, now time.Time) *plane {
	p := &plane{
		planner: newPlanner(newFacts()), deps: deps, log: log, ctx: ctx, start: now,
		epoch:     strconv.FormatInt(now.UnixMicro(), 36),
		first:     uint64(now.UnixMilli()) * 1000,
		floor:     uint64(now.UnixMilli()) * 1000,
		gate:      gate{until: now.Add(gateWait), expected: set[model.NodeID]{}},
		subnets:   newSubnets(book, now),
		delivery:  map[model.NodeID]*delivery{},
		dirty:     set[model.NodeID]{},
		outward:   set[model.ServiceID]{},
		denied:    map[string]time.Time{},
		slices:    map[model.ServiceID]sentSlice{},
		interests: map[model.ServiceID]sentInterest{},
		bells:     map[model.ServiceID]*nodelink.Table{},
		spans:     set[model.ServiceID]{},
		answers:   map[model.ServiceID]uint64{},
		applied:   map[model.ServiceID]map[model.ClusterID]uint64{},
	}
	for n, prefix := range book {
		p.worker(n).subnet = prefix
		p.gate.expected[n] = struct{}{}
	}
	return p
}

// step brings everybody up to date with the facts. It returns when it must be
// called again at the latest; zero means when something happens.
func (p *plane) step(now time.Time) (next time.Time) {
	p.tryGate(now)
	p.forgetMarks(now)
	for again := true; again; {
		p.flush(now)
		if again = p.settle(now); !again {
			p.sendOutward()
			again = p.settle(now) // some wait for what was sent outward
		}
	}
	p.serveSubnets(now)
	return p.next()
}

func (p *plane) tryGate(now time.Time) {
	if p.gate.open || (len(p.gate.expected) > 0 && now.Before(p.gate.until)) {
		return
	}
	p.gate.open = true
	if len(p.gate.expected) > 0 {
		p.log.Warn("workers did not report, going on without them", "nodes", sorted(p.gate.expected))
	}
	p.gate.expected = nil
	for n := range p.workers {
		p.dirty[n] = struct{}{}
	}
	for _, x := range []index{p.hosts, p.watchers} {
		for s := range x.by {
			p.outward[s] = struct{}{}
		}
	}
	held := p.held
	p.held = nil
	for _, f := range held {
		f(now)
	}
}

// touchService marks everything that follows from a service's endpoints or
// names.
func (p *plane) touchService(id model.ServiceID) {
	if id == "" {
		return
	}
	p.staleService(id)
	p.outward[id] = struct{}{}
	for _, x := range []index{p.hosts, p.watchers, p.wanters} {
		for n := range x.by[id] {
			p.dirty[n] = struct{}{}
		}
	}
}

// touchWorker marks everything that follows from a worker's record.
func (p *plane) touchWorker(id model.NodeID) {
	p.stalePeer(id)
	p.dirty[id] = struct{}{}
	for s := range p.servicesOf(id) {
		p.outward[s] = struct{}{}
		for n := range p.hosts.by[s] {
			p.dirty[n] = struct{}{}
		}
		if !p.hosts.has(s, id) {
			continue
		}
		for _, x := range []index{p.watchers, p.wanters} {
			for n := range x.by[s] {
				p.dirty[n] = struct{}{}
			}
		}
	}
}

// next is the nearest of all deadlines.
func (p *plane) next() (at time.Time) {
	soonest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if !p.gate.open {
		soonest(p.gate.until)
	}
	for _, w := range p.waits {
		soonest(w.deadline)
	}
	for _, a := range p.asks {
		soonest(a.next())
	}
	for _, f := range p.forget {
		soonest(f.at)
	}
	soonest(p.subnets.wake)
	return at
}

func (p *plane) send(n model.NodeID, m nodelink.Outbound) {
	if err := p.deps.Link.Send(p.ctx, n, m); err != nil {
		// Reports tell what did not arrive, and it is sent again then.
		p.log.Debug("message not sent", "node", n, "error", err)
	}
}
