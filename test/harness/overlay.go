package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/netmanager"
	"oakestra/netmanager/host"
	"oakestra/netmanager/state"
	"oakestra/netmanager/table"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/lifecycle"
)

// overlay is one process of NetManager: all of it but the local listener, MQTT
// and netlink. Its conversation follows netmanager/clusterlink.
type overlay struct {
	m      *Machine
	daemon *netmanager.Daemon
}

// newOverlay is called with m.mu held.
func (m *Machine) newOverlay(kernel host.Host, in <-chan nodelink.Outbound) *overlay {
	cfg := netmanager.DefaultConfig()
	cfg.DataDir = filepath.Join(m.dir, "net")
	boot := fmt.Sprintf("%s net #%d", m.Name, m.w.draw())
	return &overlay{m, netmanager.New(cfg, netmanager.Deps{
		Host: kernel, File: state.Open(cfg.DataDir), Logger: m.log("net"),
		Dial: func(t netmanager.Target) netmanager.Uplink {
			return &uplink{m: m, target: t, boot: boot, from: in, in: make(chan netmanager.Inbound, 256), out: make(chan netmanager.Outbound, 256)}
		},
	})}
}

func (o *overlay) run(ctx context.Context) {
	if err := o.daemon.Loop(ctx); err != nil && ctx.Err() == nil {
		o.m.w.t.Errorf("NetManager of %s: %v", o.m.Name, err)
	}
}

// uplink is netmanager.Uplink over memlink.
type uplink struct {
	m      *Machine
	target netmanager.Target
	boot   string
	from   <-chan nodelink.Outbound
	in     chan netmanager.Inbound
	out    chan netmanager.Outbound
}

func (u *uplink) Inbound() <-chan netmanager.Inbound { return u.in }

func (u *uplink) Send(m netmanager.Outbound) {
	select {
	case u.out <- m:
	default:
	}
}

func (u *uplink) Run(ctx context.Context) error {
	pause := lifecycle.NewBackoff(200*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil {
		u.session(ctx, pause.Reset)
		timer := time.NewTimer(pause.Next())
		u.discard(ctx, timer.C)
		timer.Stop()
	}
	return nil
}

func (u *uplink) discard(ctx context.Context, until <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-until:
			return
		case <-u.out:
		case <-u.from:
		}
	}
}

func (u *uplink) session(ctx context.Context, up func()) {
	call, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	if u.m.cable.syn(call) != nil {
		return
	}
	l := u.m.Home.current()
	if l == nil {
		return
	}
	u.m.attach(l, model.NodeID(u.target.Node))
	up()
	u.push(ctx, netmanager.Inbound{Session: true})
	opened := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.gone:
			u.m.cable.wait(ctx, 10*time.Second)
			return
		case m := <-u.from:
			if in, ok := u.decode(m); ok {
				u.push(ctx, in)
			}
		case m := <-u.out:
			opened = opened || (m.Report != nil && m.Report.Snapshot)
			partial := m.Report != nil || m.Ack != nil || m.Deployed != nil || m.Undeployed != nil
			if !opened && partial {
				continue
			}
			if !u.m.cable.wait(ctx, 10*time.Second) {
				return
			}
			if in, ok := u.encode(m); ok {
				u.m.send(in)
			}
		}
	}
}

func (u *uplink) push(ctx context.Context, m netmanager.Inbound) {
	select {
	case u.in <- m:
	case <-ctx.Done():
	}
}

func endpointOf(e netmanager.Endpoint) nodelink.Endpoint {
	return nodelink.Endpoint{
		Service: model.ServiceID(e.Service), JobName: e.Name, Number: e.Instance, Epoch: instance.Epoch{Grant: instance.Grant(e.Grant), Try: e.Try},
		NamespaceIP: e.Namespace, HostIP: e.HostIP, HostPort: uint16(e.HostPort),
	}
}

func (u *uplink) encode(m netmanager.Outbound) (in nodelink.Inbound, ok bool) {
	switch {
	case m.AskSubnet:
		in.Subnet = &nodelink.SubnetRequest{}
	case m.Deployed != nil:
		e := endpointOf(*m.Deployed)
		in.Deployed = &e
	case m.Undeployed != nil:
		e := endpointOf(*m.Undeployed)
		in.Undeployed = &e
	case m.Query != nil:
		key := m.Query.Name
		if m.Query.Address.IsValid() {
			key = m.Query.Address.String()
		}
		in.Query = &nodelink.TableQuery{Name: m.Query.Name, Address: m.Query.Address, Key: key}
	case m.Uninterest != "":
		in.Uninterest = &nodelink.Uninterest{Name: m.Uninterest}
	case m.Report != nil:
		r := &nodelink.NetReport{
			Boot: u.boot, Seq: m.Report.Seq, Snapshot: m.Report.Snapshot, Dataplane: model.DataplaneVXLAN, HostIP: m.Report.HostIP,
			HostPort: uint16(m.Report.HostPort), Subnet: m.Report.Subnet, Applied: m.Report.Applied, Interests: m.Report.Interests,
		}
		for _, e := range m.Report.Endpoints {
			r.Endpoints = append(r.Endpoints, endpointOf(e))
		}
		in.Net = r
	case m.Ack != nil:
		in.Ack = &nodelink.NetAck{Boot: u.boot, Version: m.Ack.Version, Error: m.Ack.Error}
	default:
		return in, false
	}
	return in, true
}

func (u *uplink) decode(m nodelink.Outbound) (in netmanager.Inbound, ok bool) {
	switch {
	case m.Subnet != nil:
		in.Subnet = &netmanager.Subnet{Prefix: m.Subnet.Subnet, Reason: m.Subnet.Error}
	case m.Table != nil:
		in.Result = &netmanager.Result{Key: m.Table.Key, Known: m.Table.Known, Version: m.Table.Version, Table: tableOf(m.Table.Service)}
	case m.Net != nil:
		in.Change = changeOf(m.Net)
	default:
		return in, false
	}
	return in, true
}

func tableOf(t nodelink.Table) table.Table {
	out := table.Table{Service: string(t.Service), Name: t.Name.String(), Address: t.Address, Tenant: t.Tenant}
	for _, e := range t.Entries {
		out.Entries = append(out.Entries, table.Entry{Instance: e.Number, Address: e.InstanceAddress, Namespace: e.NamespaceIP, Node: string(e.Node)})
	}
	return out
}

func changeOf(s *nodelink.NetState) *table.Change {
	c := &table.Change{Epoch: s.Epoch, Base: s.Base, Version: s.Version, Snapshot: s.Snapshot}
	for _, t := range s.Tables {
		c.Tables = append(c.Tables, tableOf(t))
	}
	for _, g := range s.GoneTables {
		c.GoneTables = append(c.GoneTables, string(g))
	}
	for _, p := range s.Peers {
		v := table.Peer{Node: string(p.Node), HostIP: p.HostIP, Port: p.HostPort, Subnet: p.Subnet, Dataplane: string(p.Dataplane)}
		for _, i := range p.Identities {
			v.Identities = append(v.Identities, table.Identity{Namespace: i.NamespaceIP, Instance: i.InstanceAddress, Tenant: i.Tenant})
		}
		c.Peers = append(c.Peers, v)
	}
	for _, g := range s.GonePeers {
		c.GonePeers = append(c.GonePeers, string(g))
	}
	return c
}
