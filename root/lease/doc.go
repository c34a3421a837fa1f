// Package lease decides which of several system managers on one store serves,
// and keeps that decision. Each is told when it has the lease, and made to stop
// before anybody else can have it.
//
// No clocks are compared. A holder renews by changing the lease; whoever has
// seen it unchanged for a whole TTL, by its own clock, takes it. The holder
// counts its time from before it sent the last renewal that succeeded, and
// stops earlier than that: so two serve at once only when a process is frozen
// for longer than the margin and does not notice. The lease is efficiency,
// compare-and-swap in the store is correctness: what such a process writes is
// refused wherever a later term has written (store.Leases.Fence).
//
// Caller: root.Daemon.
package lease
