package sim

import (
	"context"
	"fmt"
	"net"
	"sync"

	"oakestra/pkg/errs"
)

// relay stands between a cluster-manager and the root. While it is cut nothing
// passes, not even the end of a connection: both sides find out by silence, as
// with a broken uplink.
type relay struct {
	address, to string

	listener net.Listener
	done     chan struct{} // closed when it stops
	running  sync.WaitGroup

	mu    sync.Mutex
	held  chan struct{} // while it is cut, closed at its end; else nil
	conns map[net.Conn]bool
}

func newRelay(address, to string) *relay {
	return &relay{address: address, to: to, done: make(chan struct{}), conns: map[net.Conn]bool{}}
}

func (r *relay) start() error {
	ln, err := net.Listen("tcp", r.address)
	if err != nil {
		return fmt.Errorf("relay to the root: %w: %w", err, errs.Unavailable)
	}
	r.listener = ln
	r.running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(c) })
		}
	})
	return nil
}

func (r *relay) stop() {
	if r.listener == nil {
		return
	}
	close(r.done)
	_ = r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

// cut holds everything back until heal.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = make(chan struct{})
	}
}

func (r *relay) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		close(r.held)
		r.held = nil
	}
}

// open waits while the relay is cut; false when it stops.
func (r *relay) open() bool {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.done:
		}
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// keep notes a connection, so that stop ends it; false when it is too late.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return false
	default:
		r.conns[c] = true
		return true
	}
}

func (r *relay) drop(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *relay) serve(down net.Conn) {
	defer r.drop(down)
	if !r.keep(down) || !r.open() {
		return
	}
	var d net.Dialer
	up, err := d.DialContext(context.Background(), "tcp", r.to)
	if err != nil {
		return
	}
	defer r.drop(up)
	if !r.keep(up) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pass(up, down) })
	both.Go(func() { r.pass(down, up) })
	both.Wait()
}

// pass copies until either side ends, and then ends the other one.
func (r *relay) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !r.open() {
			return
		}
		if n > 0 {
			if _, e := to.Write(buffer[:n]); e != nil {
				err = e
			}
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}
