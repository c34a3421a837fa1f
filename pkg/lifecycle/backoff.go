package lifecycle

import (
	"math/rand/v2"
	"time"
)

// Backoff spaces out tries: min, doubling to max, each with up to 25 % jitter
// so that many clients that lost the same server do not return together. Not
// safe for concurrent use.
type Backoff struct {
	min, max, next time.Duration
}

// NewBackoff starts at shortest and never exceeds longest (plus jitter).
func NewBackoff(shortest, longest time.Duration) *Backoff {
	return &Backoff{min: shortest, max: longest, next: shortest}
}

// Next is the pause before the next try.
func (b *Backoff) Next() time.Duration {
	d := b.next
	b.next = min(b.next*2, b.max)
	return d + rand.N(d/4+1)
}

// Reset makes the next pause the shortest again, after a success.
func (b *Backoff) Reset() { b.next = b.min }
