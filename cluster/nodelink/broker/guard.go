package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"oakestra/api/mqtt"
)

var errTooSlow = errors.New("client does not read its messages")

// guard is the hook that decides who may connect and what for.
type guard struct {
	mochi.HookBase
	broker *Broker
	born   time.Time
	warned atomic.Int64 // when a refusal was logged last, in ns since born

	mu       sync.Mutex
	sessions map[string]*session // by client id
}

type session struct {
	client *mochi.Client
	from   netip.Addr
	boot   string       // of the agent, as its last will says; "" from originals
	heard  atomic.Int64 // ns since the guard was born
}

func newGuard(b *Broker) *guard {
	return &guard{broker: b, born: time.Now(), sessions: map[string]*session{}}
}

// age is the monotonic time since the guard was born, in ns. It begins at a
// second, so that the first refusal is logged.
func (g *guard) age() int64 { return int64(time.Second + time.Since(g.born)) }

// ID names the hook in mochi's records.
func (g *guard) ID() string { return "guard" }

// Provides lists what mochi shall ask.
func (g *guard) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnDisconnect,
		mochi.OnPacketRead, mochi.OnPublishDropped,
	}, b) >= 0
}

// OnConnect turns every session into a clean one: nothing is kept for a
// client that is not there.
func (g *guard) OnConnect(cl *mochi.Client, _ packets.Packet) error {
	cl.Properties.Clean = true
	cl.Properties.Props.SessionExpiryInterval = 0
	return nil
}

// OnConnectAuthenticate admits agents of nodes.
func (g *guard) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return false
	}
	if why := g.why(cl.ID, c.from, pk); why != "" {
		g.refuse(why, cl.ID, c.from)
		return false
	}
	c.admitted()
	_ = c.SetDeadline(time.Now().Add(time.Duration(cl.State.Keepalive) * 3 * time.Second / 2))
	s := &session{client: cl, from: c.from, boot: bootOf(pk)}
	s.heard.Store(g.age())
	g.mu.Lock()
	g.sessions[cl.ID] = s
	g.mu.Unlock()
	g.broker.log.Debug("agent connected", "client", cl.ID, "address", c.from)
	return true
}

// why not; "" admits.
func (g *guard) why(id string, from netip.Addr, pk packets.Packet) string {
	// mochi has made up an id for who sent none.
	if pk.Connect.ClientIdentifier == "" || !validClientID(id) {
		return "no usable client id"
	}
	// mochi publishes a last will without asking for permission.
	if pk.Connect.WillFlag && !mayPublish(id, pk.Connect.WillTopic) {
		return "last will on a foreign topic"
	}
	admit := g.broker.cfg.Admit
	if admit != nil && !slices.ContainsFunc(nodeOf(id), func(n string) bool { return admit(n, from) }) {
		return "node may not connect from here"
	}
	g.mu.Lock()
	old := g.sessions[id]
	g.mu.Unlock()
	if old == nil || old.client.Closed() || old.from == from && sameStart(old.boot, bootOf(pk)) {
		return ""
	}
	// The incumbent wins while it answers. The same start of an agent at the
	// same address takes over at once: its old connection is not yet known to
	// be dead. Another start there may be another machine behind a gateway; one
	// that has replaced the first finds that connection closed by its kernel.
	if silent := time.Duration(g.age() - old.heard.Load()); silent < g.broker.cfg.Incumbent {
		return "client id is in use by " + old.from.String()
	}
	return ""
}

// bootOf is the start of the agent that a last will names.
func bootOf(pk packets.Packet) string {
	var will mqtt.Gone
	if !pk.Connect.WillFlag || json.Unmarshal(pk.Connect.WillPayload, &will) != nil {
		return ""
	}
	return will.Boot
}

// sameStart says that two sessions may be of one process: originals do not say.
func sameStart(a, b string) bool { return a == "" || b == "" || a == b }

// OnPacketRead notes that a client lives.
func (g *guard) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type != packets.Connect {
		g.mu.Lock()
		s := g.sessions[cl.ID]
		g.mu.Unlock()
		if s != nil && s.client == cl {
			s.heard.Store(g.age())
		}
	}
	return pk, nil
}

// OnDisconnect forgets the session unless another has taken its place.
func (g *guard) OnDisconnect(cl *mochi.Client, _ error, _ bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sessions[cl.ID]; s != nil && s.client == cl {
		delete(g.sessions, cl.ID)
	}
}

// OnACLCheck is asked for subscriptions, publishes and every delivery.
func (g *guard) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	ok := mayRead(cl.ID, topic)
	if write {
		ok = mayPublish(cl.ID, topic)
	}
	if !ok {
		from := netip.Addr{}
		if c, isConn := cl.Net.Conn.(*conn); isConn {
			from = c.from
		}
		g.refuse("topic "+topic+" is not of this agent", cl.ID, from)
	}
	return ok
}

// OnPublishDropped cuts the client whose queue is full: it comes back with a
// report and gets what holds then, instead of a stream with a hole.
func (g *guard) OnPublishDropped(cl *mochi.Client, _ packets.Packet) {
	g.broker.dropped.Add(1)
	if cl.Closed() {
		return
	}
	g.broker.log.Warn("agent cut", "client", cl.ID, "reason", "does not read its messages")
	cl.Stop(errTooSlow)
}

// refuse counts, and logs once a second at most: refusals come in floods.
func (g *guard) refuse(why, client string, from netip.Addr) {
	g.broker.refused.Add(1)
	now, last := g.age(), g.warned.Load()
	if now-last < int64(time.Second) || !g.warned.CompareAndSwap(last, now) {
		return
	}
	g.broker.log.Warn("refused", "client", client, "address", from, "reason", why)
}

// onlyErrors keeps mochi's notes on every connection out of the log.
type onlyErrors struct{ slog.Handler }

func (h onlyErrors) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}

func (h onlyErrors) WithAttrs(a []slog.Attr) slog.Handler {
	return onlyErrors{h.Handler.WithAttrs(a)}
}

func (h onlyErrors) WithGroup(n string) slog.Handler { return onlyErrors{h.Handler.WithGroup(n)} }
