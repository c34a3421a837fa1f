package mqttlink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/errs"
)

// refused is a broker's answer to a subscription that it does not allow.
const refused = 0x80

var errTimeout = errors.New("the broker does not answer")

// runRemote keeps a session with an outside broker. Each session is a client
// of its own: paho's own reconnect hides when subscriptions are back.
func (l *Link) runRemote(ctx context.Context) error {
	url, err := brokerURL(l.cfg.URL)
	if err != nil {
		return fmt.Errorf("broker address %q: %w", l.cfg.URL, err)
	}
	pause, down := l.cfg.RetryMin, false
	for ctx.Err() == nil {
		served, err := l.session(ctx, url)
		if ctx.Err() != nil {
			return nil
		}
		if served {
			pause, down = l.cfg.RetryMin, false
		}
		if !down { // one line per outage
			l.log.Warn("broker lost", "address", url, "error", err)
			down = true
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, l.cfg.RetryMax)
	}
	return nil
}

// session connects, subscribes, says Serving, publishes until the
// connection or ctx ends, and says Deaf. served says whether it got that far.
func (l *Link) session(ctx context.Context, url string) (served bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := paho.NewClient(l.options(url, func(err error) { cancel(err) }))
	defer client.Disconnect(100)
	if err := wait(ctx, client.Connect(), l.cfg.ConnectTimeout); err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	// No callback here: paho would split the topic of each message and of all
	// filters to find it again. The default one hears everything.
	token := client.SubscribeMultiple(subscriptions(), nil)
	if err := wait(ctx, token, l.cfg.ConnectTimeout); err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	if t, ok := token.(*paho.SubscribeToken); ok {
		for topic, code := range t.Result() {
			if code == refused {
				return false, fmt.Errorf("subscribe %s: %w", topic, errs.Forbidden)
			}
		}
	}
	l.log.Info("broker serves", "address", url)
	l.push(nodelink.Inbound{Serving: &nodelink.Serving{}})
	err = l.pump(ctx, func(m message) error {
		return wait(ctx, client.Publish(m.topic, 0, false, m.payload), l.cfg.ConnectTimeout)
	})
	l.push(nodelink.Inbound{Deaf: &nodelink.Deaf{}})
	return true, errors.Join(err, context.Cause(ctx))
}

// subscriptions asks for what comes again in 2 s anyway at QoS 0. At QoS 1 a
// broker has 20 messages (mosquitto's default) on the way to us and waits for
// our acknowledgement of each: on a busy machine that is less than a large site
// sends, and what waits makes living workers look lost.
func subscriptions() map[string]byte {
	subs := map[string]byte{}
	for _, suffix := range upSuffixes() {
		subs[mqtt.NodeTopic("+", suffix)] = 1
		if periodic(suffix) || suffix == mqtt.UpNetReport {
			subs[mqtt.NodeTopic("+", suffix)] = 0
		}
	}
	return subs
}

// hear keeps what the broker delivers.
func (l *Link) hear(_ paho.Client, m paho.Message) {
	node, suffix, ok := l.known(m.Topic())
	if ok && !l.inbox.put(raw{node, suffix, m.Payload()}) {
		l.dropped.Add(1)
	}
}

func (l *Link) options(url string, lost func(error)) *paho.ClientOptions {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	o := paho.NewClientOptions().AddBroker(url)
	o.SetClientID("cluster-manager-" + l.cfg.ClusterName + "-" + hex.EncodeToString(suffix))
	o.SetUsername(l.cfg.Username).SetPassword(l.cfg.Password)
	o.SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false)
	o.SetConnectTimeout(l.cfg.ConnectTimeout).SetWriteTimeout(l.cfg.ConnectTimeout)
	// That the broker is gone must be known before the silence of workers
	// would count.
	o.SetKeepAlive(3 * time.Second).SetPingTimeout(2 * time.Second)
	// In order means one handler at a time, so the handler must not wait.
	o.SetOrderMatters(true)
	o.SetDefaultPublishHandler(l.hear)
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { lost(err) })
	return o
}

// wait bounds paho's tokens; some of them never complete on a dead connection.
func wait(ctx context.Context, t paho.Token, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-timer.C:
		return fmt.Errorf("%w: %w", errTimeout, errs.Unavailable)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
