package harness

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

var (
	errRefused = errors.New("connection refused")
	errTimeout = errors.New("connection timed out")
)

// cable is a way between two machines that can be cut. While it is cut nothing
// arrives and nobody is told.
type cable struct {
	mu     sync.Mutex
	cut    bool
	whole  chan struct{} // closed while it is not cut
	conns  map[net.Conn]bool
	onEdge func(cut bool)
}

func newCable() *cable {
	c := &cable{whole: make(chan struct{}), conns: map[net.Conn]bool{}}
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

// dial joins the caller to a listener through the cable. What is written
// arrives after delay; while the cable is cut it waits, and when the
// connection is broken it is lost.
func (c *cable) dial(ctx context.Context, to *bufconn.Listener, delay time.Duration) (net.Conn, error) {
	if err := c.syn(ctx); err != nil {
		return nil, err
	}
	if to == nil {
		return nil, errRefused
	}
	server, err := to.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	c.mu.Lock()
	c.conns[far], c.conns[server] = true, true
	c.mu.Unlock()
	go c.pump(far, server, delay)
	go c.pump(server, far, delay)
	return near, nil
}

func (c *cable) pump(from, to net.Conn, delay time.Duration) {
	defer func() {
		c.mu.Lock()
		delete(c.conns, from)
		c.mu.Unlock()
		_ = from.Close()
		_ = to.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			time.Sleep(delay)
			<-c.mended()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
			<-c.mended() // the other end hears of it when it can hear anything
			return
		}
	}
}

// sever breaks every connection; what was on its way is lost.
func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
}
