package lifecycle

import (
	"testing"
	"time"
)

// TestPatience: a server that cannot be reached is tried again every few
// seconds for ever; one that answers without serving is left in peace.
func TestPatience(t *testing.T) {
	p := NewPatience()
	longest := func(unreachable bool, served time.Duration) (most time.Duration) {
		for range 50 {
			most = max(most, p.Next(unreachable, served))
		}
		return most
	}
	if got := longest(true, 0); got > 1250*time.Millisecond {
		t.Errorf("unreachable: a pause of %s", got)
	}
	if got := longest(false, 0); got < 15*time.Second || got > 19*time.Second {
		t.Errorf("busy: the longest pause is %s, want 15 s and up to a quarter more", got)
	}
	if got := longest(false, time.Second); got < 15*time.Second {
		t.Errorf("one that falls over as soon as it serves: the longest pause is %s, want 15 s", got)
	}
	if got := longest(false, 6*time.Second); got > 700*time.Millisecond {
		t.Errorf("after sessions that served: a pause of %s", got)
	}
}
