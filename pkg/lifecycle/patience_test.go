package lifecycle

import (
	"testing"
	"time"
)

// TestPatience: a server that cannot be reached is tried again every few
// seconds for ever; one that answers without serving is left in peace.
func TestPatience(t *testing.T) {
	p := NewPatience()
	longest := func(unreachable bool, lasted time.Duration) (most time.Duration) {
		for range 50 {
			most = max(most, p.Next(unreachable, lasted))
		}
		return most
	}
	if got := longest(true, time.Second); got > 1250*time.Millisecond {
		t.Errorf("unreachable: a pause of %s", got)
	}
	if got := longest(false, time.Second); got < 15*time.Second || got > 19*time.Second {
		t.Errorf("busy: the longest pause is %s, want 15 s and up to a quarter more", got)
	}
	if got := longest(false, 2*time.Minute); got > 700*time.Millisecond {
		t.Errorf("after a session that held: a pause of %s", got)
	}
}
