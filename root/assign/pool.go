package assign

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

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

// retire lets an address rest; it must be retired in the store as well.
func (p *Pool) retire(a netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.Quarantine(a, until)
}

// expire frees addresses that have rested and returns them, for the store.
func (p *Pool) expire(now time.Time) []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.Expire(now)
}
