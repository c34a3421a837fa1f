package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"oakestra/pkg/errs"
)

// Broker is one MQTT broker; make it with New and run it with Run.
type Broker struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{}

	mu     sync.Mutex
	once   sync.Once
	addr   net.Addr
	server *mochi.Server // nil unless running
	subs   []subscription

	dropped atomic.Int64
	refused atomic.Int64
}

type subscription struct {
	filter string
	fn     func(topic string, payload []byte)
}

// New makes a broker that does nothing until Run. A nil logger is silent.
func New(cfg Config, logger *slog.Logger) *Broker {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Broker{cfg: cfg.withDefaults(), log: logger.With("part", "broker"), ready: make(chan struct{})}
}

// Ready is closed as soon as agents can connect.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is where the broker listens; nil before Ready.
func (b *Broker) Addr() net.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr
}

// Stats counts what an operator wants to know.
type Stats struct {
	Connected int   // clients now
	Dropped   int64 // messages to clients that were cut because of it
	Refused   int64 // connections, publishes and subscriptions that were not allowed
}

// Stats may be called at any time.
func (b *Broker) Stats() Stats {
	s := Stats{Dropped: b.dropped.Load(), Refused: b.refused.Load()}
	if server := b.current(); server != nil {
		s.Connected = int(atomic.LoadInt64(&server.Info.ClientsConnected))
	}
	return s
}

func (b *Broker) current() *mochi.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server
}

// Subscribe calls fn for every message an agent publishes on a topic that
// matches one of the filters, in the order of that agent's messages. fn blocks
// that agent only; it must return once the context of its owner ends. Call it
// before Run.
func (b *Broker) Subscribe(filters []string, fn func(topic string, payload []byte)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range filters {
		b.subs = append(b.subs, subscription{f, fn})
	}
}

// Publish hands a message to the clients that are connected and subscribed,
// at QoS 0: TCP delivers it, or the connection breaks and the agent reports
// anew. It never waits for a client. Error: errs.Unavailable when not running.
func (b *Broker) Publish(topic string, payload []byte) error {
	server := b.current()
	if server == nil {
		return fmt.Errorf("publish %s: broker is not running: %w", topic, errs.Unavailable)
	}
	// QoS 1 would take the lock of the client, which a stalled write holds.
	if err := server.Publish(topic, payload, false, 0); err != nil {
		return fmt.Errorf("publish %s: %w: %w", topic, err, errs.Internal)
	}
	return nil
}

// Run listens and serves until ctx ends. Error: errs.Unavailable when the
// address cannot be had.
func (b *Broker) Run(ctx context.Context) error {
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for MQTT on %s: %w: %w", b.cfg.Listen, err, errs.Unavailable)
	}
	server, err := b.build(tcp)
	if err != nil {
		return fmt.Errorf("build the broker: %w: %w", err, errs.Internal)
	}
	if err := server.Serve(); err != nil {
		return fmt.Errorf("serve MQTT: %w: %w", err, errs.Internal)
	}
	b.mu.Lock()
	b.server, b.addr = server, tcp.Addr()
	b.mu.Unlock()
	b.once.Do(func() { close(b.ready) })
	b.log.Info("broker listens", "address", tcp.Addr().String())

	<-ctx.Done()
	b.mu.Lock()
	b.server = nil
	b.mu.Unlock()
	if err := server.Close(); err != nil {
		return fmt.Errorf("close the broker: %w: %w", err, errs.Internal)
	}
	return nil
}

func (b *Broker) build(tcp net.Listener) (*mochi.Server, error) {
	server := mochi.New(&mochi.Options{
		Capabilities: b.capabilities(),
		InlineClient: true,
		Logger:       slog.New(onlyErrors{b.log.Handler()}),
		// The $SYS tick stops the world to read memory statistics.
		SysTopicResendInterval: int64((24 * time.Hour).Seconds()),
	})
	gate := newGuard(b)
	if err := server.AddHook(gate, nil); err != nil {
		return nil, err
	}
	b.mu.Lock()
	subs := b.subs
	b.mu.Unlock()
	for i, s := range subs {
		err := server.Subscribe(s.filter, i+1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
			s.fn(pk.TopicName, pk.Payload)
		})
		if err != nil {
			return nil, fmt.Errorf("subscribe %s: %w", s.filter, err)
		}
	}
	return server, server.AddListener(newListener(tcp, b.cfg, gate))
}

func (b *Broker) capabilities() *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = int64(b.cfg.MaxConnections)
	c.MaximumClientWritesPending = int32(min(b.cfg.MaxQueued, math.MaxInt32))
	c.MaximumPacketSize = uint32(min(b.cfg.MaxPacket, math.MaxInt32))
	c.MaximumSessionExpiryInterval = 0
	c.MaximumInflight = 256
	c.ReceiveMaximum = 256
	c.TopicAliasMaximum = 0
	c.RetainAvailable = 0
	c.SharedSubAvailable = 0
	c.MaximumQos = 1
	return c
}
