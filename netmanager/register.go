package netmanager

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/netmanager/local"
	"oakestra/netmanager/state"
	"oakestra/pkg/errs"
)

// registerTime is below the 10 s that engines wait for an answer.
const registerTime = 9500 * time.Millisecond

// Register opens the conversation with the cluster and waits for the subnet.
func (d *Daemon) Register(ctx context.Context, r local.Registration) (local.Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	return ask(ctx, d, func(l *loop, reply func(local.Registered, error)) { l.register(r, reply) })
}

// Ready says whether containers can be attached.
func (d *Daemon) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := ask(ctx, d, func(l *loop, reply func(struct{}, error)) { reply(struct{}{}, l.readiness()) })
	return err
}

func (l *loop) register(r local.Registration, reply func(local.Registered, error)) {
	if l.reg.Node != "" && l.reg.Node != r.Node && (l.confirm || len(l.containers) > 0) {
		reply(local.Registered{}, fmt.Errorf("client_id: this NetManager serves node %q with %d containers, not %q; "+
			"`NetManager purge` frees it: %w", l.reg.Node, len(l.containers), r.Node, errs.Invalid))
		return
	}
	cfg := l.daemon.cfg
	next := state.Registration{Node: r.Node, Address: r.Cluster, Port: r.Port, Key: r.Key}
	if next.Address == "" {
		next.Address = cfg.ClusterHost
	}
	if next.Address == "" && l.reg.Node == r.Node {
		next.Address = l.reg.Address
	}
	if next.Address == "" {
		reply(local.Registered{}, fmt.Errorf("cluster_address: missing, and ClusterUrl in netcfg.json names no host either: %w", errs.Invalid))
		return
	}
	if next.Port == 0 {
		next.Port = cfg.ClusterPort
	}
	if l.reg.Node != r.Node {
		l.subnet = netip.Prefix{}
	}
	l.confirm = true
	if l.reg != next {
		l.log.Info("registered", "node", next.Node, "cluster", next.Address, "port", next.Port)
		l.reg = next
		l.change()
	}
	answer := func(err error) { reply(local.Registered{Subnet: l.subnet}, err) }
	if l.subnet.IsValid() {
		answer(nil)
		return
	}
	l.waiting = append(l.waiting, answer)
	l.send(Outbound{AskSubnet: true})
}

// connect makes the running conversation that of the registration.
func (l *loop) connect(ctx context.Context, g *errgroup.Group) {
	want := Target{Node: l.reg.Node, Host: l.reg.Address, Port: l.reg.Port, Key: l.reg.Key}
	if want.Node == "" || (l.uplink != nil && l.uplink.target == want) {
		return
	}
	l.hangUp()
	ctx, stop := context.WithCancel(ctx)
	u := l.daemon.deps.Dial(want)
	l.uplink = &conversation{target: want, Uplink: u, stop: stop, full: true}
	l.book.Synced = false
	g.Go(func() error { return u.Run(ctx) })
}

func (l *loop) hangUp() {
	if l.uplink != nil {
		l.uplink.stop()
		l.uplink = nil
	}
}

func (l *loop) send(m Outbound) {
	if l.uplink != nil {
		l.uplink.Send(m)
	}
}

// takeSubnet takes the cluster's answer. A subnet in use is never left: the
// report claims it.
func (l *loop) takeSubnet(s Subnet) {
	if !s.Prefix.IsValid() {
		if l.refusal != s.Reason {
			l.log.Warn("no subnet yet", "reason", s.Reason)
		}
		l.refusal = s.Reason
		return
	}
	l.refusal = ""
	if l.subnet == s.Prefix {
		return
	}
	if l.subnet.IsValid() && len(l.containers) > 0 {
		l.log.Warn("keeping the subnet in use", "subnet", text(l.subnet), "offered", text(s.Prefix))
		return
	}
	l.log.Info("subnet", "from", text(l.subnet), "to", text(s.Prefix))
	l.subnet, l.last = s.Prefix, netip.Addr{}
	clear(l.quarantine)
	l.change()
	waiting := l.waiting
	l.waiting = nil
	for _, w := range waiting {
		w(nil)
	}
	l.report()
}

// wholeEvery: of so many reports one is whole, whatever came before. A broker
// may lose a message in the middle of a session, and what was in it must not
// stay unknown.
const wholeEvery = 15

func (l *loop) report() {
	u := l.uplink
	if u == nil || !u.live {
		return
	}
	if !l.subnet.IsValid() {
		l.send(Outbound{AskSubnet: true})
	}
	if !l.hostIP.IsValid() {
		return
	}
	u.seq++
	full := u.full || u.seq%wholeEvery == 0
	r := Report{
		Seq: u.seq, Snapshot: full, HostIP: l.advertised(), HostPort: l.daemon.cfg.PublicPort, Subnet: l.subnet,
	}
	if l.apply.epoch == l.book.Epoch {
		r.Applied = l.apply.version
	}
	if full {
		r.Endpoints, r.Interests = l.endpoints(), l.interests.Names()
		u.full = false
	}
	l.send(Outbound{Report: &r})
}

func (l *loop) endpoints() []Endpoint {
	list := []Endpoint{}
	for _, c := range l.containers {
		if c.Attached && !c.Leaving {
			list = append(list, l.endpoint(c))
		}
	}
	return list
}

func (l *loop) endpoint(c *container) Endpoint {
	return Endpoint{
		Service: c.Service, Name: c.Name, Instance: c.Instance, Namespace: c.Namespace,
		HostIP: l.advertised(), HostPort: l.daemon.cfg.PublicPort, Grant: c.Grant, Try: c.Try, Pending: c.Pending,
	}
}
