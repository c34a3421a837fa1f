package netmanager

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/netmanager/host"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/rules"
	"oakestra/netmanager/state"
	"oakestra/netmanager/table"
)

// Times of the loop.
const (
	tickEvery   = time.Second
	reportEvery = 2 // ticks
	checkEvery  = 15
	jobTime     = 30 * time.Second // one call to the kernel
)

// job runs in the worker; what it returns runs in the loop.
type job func(ctx context.Context) func()

// loop owns all state of the daemon. Every method runs in run's goroutine.
type loop struct {
	daemon *Daemon
	host   host.Host
	log    *slog.Logger
	jobs   []job
	ticks  uint64

	reg     state.Registration
	uplink  *conversation
	waiting []func(error) // registrations that wait for the subnet
	subnet  netip.Prefix
	refusal string // why the cluster gave no subnet
	confirm bool   // the registration was made by a call to this process

	hostIP  netip.Addr
	mtu     int
	looking int      // lookups of the underlay that have not answered
	looked  []func() // what waits for one

	containers []*container
	quarantine map[netip.Addr]time.Time
	last       netip.Addr

	book      table.Book
	interests table.Interests
	held      map[netip.Addr]*question
	negative  map[netip.Addr]time.Time
	tokens    int
	original  bool // the cluster manager has no versions

	pulses pulses
	apply  applyState
	timers chan func(*loop) // what is due
	over   chan struct{}    // closed at the end
}

// conversation is the running uplink and how to end it.
type conversation struct {
	target Target
	Uplink
	stop context.CancelFunc
	seq  uint64
	full bool // the next report is a snapshot
	live bool // there has been a session
}

func newLoop(d *Daemon, r state.Record) *loop {
	l := &loop{
		daemon: d, host: d.deps.Host, log: d.log, reg: r.Registration, subnet: r.Subnet,
		quarantine: r.Quarantine, last: r.Last, interests: table.Interests{},
		held: map[netip.Addr]*question{}, negative: map[netip.Addr]time.Time{}, tokens: newKeys,
		timers: make(chan func(*loop)), over: make(chan struct{}),
	}
	if l.quarantine == nil {
		l.quarantine = map[netip.Addr]time.Time{}
	}
	l.book.Tables, l.book.Peers = r.Tables, r.Peers
	for _, name := range r.Interests {
		l.interests.Add(name, time.Now())
	}
	for _, c := range r.Containers {
		l.containers = append(l.containers, &container{Container: c})
	}
	return l
}

func (l *loop) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work, results := make(chan job), make(chan func())
	g.Go(func() error { return worker(ctx, work, results) })
	g.Go(func() error {
		defer l.hangUp()
		defer close(l.over)
		l.adopt()
		return l.serve(ctx, g, work, results)
	})
	return g.Wait()
}

func worker(ctx context.Context, work <-chan job, results chan<- func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-work:
			// A call that has begun is finished: half a change would stay.
			inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTime)
			then := j(inner)
			cancel()
			select {
			case results <- then:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (l *loop) serve(ctx context.Context, g *errgroup.Group, work chan<- job, results <-chan func()) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		l.connect(ctx, g)
		var inbound <-chan Inbound
		if l.uplink != nil {
			inbound = l.uplink.Inbound()
		}
		var next chan<- job
		var first job
		if len(l.jobs) > 0 {
			next, first = work, l.jobs[0]
		}
		select {
		case <-ctx.Done():
			return nil
		case next <- first:
			l.jobs = l.jobs[1:]
		case then := <-results:
			then()
		case post := <-l.daemon.posts:
			post(l)
		case due := <-l.timers:
			due(l)
		case m := <-inbound:
			l.receive(m)
		case a := <-l.host.Unknown():
			l.unknown(a)
		case a := <-l.host.Echoes():
			l.echoed(a)
		case <-ticker.C:
			l.tick()
		}
	}
}

func (l *loop) do(j job) { l.jobs = append(l.jobs, j) }

func (l *loop) tick() {
	l.ticks++
	l.tokens = newKeys
	now := time.Now()
	l.expireHeld(now)
	maps.DeleteFunc(l.quarantine, func(_ netip.Addr, until time.Time) bool { return !now.Before(until) })
	l.apply.retry(l, l.ticks%checkEvery == 0)
	l.removeLeaving()
	l.feel()
	if l.ticks%reportEvery == 0 {
		l.report()
	}
	if l.ticks%checkEvery == 0 || !l.hostIP.IsValid() {
		l.underlay()
	}
	if l.ticks%checkEvery == 0 {
		l.prune()
		l.idle()
	}
}

