package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

// Book is the part of the store that the fleet writes.
type Book interface {
	Load(ctx context.Context) (store.State, error)
	Commit(ctx context.Context, b store.Batch) error
}

// Deps is what the fleet acts through.
type Deps struct {
	Book    Book
	Link    nodelink.Link
	Network tables.Network
	Root    Root
	// RootHeard is when the root was heard last; nil when that is not known.
	RootHeard func() time.Time
	Logger    *slog.Logger // may be nil
	// Lag is told how late the loop came to a tick; may be nil.
	Lag func(time.Duration)
}

// Fleet is the loop over workers and placements.
type Fleet struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	cmds chan func(*core)
}

// New makes a fleet that does nothing until Run.
func New(cfg Config, deps Deps) *Fleet {
	log := deps.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Fleet{cfg: cfg.withDefaults(), deps: deps, log: log.With("part", "fleet"), cmds: make(chan func(*core), 256)}
}

// do runs fn in the loop, some time later.
func (f *Fleet) do(ctx context.Context, fn func(*core)) error {
	select {
	case f.cmds <- fn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the fleet does not answer: %w: %w", ctx.Err(), errs.Unavailable)
	}
}

// ask runs fn in the loop and hands back its result once all decisions that
// came before are stored.
func ask[T any](ctx context.Context, f *Fleet, fn func(*core) T) (T, error) {
	out := make(chan T, 1)
	var zero T
	err := f.do(ctx, func(c *core) {
		v := fn(c)
		c.afterCommit(func() { out <- v })
	})
	if err != nil {
		return zero, err
	}
	select {
	case v := <-out:
		return v, nil
	case <-ctx.Done():
		return zero, fmt.Errorf("the fleet does not answer: %w: %w", ctx.Err(), errs.Unavailable)
	}
}

// Snapshot is everything the root is told after a Welcome.
func (f *Fleet) Snapshot(ctx context.Context) (Snapshot, error) { return ask(ctx, f, (*core).snapshot) }

// Holdings is what the cluster holds.
func (f *Fleet) Holdings(ctx context.Context) (Holdings, error) { return ask(ctx, f, (*core).holdings) }

// Status is for people and probes.
func (f *Fleet) Status(ctx context.Context) (Status, error) {
	return ask(ctx, f, func(c *core) Status {
		var s Status
		for _, n := range c.nodes {
			if n.live == instance.Alive || n.live == instance.Suspect {
				s.ActiveNodes++
				s.NetworkNodes += one(n.Network)
			}
		}
		return s
	})
}

// Desired takes what the root wants; it returns when the book holds it.
func (f *Fleet) Desired(ctx context.Context, d Desired) error {
	_, err := ask(ctx, f, func(c *core) bool { c.desired(d); return true })
	return err
}

// Blocks takes the address blocks leased to the cluster.
func (f *Fleet) Blocks(ctx context.Context, g Grants) error {
	_, err := ask(ctx, f, func(c *core) bool { c.blocksGranted(g); return true })
	return err
}

// Run serves until ctx ends. Error: the book cannot be read or written.
func (f *Fleet) Run(ctx context.Context) error {
	state, err := f.deps.Book.Load(ctx)
	if err != nil {
		return fmt.Errorf("read the cluster's book: %w", err)
	}
	c := newCore(ctx, f, state)
	defer c.leaves.Wait()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	report := time.NewTicker(5 * time.Second)
	defer report.Stop()
	for {
		if err := c.settle(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case in := <-f.deps.Link.Inbound():
			c.wake(time.Now())
			c.handle(in)
			c.drain()
		case fn := <-f.cmds:
			c.wake(time.Now())
			fn(c)
			c.answer()
		case due := <-tick.C:
			if f.deps.Lag != nil {
				f.deps.Lag(time.Since(due))
			}
			c.wake(time.Now())
			c.tick()
		case <-report.C:
			c.wake(time.Now())
			c.publish()
		}
	}
}

// answer does what else is asked for, so that many who ask share one write.
func (c *core) answer() {
	for range 255 {
		select {
		case fn := <-c.f.cmds:
			fn(c)
		default:
			return
		}
	}
}

func (c *core) drain() {
	for range 255 {
		select {
		case in := <-c.f.deps.Link.Inbound():
			c.handle(in)
		default:
			return
		}
	}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// wake moves the clock. A gap means that we slept, not that workers did.
func (c *core) wake(now time.Time) {
	switch gap := now.Sub(c.now); {
	case gap > agentPatience: // their connections are gone, too
		c.forgive(now.Add(returnWithin))
	case gap > 2*time.Second:
		c.forgive(now)
	}
	c.now = now
}

// forgive lets the silence of everybody count from a time on.
func (c *core) forgive(from time.Time) {
	from = from.Add(c.crowd())
	for _, n := range c.nodes {
		if n.live != instance.Lost {
			n.Base = later(n.Base, from)
		}
	}
}

// crowd is how much longer than a few many workers need to be heard again:
// they come back all at once, and each has to register and connect. Without it
// those at the end of the queue of a large site count as lost before it is
// their turn, and what replaces their instances makes the queue longer.
func (c *core) crowd() time.Duration {
	return time.Duration(len(c.nodes)/100) * 200 * time.Millisecond
}
