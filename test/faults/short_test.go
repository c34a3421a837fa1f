package faults

import "testing"

// TestShort is what takes less than half a minute each, on one site: F12, and
// F3 in short form.
func TestShort(t *testing.T) {
	f := startField(t)
	f.step(t, "F12 an empty store, and the cluster cut off", f.emptied)
	f.step(t, "F12 the store of yesterday", f.yesterday)
	f.step(t, "F3 two flaps of a worker", func() { f.flap(2) })
}

// TestBooks is F9 and the last of F12. It ends with containers that belong to
// nobody, so it has a site of its own.
func TestBooks(t *testing.T) {
	long(t)
	f := startField(t)
	f.step(t, "F9 the cluster-manager's store is deleted", f.robbed)
	f.Site.T, f.user.t = t, t
	f.strangers()
}

// TestManagerStopped is F19.
func TestManagerStopped(t *testing.T) {
	long(t)
	f := startField(t)
	f.step(t, "F19 the cluster-manager stands still for 45 s", f.stopped)
}
