package assign

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/store"
	"oakestra/root/witness"
)

// Book is what the desk reads of clusters and how it tells them; *clusters.Book
// implements it. It never calls the desk while it holds its lock.
type Book interface {
	Heard
	Room(id model.ClusterID) (clusters.Room, bool)
	Reports(id model.InstanceID) map[model.ClusterID]clusters.Facts
	Send(id model.ClusterID, d clusters.Desired) bool
	Forget(id model.InstanceID)
	Know(c store.Cluster)
	Unexplained(known func(model.InstanceID) bool) []control.UnknownView
}

// Heard says who can be heard.
type Heard interface {
	Active(id model.ClusterID) bool
	Connected(id model.ClusterID) bool
	Liveness(id model.ClusterID, node model.NodeID) instance.Liveness
}

// Deps is what a Desk works with. Now may be nil.
type Deps struct {
	Store   store.Store
	Book    Book
	Witness *witness.File
	Events  Events // nil: nothing is remembered
	Logger  *slog.Logger
	Now     func() time.Time
}

// Events is told what was decided. Begin gets a number that grows with every
// start of the root.
type Events interface {
	events.Recorder
	Begin(start uint64)
}

// Desk is the root's scheduler and registrar. Its Pool serves addresses.
type Desk struct {
	*Pool
	deps    Deps
	log     *slog.Logger
	now     func() time.Time
	resolve *resolver

	calls chan func(*state) // run by the loop, one at a time
	bell  chan struct{}
	loop  chan struct{} // closed when the loop has ended

	mu     sync.Mutex // guards what follows
	woken  map[model.ServiceID]bool
	turned map[model.InstanceID]bool
	moved  map[model.ClusterID]bool
	shown  recoveryShown
	opened bool
}

// recoveryShown is the recovery as others see it.
type recoveryShown struct {
	on      bool
	waiting []string
}

// NewDesk makes a desk that does nothing until Run.
func NewDesk(d Deps) *Desk {
	if d.Events == nil {
		d.Events = events.NewJournal(nil)
	}
	now := d.Now
	if now == nil {
		now = time.Now
	}
	return &Desk{
		Pool: newPool(), deps: d, log: d.Logger.With("part", "assign"), now: now, resolve: newResolver(),
		calls: make(chan func(*state)), bell: make(chan struct{}, 1), loop: make(chan struct{}),
		woken: map[model.ServiceID]bool{}, turned: map[model.InstanceID]bool{}, moved: map[model.ClusterID]bool{},
		shown: recoveryShown{on: true, waiting: []string{"its own store"}},
	}
}

// Wake tells that a service or its wanted instances changed. With numbers,
// nothing but those instances did, and it costs the same however many the
// service has.
func (d *Desk) Wake(id model.ServiceID, numbers ...int) {
	d.mu.Lock()
	if len(numbers) == 0 {
		d.woken[id] = true
	}
	for _, n := range numbers {
		d.turned[model.InstanceID{Service: id, Number: n}] = true
	}
	d.mu.Unlock()
	d.ring()
}

// Moved tells that a cluster came, went, or has other room.
func (d *Desk) Moved(id model.ClusterID) {
	d.mu.Lock()
	d.moved[id] = true
	d.mu.Unlock()
	d.ring()
}

func (d *Desk) ring() {
	select {
	case d.bell <- struct{}{}:
	default:
	}
}

// news is what happened since it was asked last.
type news struct {
	woken  map[model.ServiceID]bool
	turned map[model.InstanceID]bool
	moved  map[model.ClusterID]bool
}

func (d *Desk) news() news {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := news{d.woken, d.turned, d.moved}
	d.woken, d.turned, d.moved = map[model.ServiceID]bool{}, map[model.InstanceID]bool{}, map[model.ClusterID]bool{}
	return n
}

// Recovery says whether the root waits for clusters, and for which.
func (d *Desk) Recovery() (on bool, waitingFor []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown.on, d.shown.waiting
}

// Ready says why the root cannot serve yet; nil once the store was read.
func (d *Desk) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.opened {
		return fmt.Errorf("the store is being read: %w", errs.Unavailable)
	}
	return nil
}

// Resolve finds the service of a job name or an address.
func (d *Desk) Resolve(query string) (model.Service, bool) { return d.resolve.find(query) }

// Unknown lists containers that no record explains. They are left running.
func (d *Desk) Unknown() []control.UnknownView { return d.deps.Book.Unexplained(d.resolve.known) }

// call runs f in the loop and waits for it. Unavailable when the loop has
// ended.
func call[T any](ctx context.Context, d *Desk, f func(*state) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	var zero T
	select {
	case d.calls <- func(s *state) { v, err := f(s); done <- result{v, err} }:
	case <-d.loop:
		return zero, fmt.Errorf("the root is stopping: %w", errs.Unavailable)
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	r := <-done
	return r.v, r.err
}

// Run owns the state until ctx ends. Errors: the store cannot be read.
func (d *Desk) Run(ctx context.Context) error {
	defer close(d.loop)
	s, err := d.open(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		d.pass(ctx, s)
		select {
		case <-ctx.Done():
			d.remember(context.WithoutCancel(ctx), s)
			return nil
		case f := <-d.calls:
			f(s)
		case <-d.bell:
		case <-tick.C:
			d.expireAddresses(ctx)
			d.remember(ctx, s)
		}
	}
}

// show publishes whether this is a recovery, for readers outside the loop.
func (d *Desk) show(s *state) {
	names := s.awaitedNames()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown, d.opened = recoveryShown{on: s.recovery, waiting: names}, true
}
