package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"oakestra/api/mqtt"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
	"oakestra/pkg/mqttx"
)

// worker is one simulated machine.
type worker struct {
	swarm   *Swarm
	name    string
	key     string
	local   net.IP
	manager string

	mu     sync.Mutex
	on     bool // the machine runs
	cut    bool // nothing gets through
	boot   string
	seq    uint64
	id     string
	agreed mqtt.Registered
	conn   *mqttx.Conn // nil without a session
	held   map[attempt]*container
	again  chan struct{} // wakes a pause
}

// hears says whether anything gets in or out.
func (w *worker) hears() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.on && !w.cut
}

// errUnreachable says that no connection could be opened.
var errUnreachable = fmt.Errorf("the cluster cannot be reached: %w", errs.Unavailable)

// run holds a session while the machine is on, with NodeEngine's patience.
func (w *worker) run(ctx context.Context) {
	patience := lifecycle.NewPatience()
	for ctx.Err() == nil {
		began, err := time.Now(), errUnreachable
		if w.hears() {
			if err = w.session(ctx); err != nil && ctx.Err() == nil {
				w.swarm.failed(err)
			}
		}
		timer := time.NewTimer(patience.Next(errors.Is(err, errUnreachable), time.Since(began)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.again:
			patience.Reset()
		}
		timer.Stop()
	}
}

// session registers, connects and listens until the connection is lost.
func (w *worker) session(ctx context.Context) error {
	if err := w.register(ctx); err != nil {
		return err
	}
	host := w.agreed.MQTTHost
	if host == "" {
		host, _, _ = net.SplitHostPort(w.manager)
	}
	o := mqttx.Options{
		Address: net.JoinHostPort(host, w.agreed.MQTTPort), ClientID: mqtt.NodeClientID(w.id),
		Local: &net.TCPAddr{IP: w.local}, KeepAlive: 10 * time.Second,
	}
	suffixes := []string{mqtt.DownDeploy, mqtt.DownDelete}
	if !w.swarm.cfg.Original {
		suffixes = append(suffixes, mqtt.DownProbe)
		o.WillTopic = mqtt.NodeTopic(w.id, mqtt.UpGone)
		w.mu.Lock()
		o.Will, _ = json.Marshal(mqtt.Gone{Agent: "node", Boot: w.boot}) // cannot fail
		w.mu.Unlock()
	}
	conn, err := mqttx.Dial(ctx, o)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer func() { _ = conn.Close() }()
	var topics []string
	for _, s := range suffixes {
		topics = append(topics, mqtt.NodeTopic(w.id, s))
	}
	if err := conn.Subscribe(topics...); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	w.attach(conn)
	defer w.attach(nil)
	w.report(time.Now())
	for {
		m, err := conn.Next()
		if err != nil {
			return err
		}
		if !w.hears() {
			continue
		}
		w.swarm.count.received.Add(1)
		_, suffix, _ := mqtt.SplitNodeTopic(m.Topic)
		jobs, probed, err := w.command(suffix, m.Payload)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", m.Topic, err, errs.Invalid)
		}
		w.tell(jobs...)
		if probed {
			w.report(time.Now())
		}
	}
}

func (w *worker) attach(conn *mqttx.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	if conn != nil {
		w.swarm.count.sessions.Add(1)
		w.swarm.count.connected.Add(1)
		return
	}
	w.swarm.count.connected.Add(-1)
}

func (w *worker) register(ctx context.Context) error {
	select {
	case w.swarm.doors <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.swarm.doors }()
	w.mu.Lock()
	body, err := json.Marshal(w.registration())
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("register: %w: %w", err, errs.Internal)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.manager+mqtt.RegisterPath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("register: %w: %w", err, errs.Invalid)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: lifecycle.ConnectWithin, LocalAddr: &net.TCPAddr{IP: w.local}}).DialContext,
	}}
	resp, err := client.Do(req)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("register: %w: %w", errUnreachable, err)
	case err != nil:
		return fmt.Errorf("register: %w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("register: %w: %w", err, errs.Unavailable)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("register: the cluster answered %d %s: %w", resp.StatusCode, bytes.TrimSpace(text), errs.Unavailable)
	}
	var answer mqtt.Registered
	if err := json.Unmarshal(text, &answer); err != nil || answer.ID == "" || strings.ContainsAny(answer.ID, "/+#") {
		return fmt.Errorf("register: the cluster answered %q: %w", text, errs.Invalid)
	}
	w.mu.Lock()
	w.id, w.agreed = answer.ID, answer
	w.mu.Unlock()
	w.swarm.count.registered.Add(1)
	return nil
}

// tell publishes state changes; what is lost is in the next report.
func (w *worker) tell(jobs ...mqtt.Job) {
	for _, j := range jobs {
		w.publish(message{mqtt.UpJob, j})
	}
}

// report says everything.
func (w *worker) report(now time.Time) {
	w.mu.Lock()
	if w.conn == nil || !w.on || w.cut {
		w.mu.Unlock()
		return
	}
	list := w.reports(now)
	w.mu.Unlock()
	for _, m := range list {
		w.publish(m)
	}
}

func (w *worker) publish(m message) {
	w.mu.Lock()
	conn, id, silent := w.conn, w.id, !w.on || w.cut
	w.mu.Unlock()
	if conn == nil || silent {
		return
	}
	body, err := json.Marshal(m.body)
	if err == nil {
		err = conn.Publish(mqtt.NodeTopic(id, m.suffix), body, 1)
	}
	if err != nil {
		w.swarm.failed(err) // the reader sees the end of the connection
		return
	}
	w.swarm.count.published.Add(1)
}
