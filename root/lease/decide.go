package lease

import (
	"time"

	"oakestra/root/store"
)

// action is what somebody without the lease does next.
type action int

const (
	wait action = iota
	take
)

// decide looks at a lease that has been seen unchanged for a while. One that
// names this very process is taken anew: it was won, and the answer was lost.
func decide(me string, seen store.Lease, unchanged, ttl time.Duration) action {
	if seen.Holder == "" || seen.Holder == me || unchanged >= ttl {
		return take
	}
	return wait
}

// taken is the lease after it was taken.
func taken(seen store.Lease, me, address string) store.Lease {
	return store.Lease{Holder: me, Address: address, Term: seen.Term + 1}
}

// renewed is the lease after another beat.
func renewed(l store.Lease) store.Lease {
	l.Beat++
	return l
}

// released is the lease after it was given back.
func released(l store.Lease) store.Lease { return store.Lease{Term: l.Term} }

// watch remembers since when a lease has looked the same.
type watch struct {
	lease store.Lease
	since time.Time
	known bool
}

// see notes what a lease is and returns for how long it has been so.
func (w *watch) see(l store.Lease, now time.Time) time.Duration {
	if !w.known || w.lease != l {
		*w = watch{l, now, true}
	}
	return now.Sub(w.since)
}
