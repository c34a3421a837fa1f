package address

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"oakestra/pkg/errs"
)

// ServiceRange is where service and instance addresses come from.
var ServiceRange = netip.MustParsePrefix("10.30.0.0/16")

// ServicePool is the book of ServiceRange. Addresses that end in 0 or 255 are
// never given out, nor accepted as a choice of 10.30.0.0 and 10.30.255.255:
// some stacks still treat them as network and broadcast addresses.
type ServicePool struct {
	held   map[netip.Addr]claim
	cursor uint32 // offset the next search starts at
}

type claim struct {
	holder string
	until  time.Time // zero: in use; else quarantined until then
}

// NewServicePool is empty.
func NewServicePool() *ServicePool {
	return &ServicePool{held: map[netip.Addr]claim{}, cursor: 1}
}

// Restore enters a stored claim without any check.
func (p *ServicePool) Restore(a netip.Addr, holder string, until time.Time) {
	p.held[a] = claim{holder: holder, until: until}
}

// Claim takes the chosen address. Errors: errs.Invalid outside the range or
// reserved, errs.Conflict naming the holder. What waits in quarantine goes back
// to the one that held it.
func (p *ServicePool) Claim(a netip.Addr, holder string) error {
	switch {
	case !ServiceRange.Contains(a):
		return fmt.Errorf("address %s is outside %s: %w", a, ServiceRange, errs.Invalid)
	case !Usable(a):
		return fmt.Errorf("address %s is reserved: %w", a, errs.Invalid)
	}
	if c, taken := p.held[a]; taken && (c.until.IsZero() || c.holder != holder) {
		if !c.until.IsZero() {
			return fmt.Errorf("address %s was freed by %s a moment ago and waits before it is given out again: %w", a, c.holder, errs.Conflict)
		}
		return fmt.Errorf("address %s is taken by %s: %w", a, c.holder, errs.Conflict)
	}
	p.held[a] = claim{holder: holder}
	return nil
}

// Next takes a free address. Error: errs.Exhausted. The search goes on where
// the last one ended, so freed addresses rest longest.
func (p *ServicePool) Next(holder string) (netip.Addr, error) {
	const size = 1 << 16
	for range size {
		a := offset(ServiceRange.Addr(), p.cursor)
		p.cursor = (p.cursor + 1) % size
		last := a.As4()[3]
		if last == 0 || last == 255 {
			continue
		}
		if _, taken := p.held[a]; !taken {
			p.held[a] = claim{holder: holder}
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address in %s: %w", ServiceRange, errs.Exhausted)
}

// Quarantine frees an address for its old holder at once and for others after
// the given time.
func (p *ServicePool) Quarantine(a netip.Addr, until time.Time) {
	if c, ok := p.held[a]; ok {
		c.until = until
		p.held[a] = c
	}
}

// Release frees an address for everybody.
func (p *ServicePool) Release(a netip.Addr) { delete(p.held, a) }

// Expire frees every address whose quarantine is over and returns them, sorted.
func (p *ServicePool) Expire(now time.Time) []netip.Addr {
	var freed []netip.Addr
	for a, c := range p.held {
		if !c.until.IsZero() && !now.Before(c.until) {
			delete(p.held, a)
			freed = append(freed, a)
		}
	}
	slices.SortFunc(freed, netip.Addr.Compare)
	return freed
}

// Holder says who holds an address; quarantined ones have a holder too.
func (p *ServicePool) Holder(a netip.Addr) (holder string, ok bool) {
	c, ok := p.held[a]
	return c.holder, ok
}

// Len counts held and quarantined addresses.
func (p *ServicePool) Len() int { return len(p.held) }

func offset(base netip.Addr, n uint32) netip.Addr {
	b := base.As4()
	var out [4]byte
	binary.BigEndian.PutUint32(out[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(out)
}

func lastOf(p netip.Prefix) netip.Addr {
	return offset(p.Addr(), 1<<(32-p.Bits())-1)
}

// Usable says whether an address may be chosen: inside the range and not
// reserved.
func Usable(a netip.Addr) bool {
	return ServiceRange.Contains(a) && a != ServiceRange.Addr() && a != lastOf(ServiceRange)
}
