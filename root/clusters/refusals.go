package clusters

import (
	"sync"
	"time"
)

const (
	// sayAgain is how often the same refusal is logged: a manager tries again
	// every second or two, for hours.
	sayAgain = time.Minute
	// mostRefused bounds what is remembered; beyond, all are said anew.
	mostRefused = 1000
)

// refusal is who was refused, and why.
type refusal struct{ name, key, reason string }

// refusals remembers what was logged lately.
type refusals struct {
	mu   sync.Mutex
	seen map[refusal]*refused
}

type refused struct {
	said  time.Time
	tries int // since then
}

func newRefusals() *refusals { return &refusals{seen: map[refusal]*refused{}} }

// tried counts a refusal. It returns how many there were since it was said
// last, this one included, when it is time to say so, and 0 else.
func (r *refusals) tried(v refusal) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, was := time.Now(), r.seen[v]
	if was == nil {
		r.forget(now)
		was = &refused{}
		r.seen[v] = was
	}
	if was.tries++; now.Sub(was.said) < sayAgain {
		return 0
	}
	n := was.tries
	was.said, was.tries = now, 0
	return n
}

// forget drops those who have not tried for a while.
func (r *refusals) forget(now time.Time) {
	for v, was := range r.seen {
		if now.Sub(was.said) >= 2*sayAgain {
			delete(r.seen, v)
		}
	}
	if len(r.seen) >= mostRefused {
		clear(r.seen)
	}
}
