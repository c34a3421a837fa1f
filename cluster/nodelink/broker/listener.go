package broker

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// longestSilence bounds connections of clients that asked for no keep-alive.
const longestSilence = 3 * time.Minute

// listener hands connections to mochi, as long as there is room for them.
type listener struct {
	tcp  net.Listener
	cfg  Config
	gate *guard

	mu      sync.Mutex
	open    map[*conn]struct{}
	pending map[netip.Addr]int
	closed  bool
	serving sync.WaitGroup
}

func newListener(tcp net.Listener, cfg Config, gate *guard) *listener {
	return &listener{tcp: tcp, cfg: cfg, gate: gate, open: map[*conn]struct{}{}, pending: map[netip.Addr]int{}}
}

func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return "tcp" }
func (l *listener) Address() string         { return l.tcp.Addr().String() }
func (l *listener) Protocol() string        { return "tcp" }

// Serve accepts until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		raw, err := l.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors: wait for some to be freed
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c := l.take(raw)
		if c == nil {
			l.gate.refuse("too many connections", "", addrOf(raw))
			_ = raw.Close()
			continue
		}
		go func() {
			defer l.serving.Done()
			defer l.release(c)
			_ = establish(l.ID(), c) // every client ends with some error; the guard has logged what matters
		}()
	}
}

func (l *listener) take(raw net.Conn) *conn {
	from := addrOf(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.cfg.MaxConnections || l.pending[from] >= l.cfg.MaxPending {
		return nil
	}
	c := &conn{Conn: raw, from: from, writeTimeout: l.cfg.WriteTimeout, owner: l}
	_ = raw.SetReadDeadline(time.Now().Add(l.cfg.ConnectTimeout))
	l.open[c] = struct{}{}
	l.pending[from]++
	l.serving.Add(1)
	return c
}

func (l *listener) release(c *conn) {
	_ = c.Conn.Close()
	c.admitted()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// Close stops accepting, closes every connection and waits for their ends.
func (l *listener) Close(closeClients listeners.CloseFn) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.tcp.Close()
	l.mu.Lock()
	for c := range l.open {
		_ = c.Conn.Close() // first: a farewell would wait for each client that does not read
	}
	l.mu.Unlock()
	closeClients(l.ID())
	l.serving.Wait()
}

// conn is a client's connection with deadlines that mochi does not keep: a
// write that does not get through ends the connection, and no client is
// silent for ever.
type conn struct {
	net.Conn
	from         netip.Addr
	writeTimeout time.Duration
	owner        *listener
	let          atomic.Bool
}

// admitted takes the connection out of the count of strangers.
func (c *conn) admitted() {
	if c.let.Swap(true) {
		return
	}
	l := c.owner
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending[c.from]--; l.pending[c.from] <= 0 {
		delete(l.pending, c.from)
	}
}

// SetDeadline is mochi's keep-alive: it is meant for reading. Until a client
// is let in, the deadline of the connect packet stands.
func (c *conn) SetDeadline(t time.Time) error {
	if !c.let.Load() {
		return nil
	}
	if longest := time.Now().Add(longestSilence); t.IsZero() || t.After(longest) {
		t = longest
	}
	return c.SetReadDeadline(t)
}

func (c *conn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	n, err := c.Conn.Write(p)
	if err != nil {
		_ = c.Conn.Close() // half a packet is out: nothing sensible can follow
	}
	return n, err
}

func addrOf(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
