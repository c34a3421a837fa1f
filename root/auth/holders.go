package auth

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// trust is how long a token is taken for whom it was found to be, unless
	// this process writes accounts meanwhile: then it is looked up anew at the
	// next use. So it is also how late a change is seen that somebody else
	// wrote to the store.
	trust      = time.Second
	maxHolders = 1024
)

// holders remembers who holds a token: a client that polls sends the same one
// again and again, and taking it apart and reading user, session and
// organization was a seventh of a GET.
type holders struct {
	// era grows with every write of accounts, before it is acknowledged: what
	// was read before counts no more.
	era atomic.Uint64
	mu  sync.RWMutex
	of  map[string]holder
}

// holder is who was found, from what was stored in an era.
type holder struct {
	Identity
	era   uint64
	found time.Time
	ends  time.Time // of the token itself; zero for never
}

// get finds who holds a token. What it returns is shared: never written to.
func (k *holders) get(token string, now time.Time) (Identity, bool) {
	k.mu.RLock()
	h, ok := k.of[token]
	k.mu.RUnlock()
	age := now.Sub(h.found)
	ok = ok && h.era == k.era.Load() && age >= 0 && age < trust && (h.ends.IsZero() || now.Before(h.ends))
	if !ok {
		return Identity{}, false
	}
	return h.Identity, true
}

func (k *holders) put(token string, h holder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil || len(k.of) >= maxHolders {
		k.of = map[string]holder{}
	}
	k.of[strings.Clone(token)] = h // it is part of all headers of a request
}

// wrote ends the present era. It follows a write, also one that failed: it may
// have been carried out.
func (k *holders) wrote() { k.era.Add(1) }
