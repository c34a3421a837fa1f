package clusterlink

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"oakestra/api/mqtt"
	"oakestra/netmanager"
	"oakestra/pkg/lifecycle"
)

const (
	queueSize   = 256
	keepAlive   = 5 * time.Second
	connectTime = 5 * time.Second
	writeTime   = 5 * time.Second
)

// Link is one node's conversation. Make it with New.
type Link struct {
	target  netmanager.Target
	log     *slog.Logger
	boot    string
	inbound chan netmanager.Inbound
	out     chan netmanager.Outbound
	watched map[string]bool // owned by Run
}

var _ netmanager.Uplink = (*Link)(nil)

// New makes a link that does nothing until Run.
func New(target netmanager.Target, logger *slog.Logger) *Link {
	return &Link{
		target: target, log: logger.With("part", "clusterlink"), boot: rand.Text(),
		inbound: make(chan netmanager.Inbound, queueSize), out: make(chan netmanager.Outbound, queueSize),
		watched: map[string]bool{},
	}
}

// Inbound delivers in the order of arrival.
func (l *Link) Inbound() <-chan netmanager.Inbound { return l.inbound }

// Send queues; a full queue loses the message.
func (l *Link) Send(m netmanager.Outbound) {
	select {
	case l.out <- m:
	default:
		l.log.Warn("message to the cluster lost: the queue is full")
	}
}

// Run keeps a session until ctx ends.
func (l *Link) Run(ctx context.Context) error {
	pause := lifecycle.NewBackoff(200*time.Millisecond, 5*time.Second)
	broken := ""
	for ctx.Err() == nil {
		err := l.session(ctx, func() { broken = ""; pause.Reset() })
		if ctx.Err() != nil {
			return nil
		}
		if text := err.Error(); text != broken {
			broken = text
			l.log.Warn("no session with the cluster's broker, trying again", "broker", l.broker(), "error", err)
		}
		timer := time.NewTimer(pause.Next())
		l.discard(ctx, timer.C)
		timer.Stop()
	}
	return nil
}

// discard drops what is sent while there is no session; a report follows.
func (l *Link) discard(ctx context.Context, until <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-until:
			return
		case m := <-l.out:
			l.remember(m)
		}
	}
}

func (l *Link) remember(m netmanager.Outbound) {
	if m.Watch != "" {
		l.watched[m.Watch] = true
	}
	delete(l.watched, m.Unwatch)
}

func (l *Link) broker() string {
	return "tcp://" + net.JoinHostPort(l.target.Host, strconv.Itoa(l.target.Port))
}

func (l *Link) options(lost chan<- error, receive paho.MessageHandler) *paho.ClientOptions {
	will, _ := json.Marshal(mqtt.Gone{Agent: "net", Boot: l.boot})
	o := paho.NewClientOptions().AddBroker(l.broker()).SetClientID(mqtt.NetClientID(l.target.Node)).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetKeepAlive(keepAlive).
		SetConnectTimeout(connectTime).SetWriteTimeout(writeTime).SetOrderMatters(true).
		SetBinaryWill(mqtt.NodeTopic(l.target.Node, mqtt.UpGone), will, 1, false).
		SetDefaultPublishHandler(receive).
		SetConnectionLostHandler(func(_ paho.Client, err error) {
			select {
			case lost <- err:
			default:
			}
		})
	if l.target.Key != "" {
		o.SetUsername(l.target.Node).SetPassword(l.target.Key)
	}
	return o
}

func (l *Link) session(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	client := paho.NewClient(l.options(lost, func(_ paho.Client, m paho.Message) { l.receive(ctx, m) }))
	if err := await(ctx, client.Connect()); err != nil {
		client.Disconnect(0)
		return err
	}
	defer func() { cancel(); client.Disconnect(100) }()
	filters := map[string]byte{}
	for _, s := range []string{mqtt.DownSubnet, mqtt.DownTableResult, mqtt.DownNetState} {
		filters[mqtt.NodeTopic(l.target.Node, s)] = 1
	}
	for name := range l.watched {
		filters[mqtt.UpdatesTopic(name)] = 1
	}
	if err := await(ctx, client.SubscribeMultiple(filters, nil)); err != nil {
		return err
	}
	l.log.Info("session with the cluster's broker", "broker", l.broker())
	up()
	l.push(ctx, netmanager.Inbound{Session: true})
	opened := false // the cluster has been told everything in this session
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case m := <-l.out:
			opened = opened || (m.Report != nil && m.Report.Snapshot)
			if !opened && partial(m) {
				continue // left over from before; the snapshot says it
			}
			if err := l.write(ctx, client, m); err != nil {
				return err
			}
		}
	}
}

// partial messages mean something only to who has had the whole.
func partial(m netmanager.Outbound) bool {
	return m.Report != nil || m.Ack != nil || m.Deployed != nil || m.Undeployed != nil
}

func await(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Link) write(ctx context.Context, client paho.Client, m netmanager.Outbound) error {
	l.remember(m)
	switch {
	case m.Watch != "":
		return await(ctx, client.Subscribe(mqtt.UpdatesTopic(m.Watch), 1, nil))
	case m.Unwatch != "":
		return await(ctx, client.Unsubscribe(mqtt.UpdatesTopic(m.Unwatch)))
	}
	suffix, body := encode(l.boot, m)
	payload, err := json.Marshal(body)
	if err != nil || suffix == "" {
		l.log.Error("message has no wire form", "error", err)
		return nil
	}
	token := client.Publish(mqtt.NodeTopic(l.target.Node, suffix), 1, false, payload)
	select { // paho keeps the order; an unacknowledged message shows as a lost connection
	case <-token.Done():
		return token.Error()
	default:
		return nil
	}
}

func (l *Link) receive(ctx context.Context, m paho.Message) {
	if rest, ok := strings.CutPrefix(m.Topic(), "jobs/"); ok {
		if name, _, ok := strings.Cut(rest, "/"); ok {
			l.push(ctx, netmanager.Inbound{Bell: name})
		}
		return
	}
	node, suffix, ok := mqtt.SplitNodeTopic(m.Topic())
	if !ok || node != l.target.Node {
		return
	}
	in, err := decode(suffix, m.Payload())
	if err != nil {
		l.log.Warn("message from the cluster makes no sense", "topic", m.Topic(), "error", err)
		return
	}
	l.push(ctx, in)
}

func (l *Link) push(ctx context.Context, m netmanager.Inbound) {
	select {
	case l.inbound <- m:
	case <-ctx.Done():
	}
}
