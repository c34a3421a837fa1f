package auth

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"oakestra/pkg/errs"
)

// limits bound what is tried, per (name, address) and per address.
type limits struct {
	one     int           // of one name from one address, before waiting
	all     int           // of any names from one address
	first   time.Duration // doubles with each further one
	longest time.Duration
}

const (
	freeFailures = 5                // failed logins of one name from one address
	forgetAfter  = 10 * time.Minute // without a failure
	maxTracked   = 8192             // entries; the oldest go first
)

var (
	loginLimits = limits{one: freeFailures, all: 30, first: time.Second, longest: time.Minute}
	askLimits   = limits{one: 3, all: 10, first: time.Minute, longest: 10 * time.Minute}
)

// Throttled says that too much was tried and when to try again. It is of class
// Unavailable; root/rest answers 429.
type Throttled struct {
	After time.Duration
	What  string // "" means failed logins
}

// Error names the wait in seconds.
func (t Throttled) Error() string {
	what := t.What
	if what == "" {
		what = "failed logins"
	}
	return fmt.Sprintf("too many %s, try again in %d s", what, t.Seconds())
}

// Seconds is the wait, rounded up.
func (t Throttled) Seconds() int { return int((t.After + time.Second - 1) / time.Second) }

// Unwrap makes errors.Is(err, errs.Unavailable) true.
func (t Throttled) Unwrap() error { return errs.Unavailable }

type throttleKey struct {
	name string // "" counts every name of the address
	from netip.Addr
}

type failures struct {
	count int
	last  time.Time
	until time.Time
}

// throttle counts failures. A name is counted together with the address, so
// that nobody can lock Admin out from elsewhere.
type throttle struct {
	limits  limits
	mu      sync.Mutex
	entries map[throttleKey]failures
}

func newThrottle(l limits) *throttle {
	return &throttle{limits: l, entries: map[throttleKey]failures{}}
}

// source is what counts as one address: of IPv6 the /64, for a single host
// has all of it to choose from.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// blocked returns how long to wait, 0 for not at all.
func (t *throttle) blocked(name string, from netip.Addr, now time.Time) time.Duration {
	from = source(from)
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := max(
		t.entries[throttleKey{name, from}].until.Sub(now),
		t.entries[throttleKey{"", from}].until.Sub(now),
	)
	return max(wait, 0)
}

func (t *throttle) failed(name string, from netip.Addr, now time.Time) {
	from = source(from)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(throttleKey{name, from}, t.limits.one, now)
	t.count(throttleKey{"", from}, t.limits.all, now)
}

func (t *throttle) count(k throttleKey, free int, now time.Time) {
	f := t.entries[k]
	if now.Sub(f.last) > forgetAfter {
		f = failures{}
	}
	f.count++
	f.last = now
	if over := f.count - free; over >= 0 {
		f.until = now.Add(min(t.limits.first<<min(over, 16), t.limits.longest))
	}
	if _, known := t.entries[k]; !known && len(t.entries) >= maxTracked {
		t.evict()
	}
	t.entries[k] = f
}

// evict drops the eighth that failed longest ago, so that its cost is spread
// over the next failures.
func (t *throttle) evict() {
	oldest := slices.SortedFunc(maps.Keys(t.entries), func(a, b throttleKey) int {
		return t.entries[a].last.Compare(t.entries[b].last)
	})
	for _, k := range oldest[:len(oldest)/8] {
		delete(t.entries, k)
	}
}

func (t *throttle) succeeded(name string, from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, throttleKey{name, source(from)})
}

// Local says whether an address is on this machine or in a private network
// (RFC 1918, RFC 4193, link-local). An invalid address is not.
func Local(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}
