package assign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/store"
	"oakestra/root/witness"
)

// Book is what the desk reads of clusters and how it tells them; *clusters.Book
// implements it.
type Book interface {
	Active(id model.ClusterID) bool
	Room(id model.ClusterID) (clusters.Room, bool)
	Reports(id model.InstanceID) map[model.ClusterID]clusters.Facts
	Send(id model.ClusterID, d clusters.Desired) bool
	Forget(id model.InstanceID)
	Know(c store.Cluster)
}

// Deps is what a Desk works with. Now may be nil.
type Deps struct {
	Store   store.Store
	Book    Book
	Witness *witness.File
	Logger  *slog.Logger
	Now     func() time.Time
}

// Desk is the root's scheduler and registrar. Its Pool serves addresses.
type Desk struct {
	*Pool
	deps Deps
	log  *slog.Logger
	now  func() time.Time

	calls chan func(*state) // run by the loop, one at a time
	bell  chan struct{}
	loop  chan struct{} // closed when the loop has ended

	mu      sync.Mutex // guards what follows, but resolve
	woken   map[model.ServiceID]bool
	moved   map[model.ClusterID]bool
	shown   recoveryShown
	opened  bool
	resolve resolver
}

// recoveryShown is the recovery as others see it.
type recoveryShown struct {
	on      bool
	waiting []string
}

// state is what the loop owns.
type state struct {
	clusters  map[model.ClusterID]store.Cluster
	instances map[model.InstanceID]*slot
	services  map[model.ServiceID]model.Service
	blocks    *address.Blocks
	index     *placement.Index
	// settle holds instances that were placed; their reservations end with the
	// next aggregate of their cluster, which counts them itself.
	settle      map[model.ClusterID]map[model.InstanceID]bool
	incarnation uint32
	recovery    bool
	awaited     map[model.ClusterID]bool // clusters to be heard in recovery
}

// slot is a stored instance with what the loop remembers of it.
type slot struct {
	store.Instance
	refused map[model.ClusterID]bool // under the present spec, until they have other room
	retryAt time.Time
}

// NewDesk makes a desk that does nothing until Run.
func NewDesk(d Deps) *Desk {
	now := d.Now
	if now == nil {
		now = time.Now
	}
	return &Desk{
		Pool: newPool(), deps: d, log: d.Logger.With("part", "assign"), now: now,
		calls: make(chan func(*state)), bell: make(chan struct{}, 1), loop: make(chan struct{}),
		woken: map[model.ServiceID]bool{}, moved: map[model.ClusterID]bool{}, resolve: newResolver(),
		shown: recoveryShown{on: true, waiting: []string{"its own store"}},
	}
}

// Wake tells that wanted instances of a service changed.
func (d *Desk) Wake(id model.ServiceID) {
	d.mu.Lock()
	d.woken[id] = true
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

// Recovery says whether the root waits for clusters, and for which.
func (d *Desk) Recovery() (on bool, waitingFor []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown.on, d.shown.waiting
}

// Resolve finds the service of a job name or an address.
func (d *Desk) Resolve(query string) (model.Service, map[int]netip.Addr, bool) {
	return d.resolve.find(query)
}

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
	d.pass(ctx, s)
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-d.calls:
			f(s)
		case <-d.bell:
		case <-tick.C:
			d.expireAddresses(ctx)
			d.remember(ctx, s)
		}
		d.pass(ctx, s)
	}
}

// open reads everything stored and finds out whether this is a recovery.
func (d *Desk) open(ctx context.Context) (*state, error) {
	s := &state{settle: map[model.ClusterID]map[model.InstanceID]bool{}, awaited: map[model.ClusterID]bool{}}
	if err := d.settleIncarnation(ctx, s); err != nil {
		return nil, fmt.Errorf("settle the incarnation: %w", err)
	}
	if err := d.load(ctx, s); err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	return s, nil
}

// load (re)builds the state from the store.
func (d *Desk) load(ctx context.Context, s *state) error {
	st := d.deps.Store
	cl, err1 := st.Clusters().List(ctx)
	ins, err2 := st.Instances().List(ctx, "")
	svcs, err3 := st.Services().List(ctx, "")
	blocks, err4 := st.Blocks().List(ctx)
	claims, err5 := st.Claims().List(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	s.clusters, s.instances, s.services = map[model.ClusterID]store.Cluster{}, map[model.InstanceID]*slot{}, map[model.ServiceID]model.Service{}
	s.blocks, s.index = address.NewBlocks(), placement.NewIndex()
	for _, c := range cl {
		s.clusters[c.ID] = c
		d.deps.Book.Know(c)
	}
	for _, in := range ins {
		s.instances[in.ID] = &slot{Instance: in}
	}
	for _, v := range svcs {
		s.services[v.ID] = v
	}
	for _, b := range blocks {
		if err := s.blocks.Claim(b.Prefix, b.Cluster); err != nil {
			d.log.Error("a stored block cannot be right", "block", b.Prefix.String(), "error", err)
		}
	}
	for id := range s.clusters {
		d.refreshRoom(s, id)
	}
	closed := ""
	if s.recovery {
		closed = "the root is in recovery"
	}
	d.Pool.load(claims, closed)
	d.resolve.load(s.services, s.instances)
	d.show(s)
	return nil
}

// expireAddresses frees rested addresses in pool and store.
func (d *Desk) expireAddresses(ctx context.Context) {
	for _, a := range d.expire(d.now()) {
		if err := d.deps.Store.Claims().Release(ctx, a); err != nil {
			d.log.Error("free a rested address", "address", a.String(), "error", err)
		}
	}
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
