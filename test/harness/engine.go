package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"oakestra/api/local"
	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/node/netclient"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// engine is one process of NodeEngine: the real loop over containers and the
// real client of NetManager. The conversation with the cluster follows
// node/clusterlink step by step, over memlink instead of HTTP and MQTT.
type engine struct {
	opened  time.Time // when the last session began to report; of link
	m       *Machine
	boot    string // of the agent
	runner  *runner.Runner
	net     *netclient.Client
	in      <-chan nodelink.Outbound
	changes chan runner.Record
	seq     uint64
	log     *slog.Logger
}

func (m *Machine) log(part string) *slog.Logger { return m.w.log.With("of", m.Name, "part", part) }

// newEngine is called with m.mu held.
func (m *Machine) newEngine(machineBoot string, in <-chan nodelink.Outbound) *engine {
	e := &engine{m: m, boot: fmt.Sprintf("%s #%d", m.Name, m.w.draw()), net: netclient.NewOver(m), in: in, changes: make(chan runner.Record, 256), log: m.log("engine")}
	journal, err := runner.OpenJournal(filepath.Join(m.dir, "attempts"))
	if err != nil {
		m.w.t.Fatal(err)
	}
	e.runner = runner.New(runner.Config{Boot: machineBoot}, runner.Deps{
		Runtime: tardy{m.Runtime, m}, Network: e.net, Journal: journal, Log: e.log, Changed: e.changed,
	})
	return e
}

func (e *engine) changed(r runner.Record) {
	e.m.w.watch.node(e.m, r)
	select {
	case e.changes <- r:
	default:
	}
}

func (e *engine) run(ctx context.Context) {
	err := lifecycle.Run(ctx, lifecycle.Part{Name: "runner", Run: e.runner.Run}, lifecycle.Part{Name: "cluster link", Run: e.link})
	if err != nil && ctx.Err() == nil {
		e.m.w.t.Errorf("NodeEngine of %s: %v", e.m.Name, err)
	}
}

// errUnreachable says that no connection could be opened.
var errUnreachable = errors.New("the cluster cannot be reached")

