package mqttlink

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// filters are what agents send; not nodes/#, or we would hear ourselves.
func filters() []string {
	var f []string
	for _, suffix := range upSuffixes() {
		f = append(f, mqtt.NodeTopic("+", suffix))
	}
	return f
}

// message is one MQTT message.
type message struct {
	topic   string
	payload []byte
}

// Link is nodelink.Link over MQTT. Make it with New.
type Link struct {
	cfg     Config
	log     *slog.Logger
	inbound chan nodelink.Inbound
	inbox   *inbox
	out     chan message
	stopped chan struct{} // closed when Run ends: nobody takes messages any more
	allowed atomic.Pointer[map[model.NodeID]bool]

	dropped atomic.Int64
	mu      sync.Mutex
	blamed  map[model.NodeID]bool // whose nonsense is already in the log
}

var _ nodelink.Link = (*Link)(nil)

// New makes a link that does nothing until Run. A nil logger is silent.
func New(cfg Config, logger *slog.Logger) *Link {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	cfg = cfg.withDefaults()
	l := &Link{
		cfg: cfg, log: logger.With("part", "nodelink"),
		// What waits should wait in the inbox, where a report replaces an older one.
		inbound: make(chan nodelink.Inbound, min(cfg.Queue, 256)),
		inbox:   newInbox(8 * cfg.Queue),
		out:     make(chan message, cfg.Queue),
		stopped: make(chan struct{}),
		blamed:  map[model.NodeID]bool{},
	}
	if cfg.Local != nil {
		cfg.Local.Subscribe(filters(), l.receive)
	}
	return l
}

// Inbound delivers what workers sent, in order per worker.
func (l *Link) Inbound() <-chan nodelink.Inbound { return l.inbound }

// Allow tells which node ids exist; messages of others are dropped.
func (l *Link) Allow(nodes []model.NodeID) {
	m := make(map[model.NodeID]bool, len(nodes))
	for _, n := range nodes {
		m[n] = true
	}
	l.allowed.Store(&m)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.blamed {
		if !m[n] {
			delete(l.blamed, n)
		}
	}
}

// Dropped counts messages from workers that made no sense or found no room.
func (l *Link) Dropped() int64 { return l.dropped.Load() }

// Send queues a message. Errors: errs.Invalid for a message that has no wire
// form, errs.Exhausted when the queue is full.
func (l *Link) Send(ctx context.Context, node model.NodeID, m nodelink.Outbound) error {
	topic, payload, err := encode(node, m)
	if err != nil {
		return err
	}
	select {
	case l.out <- message{topic, payload}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("send to %s: %w: %w", node, ctx.Err(), errs.Unavailable)
	default:
		return fmt.Errorf("send to %s: queue is full: %w", node, errs.Exhausted)
	}
}

// Run serves until ctx ends. It returns an error only for a configuration
// that can never work; an absent broker is retried for ever.
func (l *Link) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { close(l.stopped) })
	g.Go(func() error { return l.unpack(ctx) })
	if l.cfg.Local == nil {
		g.Go(func() error { return l.runRemote(ctx) })
		return g.Wait()
	}
	g.Go(func() error {
		select {
		case <-l.cfg.Local.Ready():
		case <-ctx.Done():
			return nil
		}
		l.push(nodelink.Inbound{Serving: &nodelink.Serving{}})
		return l.pump(ctx, func(m message) error { return l.cfg.Local.Publish(m.topic, m.payload) })
	})
	return g.Wait()
}

// pump publishes what Send queued until ctx ends. What cannot be published is
// lost: the loops above send again.
func (l *Link) pump(ctx context.Context, publish func(message) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.out:
			if err := publish(m); err != nil {
				l.log.Debug("message lost", "topic", m.topic, "error", err)
			}
		}
	}
}

// known reads the topic of a message; false when nobody has that id.
func (l *Link) known(topic string) (node model.NodeID, suffix string, ok bool) {
	id, suffix, ok := mqtt.SplitNodeTopic(topic)
	node = model.NodeID(id)
	allowed := l.allowed.Load()
	return node, suffix, ok && allowed != nil && (*allowed)[node]
}

// receive keeps a message of the broker in this process. It is called in the
// goroutine of the agent that sent, of which there are many: little happens
// there, so that their stacks stay small. Waiting for room slows that agent
// down, and loses nothing.
func (l *Link) receive(topic string, payload []byte) {
	node, suffix, ok := l.known(topic)
	for ok && !l.inbox.put(raw{node, suffix, payload}) {
		select {
		case <-l.inbox.room():
		case <-l.stopped:
			return
		}
	}
}

// unpack turns what the inbox holds into messages, until ctx ends.
func (l *Link) unpack(ctx context.Context) error {
	var items []raw
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.inbox.bell:
		}
		items = l.inbox.take(items)
		for i, m := range items {
			if ctx.Err() != nil {
				return nil
			}
			l.deliver(m)
			items[i] = raw{}
		}
	}
}

func (l *Link) deliver(m raw) {
	in, err := decode(m.suffix, m.payload)
	if err != nil {
		l.blame(m.node, m.suffix, err)
		return
	}
	in.Node = m.node
	l.push(in)
}

// push waits for room.
func (l *Link) push(in nodelink.Inbound) {
	select {
	case l.inbound <- in:
	case <-l.stopped:
	}
}

func (l *Link) blame(node model.NodeID, topic string, err error) {
	l.dropped.Add(1)
	l.mu.Lock()
	known := l.blamed[node]
	l.blamed[node] = true
	l.mu.Unlock()
	if !known {
		l.log.Warn("message dropped", "node", node, "topic", topic, "error", err)
	}
}
