package auth

import (
	"sync"
	"time"
)

// maxVerified bounds the tokens whose check is remembered.
const maxVerified = 1024

// verified remembers what valid tokens say: a client that polls sends the same
// one again and again, and taking it apart was a fifth of a GET. Only what the
// token's own bytes decide is remembered. Its times are compared anew with
// each use, and so is everything that the store decides: user, password,
// session. A nil *verified remembers nothing.
type verified struct {
	mu  sync.Mutex
	say map[string]claims
}

func (v *verified) get(token string, now time.Time) (claims, bool) {
	if v == nil {
		return claims{}, false
	}
	v.mu.Lock()
	c, ok := v.say[token]
	v.mu.Unlock()
	return c, ok && now.Before(c.ExpiresAt.Time) && !now.Before(c.NotBefore.Time)
}

func (v *verified) put(token string, c claims) {
	if v == nil || c.ExpiresAt == nil || c.NotBefore == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.say == nil || len(v.say) >= maxVerified {
		v.say = map[string]claims{}
	}
	v.say[token] = c
}
