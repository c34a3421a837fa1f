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

// Limits of failed logins, per (name, address) and per address.
const (
	freeFailures    = 5                // of one name from one address, before waiting
	freeFailuresAll = 30               // of any names from one address
	firstWait       = time.Second      // doubles with each further failure
	longestWait     = time.Minute      //
	forgetAfter     = 10 * time.Minute // without a failure
	maxTracked      = 8192             // entries; the oldest go first
)

// Throttled says that too many logins failed and when to try again. It is of
// class Unavailable; root/rest answers 429.
type Throttled struct{ After time.Duration }

// Error names the wait in seconds.
func (t Throttled) Error() string {
	return fmt.Sprintf("too many failed logins, try again in %d s", t.Seconds())
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
	mu      sync.Mutex
	entries map[throttleKey]failures
}

func newThrottle() *throttle { return &throttle{entries: map[throttleKey]failures{}} }

// blocked returns how long to wait, 0 for not at all.
func (t *throttle) blocked(name string, from netip.Addr, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := max(
		t.entries[throttleKey{name, from}].until.Sub(now),
		t.entries[throttleKey{"", from}].until.Sub(now),
	)
	return max(wait, 0)
}

func (t *throttle) failed(name string, from netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(throttleKey{name, from}, freeFailures, now)
	t.count(throttleKey{"", from}, freeFailuresAll, now)
}

func (t *throttle) count(k throttleKey, free int, now time.Time) {
	f := t.entries[k]
	if now.Sub(f.last) > forgetAfter {
		f = failures{}
	}
	f.count++
	f.last = now
	if over := f.count - free; over >= 0 {
		f.until = now.Add(min(firstWait<<min(over, 16), longestWait))
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
	delete(t.entries, throttleKey{name, from})
}

// Local says whether an address is on this machine or in a private network
// (RFC 1918, RFC 4193, link-local). An invalid address is not.
func Local(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}
