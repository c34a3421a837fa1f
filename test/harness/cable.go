package harness

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

var (
	errRefused = errors.New("connection refused")
	errTimeout = errors.New("connection timed out")
)

// cable is a way between two machines that can be cut. While it is cut nothing
// arrives and nobody is told.
type cable struct {
	mu      sync.Mutex
	cut     bool
	whole   chan struct{} // closed while it is not cut
	streams map[*stream]bool
	onEdge  func(cut bool)
}

func newCable() *cable {
	c := &cable{whole: make(chan struct{}), streams: map[*stream]bool{}}
	close(c.whole)
	return c
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	if c.cut == cut {
		c.mu.Unlock()
		return
	}
	if c.cut = cut; cut {
		c.whole = make(chan struct{})
	} else {
		close(c.whole)
	}
	f := c.onEdge
	c.mu.Unlock()
	if f != nil {
		f(cut)
	}
}

func (c *cable) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *cable) mended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole
}

// wait returns whether the cable is whole within d.
func (c *cable) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.mended():
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !c.isCut()
}

// syn tries to connect as a kernel does: again after 1, 2, 4 and 8 s, then it
// gives up.
func (c *cable) syn(ctx context.Context) error {
	for pause := time.Second; c.isCut(); pause *= 2 {
		if pause > 8*time.Second {
			return errTimeout
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// sever breaks every stream; what was on its way is lost.
func (c *cable) sever() {
	c.mu.Lock()
	list := slices.Collect(maps.Keys(c.streams))
	clear(c.streams)
	c.mu.Unlock()
	for _, s := range list {
		s.end()
	}
}

func (c *cable) carry(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[s] = true
}

func (c *cable) drop(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}
