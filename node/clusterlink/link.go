package clusterlink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"oakestra/api/mqtt"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/node/telemetry"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// Config of a Link.
type Config struct {
	Address string // of the cluster manager: host name or address
	Port    int
	Data    string // directory of identity.json
	Name    string // host name to register as; "" = the machine's
	VCPUs   int    // cores to offer; 0 = all
	NetPort int    // of NetManager; 0 = none
	// Ring is told of sessions that the cluster asks for; it must not block. nil:
	// none are served.
	Ring      func(mqtt.Session)
	Abilities []string // what the cluster may ask besides
}

// Engine is what the cluster commands.
type Engine interface {
	Deploy(ctx context.Context, s runtime.Spec) error
	Delete(ctx context.Context, t runner.Target, grace time.Duration) error
	Snapshot() []runner.Record
	Ready() <-chan struct{}
}

// Registered is what others on the worker need to know of a registration.
type Registered struct {
	ID, Key, Host string
	MQTTPort      int
}

// Link is the connection. Make it with New; Run works.
type Link struct {
	cfg        Config
	engine     Engine
	machine    *telemetry.Machine
	log        *slog.Logger
	registered func(context.Context, Registered)
	boot       string
	http       *http.Client
	changes    chan runner.Record
	probe      chan struct{}
	refused    time.Time // since when the cluster says that somebody else has our key
	// seq counts the reports of this start of the agent through all sessions: the
	// cluster takes none that is not newer than those before it.
	seq    uint64
	served time.Duration // from the first to the last report that the present session delivered
}

// enrolAgain is how long a worker insists on its key: the cluster needs 10 s to
// see that it was itself at another address, before.
const enrolAgain = 30 * time.Second

// New makes a link. registered is called after every registration, in a
// goroutine of its own.
func New(cfg Config, engine Engine, machine *telemetry.Machine, log *slog.Logger, registered func(context.Context, Registered)) *Link {
	return &Link{cfg: cfg, engine: engine, machine: machine, log: log, registered: registered,
		boot: randomHex(8), http: client(),
		changes: make(chan runner.Record, 256), probe: make(chan struct{}, 1)}
}

// Changed takes a state change for the cluster. It never blocks: what is
// dropped is in the next report.
func (l *Link) Changed(r runner.Record) {
	select {
	case l.changes <- r:
	default:
	}
}

