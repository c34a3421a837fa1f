package httpx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// preface is how a client that knows the server speaks HTTP/2 begins
// (RFC 9113, 3.4). No HTTP/1 method starts like it, so four bytes decide.
const preface = "PRI "

// accept hands each connection to the listener its first bytes ask for.
func accept(ctx context.Context, ln net.Listener, web, links *sideListener, streams bool) error {
	var sniffers sync.WaitGroup
	defer sniffers.Wait()
	pause := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() { // out of descriptors, say
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(pause):
				}
				pause = min(2*pause, time.Second)
				continue
			}
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		pause = 5 * time.Millisecond
		if !streams {
			web.deliver(ctx, conn)
			continue
		}
		sniffers.Go(func() { sniff(ctx, conn, web, links) })
	}
}

func sniff(ctx context.Context, conn net.Conn, web, links *sideListener) {
	_ = conn.SetReadDeadline(time.Now().Add(peekTimeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	peeked := &peekedConn{Conn: conn, r: bufio.NewReaderSize(conn, 16)}
	head, err := peeked.r.Peek(len(preface))
	stop()
	if err != nil || ctx.Err() != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if string(head) == preface {
		links.deliver(ctx, newMeteredConn(peeked))
		return
	}
	web.deliver(ctx, peeked)
}

// peekedConn gives the bytes that were looked at to its reader, then reads the
// connection directly.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

// Read returns what was peeked first.
func (c *peekedConn) Read(p []byte) (int, error) {
	if c.r != nil {
		if n := c.r.Buffered(); n > 0 {
			return c.r.Read(p[:min(len(p), n)])
		}
		c.r = nil
	}
	return c.Conn.Read(p)
}

// NetConn is the connection itself, as of tls.Conn.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }

// sideListener is a listener that is fed connections.
type sideListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newSideListener(addr net.Addr) *sideListener {
	return &sideListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *sideListener) deliver(ctx context.Context, c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		_ = c.Close()
	case <-ctx.Done():
		_ = c.Close()
	}
}

// Accept waits for the next connection.
func (l *sideListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return net.ErrClosed.
func (l *sideListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is the address of the shared port.
func (l *sideListener) Addr() net.Addr { return l.addr }
