package lifecycle

import "time"

// ConnectWithin bounds one attempt to open a connection of a session that is
// tried again with Patience.
const ConnectWithin = 2 * time.Second

// Patience is how long to wait before the next session with a server. Whom
// nobody hears costs nobody anything and tries again soon, so that a healed
// network is noticed within seconds. A server that answers but does not serve
// has too much to do: it is given time. Not safe for concurrent use.
type Patience struct{ near, far *Backoff }

// NewPatience waits 0.25 to 1 s for whom cannot be reached, 0.5 to 15 s for
// others, and jitter.
func NewPatience() Patience {
	return Patience{NewBackoff(250*time.Millisecond, time.Second), NewBackoff(500*time.Millisecond, 15*time.Second)}
}

// servedFor is how long a server must have served to count as one that does.
const servedFor = 5 * time.Second

// Next is the pause after a session in which the server served for so long, or
// for which no connection could be opened. One that is killed again and again,
// but serves in between, is not one that is too busy.
func (p Patience) Next(unreachable bool, served time.Duration) time.Duration {
	if served >= servedFor {
		p.Reset()
	}
	if unreachable {
		return p.near.Next()
	}
	return p.far.Next()
}

// Reset makes the next pause the shortest again.
func (p Patience) Reset() {
	p.near.Reset()
	p.far.Reset()
}