// adopt takes over what an earlier process left. Attachments that never
// finished wait a while for their caller, who got no answer and asks again.
func (l *loop) adopt() {
	for _, c := range l.containers {
		if !c.Attached {
			c.resumeBy = time.Now().Add(resumeTime)
		} else {
			l.listenFor(c)
		}
	}
	if len(l.containers) > 0 {
		l.log.Info("adopting containers", "count", len(l.containers), "subnet", text(l.subnet))
	}
	l.underlay()
	if len(l.containers) > 0 {
		l.change()
	}
	l.prune()
}

// underlay looks up how other workers reach this one.
func (l *loop) underlay() {
	iface, public := l.daemon.cfg.Iface, l.daemon.cfg.PublicIP
	l.looking++
	l.do(func(ctx context.Context) func() {
		addr, mtu, err := l.host.Underlay(ctx, iface)
		return func() {
			l.looking--
			defer l.goOn()
			if err != nil {
				if !l.hostIP.IsValid() {
					l.log.Warn("no underlay yet", "error", err)
				}
				return
			}
			if addr == l.hostIP && mtu == l.mtu {
				return
			}
			l.log.Debug("underlay", "from", text(l.hostIP), "to", text(addr), "mtu", mtu, "public", text(public))
			l.hostIP, l.mtu = addr, mtu
			l.change()
			l.report()
		}
	})
}

// goOn with what waited for the underlay.
func (l *loop) goOn() {
	waiting := l.looked
	l.looked = nil
	for _, w := range waiting {
		w()
	}
}

// advertised is the address other workers send to.
func (l *loop) advertised() netip.Addr {
	if l.daemon.cfg.PublicIP.IsValid() {
		return l.daemon.cfg.PublicIP
	}
	return l.hostIP
}

func (l *loop) overlayMTU() int {
	if l.mtu == 0 {
		return 1450
	}
	return min(1450, l.mtu-50)
}

func (l *loop) desired() rules.Desired {
	s := l.state()
	s.Dead = l.unreached(s)
	return plan.Compile(s)
}

// state is what the kernel's is compiled from.
func (l *loop) state() plan.State {
	s := plan.State{
		Node: rules.Node{
			ID: l.reg.Node, Subnet: l.subnet, HostIP: l.hostIP, Port: TunnelPort, MTU: l.overlayMTU(),
		},
		Tables: l.book.Tables, Peers: l.book.Peers,
	}
	for _, c := range l.containers {
		if c.Attached && !c.Leaving {
			s.Endpoints = append(s.Endpoints, c.Endpoint)
		}
	}
	return s
}

func (l *loop) record() state.Record {
	r := state.Record{
		Registration: l.reg, Subnet: l.subnet, Quarantine: maps.Clone(l.quarantine), Last: l.last,
		Tables: maps.Clone(l.book.Tables), Peers: maps.Clone(l.book.Peers), Interests: l.interests.Names(),
	}
	for _, c := range l.containers {
		r.Containers = append(r.Containers, c.Container)
	}
	return r
}

// readiness is nil when containers can be attached.
func (l *loop) readiness() error {
	switch {
	case l.reg.Node == "":
		return fmt.Errorf("no NodeEngine has registered yet")
	case !l.subnet.IsValid() && l.refusal != "":
		return fmt.Errorf("the cluster manager gave no subnet: %s", l.refusal)
	case !l.subnet.IsValid():
		return fmt.Errorf("no subnet from the cluster manager yet (MQTT %s:%d)", l.reg.Address, l.reg.Port)
	case !l.hostIP.IsValid():
		return fmt.Errorf("this machine has no address towards other workers yet (choose an interface with -iface)")
	case l.apply.last != nil:
		return fmt.Errorf("the kernel refuses the rules: %w", l.apply.last)
	case l.apply.done == 0:
		return fmt.Errorf("rules are being written")
	}
	return nil
}

// text prints what may be missing yet for the log.
func text[T interface {
	IsValid() bool
	String() string
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}