func (e *engine) link(ctx context.Context) error {
	select {
	case <-e.runner.Ready():
	case <-ctx.Done():
		return nil
	}
	patience := lifecycle.NewPatience()
	for ctx.Err() == nil {
		e.opened = time.Time{}
		err := e.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		served := time.Duration(0)
		if !e.opened.IsZero() {
			served = time.Since(e.opened)
		}
		pause := patience.Next(errors.Is(err, errUnreachable), served)
		e.log.Warn("no cluster; containers run on, trying again", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

func (e *engine) session(ctx context.Context) error {
	m := e.m
	call, done := context.WithTimeout(ctx, 10*time.Second) // as the HTTP client's
	defer done()
	open, opened := context.WithTimeout(call, lifecycle.ConnectWithin)
	err := m.cable.syn(open)
	if opened(); err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	l, id, err := m.Home.register(call, fleet.Registration{
		Host: m.Name, Key: m.Key, Boot: e.boot, Address: m.Address, Architecture: "amd64", Runtimes: []string{"docker", "container"},
		Capacity: m.Room, Network: true, Version: "test",
	})
	switch {
	case errors.Is(err, errRefused): // as a dial that fails
		return fmt.Errorf("%w: %w", errUnreachable, err)
	case err != nil:
		return err
	}
	m.attach(l, id)
	m.node().Renew() // a clean session; it costs NetManager some messages, too
	for len(e.in) > 0 {
		<-e.in // nobody had subscribed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go e.identify(ctx, id)
	e.opened = time.Now()
	return e.converse(ctx, l, id)
}

// identify is node.Daemon's.
func (e *engine) identify(ctx context.Context, id model.NodeID) {
	backoff := lifecycle.NewBackoff(500*time.Millisecond, 10*time.Second)
	for {
		err := e.net.Identify(ctx, local.Register{ClientID: string(id), ClusterAddress: "cluster", MQTTPort: 10003, NodeKey: e.m.Key})
		pause := 10 * time.Second
		if err != nil {
			pause = backoff.Next()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// converse reports every 2 s and at every change, and takes commands, until
// the connection is lost.
func (e *engine) converse(ctx context.Context, l *life, id model.NodeID) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	if err := e.report(ctx, l); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.gone:
			return e.m.hangUp(ctx)
		case r := <-e.changes:
			err = e.m.publish(ctx, l, nodelink.Inbound{Change: change(r, e.m.Address)})
		case out := <-e.in:
			if err = e.command(ctx, id, out); err == nil && out.Probe != nil {
				err = e.report(ctx, l)
			}
		case <-tick.C:
			err = e.report(ctx, l)
		}
		if err != nil {
			return err
		}
	}
}

// publish is QoS 1: it returns when the broker has the message, an error when
// that takes 8 s.
func (m *Machine) publish(ctx context.Context, l *life, in nodelink.Inbound) error {
	if !m.cable.wait(ctx, 8*time.Second) {
		return errTimeout
	}
	select {
	case <-l.gone:
		return errRefused
	default:
	}
	m.send(in)
	return nil
}

// hangUp is the end of a broker as seen from here: a machine that is cut off
// finds out by silence.
func (m *Machine) hangUp(ctx context.Context) error {
	m.cable.wait(ctx, 15*time.Second)
	return errRefused
}

func (e *engine) report(ctx context.Context, l *life) error {
	e.seq++
	r := &nodelink.NodeReport{Boot: e.boot, Seq: e.seq, Complete: true}
	for _, rec := range e.runner.Snapshot() {
		c := nodelink.Container{Service: rec.Spec.Service, JobName: rec.Spec.JobName, Number: rec.Spec.Number, Observed: rec.Observed(), Restarting: rec.Restarting}
		c.Vital = instance.Vital{Boot: e.boot, Seq: e.seq, Healthy: rec.State == instance.Running && !rec.Restarting}
		c.Vital.NamespaceIP, _ = netip.ParseAddr(rec.Address)
		r.Containers = append(r.Containers, c)
	}
	return e.m.publish(ctx, l, nodelink.Inbound{Report: r})
}

func change(r runner.Record, at netip.Addr) *nodelink.StateChange {
	return &nodelink.StateChange{Service: r.Spec.Service, JobName: r.Spec.JobName, Number: r.Spec.Number, Observed: r.Observed(), Word: runner.Word(r.State), PublicIP: at.String()}
}

func (e *engine) command(ctx context.Context, id model.NodeID, out nodelink.Outbound) error {
	var err error
	switch {
	case out.Deploy != nil:
		err = e.runner.Deploy(ctx, specOf(string(id), out.Deploy))
	case out.Delete != nil:
		d := out.Delete
		err = e.runner.Delete(ctx, runner.Target{
			Service: string(d.Attempt.Instance.Service), JobName: d.Name.String(), Number: d.Attempt.Instance.Number, Epoch: d.Attempt.Epoch,
		}, time.Duration(d.GraceMS)*time.Millisecond)
	}
	if err != nil && !isUnavailable(err) {
		e.log.Warn("command refused", "error", err)
		return nil
	}
	return err
}

func isUnavailable(err error) bool { return errsIs(err, errs.Unavailable, context.Canceled) }

func specOf(node string, d *nodelink.Deploy) runtime.Spec {
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	return runtime.Spec{
		Node: node, Service: d.Attempt.Instance.Service, Number: d.Attempt.Instance.Number, Grant: d.Attempt.Epoch.Grant, Try: d.Attempt.Epoch.Try,
		JobName: d.Name.String(), Technology: d.Runtime, Image: d.Spec.Image, Command: d.Spec.Command, Environment: d.Spec.Environment,
		MilliCPU: d.Spec.Demand.MilliCPU, MemoryMB: d.Spec.Demand.MemoryMB, GPUs: d.Spec.Demand.GPUs, OneShot: d.Spec.OneShot,
		Ports: d.Spec.PortText, InstanceIP: text(d.InstanceAddress), ServiceIP: text(d.ServiceAddress), Tenant: d.Tenant,
	}
}
