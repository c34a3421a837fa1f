package assign

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/address"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// rest is how long a freed address waits before somebody else may have it:
// caches and connections of clients must be over.
const rest = 60 * time.Second

// Pool gives out addresses of 10.30.0.0/16. The store has the last word: its
// insert is the claim; the pool finds free ones fast and keeps two requests
// from choosing the same. A mutex guards the book; it is never held across
// I/O.
type Pool struct {
	mu     sync.Mutex
	book   *address.ServicePool
	closed string // why nothing is given out; "" when open
}

// newPool is closed until load.
func newPool() *Pool { return &Pool{book: address.NewServicePool(), closed: "the root is starting"} }

// load replaces the book by what is stored and opens or closes the pool.
func (p *Pool) load(claims []store.Claim, closed string) {
	book := address.NewServicePool()
	for _, c := range claims {
		book.Restore(c.Address, c.Holder, c.Until)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book, p.closed = book, closed
}

// PickService reserves a service address, see control.Addresses.
func (p *Pool) PickService(_ context.Context, jobName string, chosen netip.Addr) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != "" {
		return netip.Addr{}, fmt.Errorf("no address can be given: %s: %w", p.closed, errs.Unavailable)
	}
	if !chosen.IsValid() {
		return p.book.Next(jobName)
	}
	return chosen, p.book.Claim(chosen, jobName)
}

// PickInstance reserves the address of a new slot.
func (p *Pool) PickInstance(context.Context) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != "" {
		return netip.Addr{}, fmt.Errorf("no address can be given: %s: %w", p.closed, errs.Unavailable)
	}
	return p.book.Next("an instance")
}

// Cancel gives back what was not stored after all.
func (p *Pool) Cancel(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.Release(a)
}

// Retire lets an address rest, see control.Addresses.
func (p *Pool) Retire(a netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.Quarantine(a, until)
}

// merge enters what is stored; what is reserved and not stored yet stays.
func (p *Pool) merge(claims []store.Claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range claims {
		p.book.Restore(c.Address, c.Holder, c.Until)
	}
}

// rested takes the addresses whose rest is over from their holders. They
// become free by Cancel, once the store has let go of them: were they free
// earlier, a claim made in between would be removed with the old one.
func (p *Pool) rested(now time.Time) []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.book.Expire(now)
	for _, a := range list {
		p.book.Restore(a, "", now) // nobody's, and found again should the store fail
	}
	return list
}

// expireAddresses frees rested addresses in store and pool.
func (d *Desk) expireAddresses(ctx context.Context) {
	g := errgroup.Group{}
	g.SetLimit(writesAtOnce)
	for _, a := range d.rested(d.now()) {
		g.Go(func() error {
			if err := d.deps.Store.Claims().Release(ctx, a); err != nil {
				d.log.Error("free a rested address", "address", a.String(), "error", err)
				return nil
			}
			d.Cancel(a)
			return nil
		})
	}
	_ = g.Wait() // each was logged
}
