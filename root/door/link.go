package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Serve takes the connections of cluster links until ln closes.
func (o *Door) Serve(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if !o.enter() {
			_ = conn.Close()
			continue
		}
		go func() {
			defer o.links.Done()
			o.link(conn)
		}()
	}
}

// enter counts a link in; false once Stop was called.
func (o *Door) enter() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.alive.Err() != nil {
		return false
	}
	o.links.Add(1)
	return true
}

// Stop ends every link and every forwarded request, and waits for the links.
func (o *Door) Stop() {
	o.mu.Lock()
	o.stop()
	o.mu.Unlock()
	o.Shut()
	o.links.Wait()
	if t, ok := o.proxy.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// link hands a connection to the gRPC server of this process, or connects it
// with the process that serves.
func (o *Door) link(conn net.Conn) {
	if in := o.here(); in != nil {
		in.links.deliver(conn)
		return
	}
	defer func() { _ = conn.Close() }()
	address, era := o.there()
	if address == "" {
		return // the cluster tries again
	}
	if err := o.serves(era, address); err != nil {
		o.log.Debug("a link cannot be forwarded", "to", address, "error", err)
		return
	}
	far, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(era, "tcp", address)
	if err != nil {
		o.log.Debug("a link cannot be forwarded", "to", address, "error", err)
		return
	}
	join(era, conn, far)
}

// serves asks a process whether it serves, so that a link never goes round.
func (o *Door) serves(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	r.Header.Set(forwarded, "1")
	answer, err := o.proxy.Transport.RoundTrip(r)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // lets the connection be used again
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, answer.Status)
	}
	return nil
}

// join copies both ways until either side or ctx ends.
func join(ctx context.Context, a, b net.Conn) {
	end := sync.OnceFunc(func() { _ = a.Close(); _ = b.Close() })
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // ends with the connection
			end()
		})
	}
	wg.Wait()
}

// feed is a listener that is handed connections.
type feed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFeed() *feed { return &feed{conns: make(chan net.Conn), done: make(chan struct{})} }

func (f *feed) deliver(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

// Accept waits for the next connection.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return net.ErrClosed.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr is of no use: the port is somebody else's.
func (f *feed) Addr() net.Addr { return &net.UnixAddr{Name: "door", Net: "unix"} }
