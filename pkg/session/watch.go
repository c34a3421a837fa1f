package session

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often Watch looks whether the other side has closed.
	lookEvery = time.Second
	// pingEvery keeps proxies on the way from taking a quiet session for a dead one.
	pingEvery = 20 * time.Second
	// pingWithin is how long one ping may take. That no pong came means nothing.
	pingWithin = 5 * time.Second
)

// keepAlive finds one that is away without a word (no power, a cut cable) after
// half a minute, also while nothing is read.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// beneath is the connection that the kernel knows.
func beneath(c net.Conn) net.Conn {
	for {
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = over.NetConn()
	}
}

// prepare has the end of this process be heard at once. A close waits behind
// what the other side does not read, for ever when it never does; a reset does
// not.
func (s *Socket) prepare() {
	s.linger(0)
	if c, ok := s.line.(interface {
		SetKeepAliveConfig(config net.KeepAliveConfig) error
	}); ok {
		_ = c.SetKeepAliveConfig(keepAlive) // fails only when it is closed
	}
}

func (s *Socket) linger(seconds int) {
	if c, ok := s.line.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(seconds) // fails only when it is closed
	}
}

// Watch calls gone when the other side is found to be away, until ctx ends: who
// waits for room to pass on what it has received does not read, and would not
// notice. One that is there but slow is left alone.
func (s *Socket) Watch(ctx context.Context, gone func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		closed, room := s.look()
		if !closed && room && s.sending.Load() == 0 && time.Since(last) >= pingEvery {
			last = time.Now()
			closed = !s.ping(ctx)
		}
		if closed {
			if ctx.Err() == nil { // else it was this side
				gone()
			}
			return
		}
	}
}

// ping is false when the connection is closed. Only one that has room at once
// may be pinged: the library closes it when the ping cannot be written.
func (s *Socket) ping(ctx context.Context) bool {
	// A context that ends within a write closes the connection, and somebody
	// may still have a last word.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingWithin)
	defer cancel()
	err := s.c.Ping(limit)
	return err == nil || errors.Is(err, context.DeadlineExceeded)
}

// look asks the kernel whether the other side has closed the connection, also
// behind what was not read yet, and whether there is room to send.
func (s *Socket) look() (closed, room bool) {
	c, ok := s.line.(syscall.Conn)
	if !ok {
		return false, true // none of the kernel's: a pipe
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true, false
	}
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT | unix.POLLRDHUP}}
		if _, wrong := unix.Poll(p, 0); wrong != nil {
			return // interrupted; it is asked again
		}
		closed = p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
		room = p[0].Revents&unix.POLLOUT != 0
	})
	return closed || err != nil, room
}