// Run registers and serves until ctx ends, for ever trying again.
func (l *Link) Run(ctx context.Context) error {
	select {
	case <-l.engine.Ready():
	case <-ctx.Done():
		return nil
	}
	patience := lifecycle.NewPatience()
	for ctx.Err() == nil {
		l.served = 0
		err := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		pause := patience.Next(errors.Is(err, errUnreachable), l.served)
		l.log.Warn("no cluster; containers run on, trying again", "cluster", l.cfg.Address, "error", err, "pause", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// session is one registration and the MQTT connection it opened.
func (l *Link) session(ctx context.Context) error {
	facts, err := l.machine.Facts()
	if err != nil {
		return err
	}
	id, err := LoadIdentity(l.cfg.Data)
	if err != nil {
		return err
	}
	answer, err := l.register(ctx, register(l.cfg, id, l.boot, facts, l.machine.Load()))
	if err != nil {
		return l.enrol(err)
	}
	l.refused = time.Time{}
	port, err := strconv.Atoi(answer.MQTTPort)
	if err != nil || answer.ID == "" || strings.ContainsAny(answer.ID, "/+#\x00") {
		return fmt.Errorf("the cluster answered id %q and MQTT port %q: %w", answer.ID, answer.MQTTPort, errs.Invalid)
	}
	host := answer.MQTTHost
	if host == "" {
		host = l.cfg.Address
	}
	if now := (Identity{Key: id.Key, ID: answer.ID, Broker: host, MQTTPort: port}); now != id {
		id = now
		if err := id.Save(l.cfg.Data); err != nil {
			return err
		}
	}
	l.log.Info("registered", "node", id.ID, "cluster", l.cfg.Address, "mqtt", net.JoinHostPort(host, answer.MQTTPort))
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if l.registered != nil {
		go l.registered(inner, Registered{ID: id.ID, Key: id.Key, Host: host, MQTTPort: port})
	}
	cores := l.cfg.VCPUs
	if cores == 0 {
		cores = facts.Cores
	}
	return l.converse(inner, id.ID, net.JoinHostPort(host, answer.MQTTPort), answer, cores)
}

// enrol makes another key when the cluster has long said that ours is in use:
// this disk is a copy of another worker's.
func (l *Link) enrol(why error) error {
	switch {
	case !errors.Is(why, errs.Conflict):
		l.refused = time.Time{}
	case l.refused.IsZero():
		l.refused = time.Now()
	case time.Since(l.refused) >= enrolAgain:
		l.refused = time.Time{}
		if err := (Identity{Key: randomHex(32)}).Save(l.cfg.Data); err != nil {
			return err
		}
		l.log.Warn("another worker has our key; joining as a new one", "error", why)
	}
	return why
}

func (l *Link) register(ctx context.Context, r mqtt.Register) (mqtt.Registered, error) {
	var out mqtt.Registered
	body, err := json.Marshal(r)
	if err != nil {
		return out, fmt.Errorf("register: %w: %w", err, errs.Internal)
	}
	url := "http://" + net.JoinHostPort(strings.Trim(l.cfg.Address, "[]"), strconv.Itoa(l.cfg.Port)) + mqtt.RegisterPath
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("register: %w: %w", err, errs.Invalid)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return out, fmt.Errorf("register: %w: %w", errUnreachable, err)
	case err != nil:
		return out, fmt.Errorf("register: %w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return out, fmt.Errorf("register: %w: %w", err, errs.Unavailable)
	}
	if resp.StatusCode == http.StatusConflict {
		return out, fmt.Errorf("register: the cluster answered %d %s: %w", resp.StatusCode, bytes.TrimSpace(text), errs.Conflict)
	}
	if resp.StatusCode != http.StatusOK {
		return out, fmt.Errorf("register: the cluster answered %d %s: %w", resp.StatusCode, bytes.TrimSpace(text), errs.Unavailable)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fmt.Errorf("register: %w: %w", err, errs.Invalid)
	}
	return out, nil
}

// talk is one MQTT connection.
type talk struct {
	*Link
	client paho.Client
	node   string
	agreed mqtt.Registered
	cores  int
}

// converse connects and reports until the connection is lost: then the caller
// registers again, since the cluster may have forgotten this worker.
func (l *Link) converse(ctx context.Context, node, broker string, agreed mqtt.Registered, cores int) error {
	lost := make(chan error, 1)
	will, err := json.Marshal(mqtt.Gone{Agent: "node", Boot: l.boot})
	if err != nil {
		return fmt.Errorf("last will: %w: %w", err, errs.Internal)
	}
	t := &talk{Link: l, node: node, agreed: agreed, cores: cores}
	o := paho.NewClientOptions().AddBroker("tcp://"+broker).SetClientID(mqtt.NodeClientID(node)).
		SetKeepAlive(10*time.Second).SetPingTimeout(5*time.Second).SetConnectTimeout(lifecycle.ConnectWithin).
		SetWriteTimeout(5*time.Second).SetCleanSession(true).SetAutoReconnect(false).SetOrderMatters(false).
		SetBinaryWill(mqtt.NodeTopic(node, mqtt.UpGone), will, 1, false).
		SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	t.client = paho.NewClient(o)
	defer t.client.Disconnect(100)
	if err := wait(t.client.Connect()); err != nil {
		return fmt.Errorf("connect to the broker at %s: %w: %w", broker, errUnreachable, err)
	}
	handlers := map[string]func(context.Context, []byte) error{mqtt.DownDeploy: t.deploy, mqtt.DownDelete: t.delete, mqtt.DownProbe: t.probed}
	if l.cfg.Ring != nil {
		handlers[mqtt.DownSession] = t.rung
	}
	for suffix, handle := range handlers {
		token := t.client.Subscribe(mqtt.NodeTopic(node, suffix), 1, func(_ paho.Client, m paho.Message) {
			if err := handle(ctx, m.Payload()); err != nil && ctx.Err() == nil {
				l.log.Warn("command refused", "topic", m.Topic(), "error", err)
			}
		})
		if err := wait(token); err != nil {
			return fmt.Errorf("subscribe to %s: %w", suffix, err)
		}
	}
	return t.reports(ctx, lost)
}

func (t *talk) reports(ctx context.Context, lost <-chan error) error {
	every := 2 * time.Second
	if t.agreed.ReportMS >= 100 {
		every = time.Duration(t.agreed.ReportMS) * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var first time.Time
	for {
		if err := t.report(); err != nil {
			return err
		}
		if first.IsZero() {
			first = time.Now()
		}
		t.served = time.Since(first)
	quiet:
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-lost:
				return fmt.Errorf("connection lost: %w: %w", err, errs.Unavailable)
			case r := <-t.changes:
				w, ok := job(r, t.boot, t.address(), !t.agreed.CombinedReport)
				if !ok {
					continue
				}
				if err := t.publish(mqtt.UpJob, w); err != nil {
					return err
				}
			case <-t.probe:
				break quiet
			case <-tick.C:
				break quiet
			}
		}
	}
}

func (t *talk) report() error {
	t.seq++
	records := t.engine.Snapshot()
	info := information(t.boot, t.seq, t.machine.Load(), t.cores, t.agreed.CombinedReport, records)
	if err := t.publish(mqtt.UpInformation, info); err != nil || t.agreed.CombinedReport {
		return err
	}
	return t.publish(mqtt.UpResources, resources(records))
}

func (t *talk) publish(suffix string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish %s: %w: %w", suffix, err, errs.Internal)
	}
	if err := wait(t.client.Publish(mqtt.NodeTopic(t.node, suffix), 1, false, body)); err != nil {
		return fmt.Errorf("publish %s: %w", suffix, err)
	}
	return nil
}

func (t *talk) deploy(ctx context.Context, payload []byte) error {
	s, err := decodeDeploy(t.node, payload)
	if err != nil {
		if s.Service != "" { // the engine tells of what it refuses itself
			t.Changed(runner.Record{Spec: s, State: instance.Failed, Seq: 1, Reason: err.Error()})
		}
		return err
	}
	return t.engine.Deploy(ctx, s)
}

func (t *talk) delete(ctx context.Context, payload []byte) error {
	target, grace, err := decodeDelete(payload)
	if err != nil {
		return err
	}
	return t.engine.Delete(ctx, target, grace)
}

func (t *talk) rung(_ context.Context, payload []byte) error {
	s, err := decodeSession(payload)
	if err == nil {
		t.cfg.Ring(s)
	}
	return err
}

func (t *talk) probed(context.Context, []byte) error {
	select {
	case t.Link.probe <- struct{}{}:
	default:
	}
	return nil
}

// address is this worker's, as seen on the way to the cluster.
func (l *Link) address() string {
	c, err := net.Dial("udp", net.JoinHostPort(strings.Trim(l.cfg.Address, "[]"), strconv.Itoa(l.cfg.Port)))
	if err != nil {
		return ""
	}
	defer c.Close()
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.IP.String()
	}
	return ""
}

func wait(t paho.Token) error {
	if !t.WaitTimeout(8 * time.Second) {
		return fmt.Errorf("no answer within 8 s: %w", errs.Unavailable)
	}
	if err := t.Error(); err != nil {
		return errors.Join(err, errs.Unavailable)
	}
	return nil
}
