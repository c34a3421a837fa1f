package clusterlink

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"oakestra/api/mqtt"
	"oakestra/netmanager"
	"oakestra/netmanager/table"
	"oakestra/pkg/errs"
	"oakestra/pkg/version"
)

const subnetBits = 26

func wireEndpoint(e netmanager.Endpoint) mqtt.Deployed {
	return mqtt.Deployed{
		AppName: e.Name, Status: "DEPLOYED", InstanceNumber: e.Instance, NamespaceIP: text(e.Namespace),
		HostPort: strconv.Itoa(e.HostPort), HostIP: text(e.HostIP), ServiceID: e.Service, Grant: e.Grant, Try: e.Try,
		Pending: e.Pending,
	}
}

func wireReport(boot string, r netmanager.Report) mqtt.NetReport {
	w := mqtt.NetReport{
		Boot: boot, Seq: r.Seq, Snapshot: r.Snapshot, Dataplane: "vxlan", HostIP: text(r.HostIP), HostPort: r.HostPort,
		Applied: r.Applied, Version: version.Version, Interests: r.Interests,
	}
	if r.Subnet.IsValid() {
		w.Subnet = r.Subnet.String()
	}
	for _, e := range r.Endpoints {
		w.Endpoints = append(w.Endpoints, wireEndpoint(e))
	}
	return w
}

// encode gives topic and payload below the node's own topics.
func encode(boot string, m netmanager.Outbound) (suffix string, payload any) {
	switch {
	case m.AskSubnet:
		return mqtt.UpSubnet, mqtt.SubnetRequest{Method: "GET"}
	case m.Deployed != nil:
		return mqtt.UpDeployed, wireEndpoint(*m.Deployed)
	case m.Undeployed != nil:
		e := m.Undeployed
		return mqtt.UpUndeployed, mqtt.Undeployed{
			AppName: e.Name, InstanceNumber: e.Instance, NamespaceIP: text(e.Namespace),
			ServiceID: e.Service, Grant: e.Grant, Try: e.Try,
		}
	case m.Query != nil:
		return mqtt.UpTableQuery, mqtt.TableQuery{Name: m.Query.Name, Address: text(m.Query.Address)}
	case m.Uninterest != "":
		return mqtt.UpInterestRemove, mqtt.InterestRemove{AppName: m.Uninterest}
	case m.Report != nil:
		return mqtt.UpNetReport, wireReport(boot, *m.Report)
	case m.Ack != nil:
		return mqtt.UpNetAck, mqtt.NetAck{Boot: boot, Version: m.Ack.Version, Error: m.Ack.Error}
	}
	return "", nil
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// decode reads one message to this node.
func decode(suffix string, payload []byte) (netmanager.Inbound, error) {
	switch suffix {
	case mqtt.DownSubnet:
		return decodeSubnet(payload)
	case mqtt.DownNetState:
		return decodeState(payload)
	case mqtt.DownTableResult:
		return decodeResult(payload)
	}
	return netmanager.Inbound{}, fmt.Errorf("topic %s: %w", suffix, errs.Invalid)
}

func read(payload []byte, into any) error {
	if err := json.Unmarshal(payload, into); err != nil {
		return fmt.Errorf("%w: %w", errs.Invalid, err)
	}
	return nil
}

func decodeSubnet(payload []byte) (netmanager.Inbound, error) {
	var w mqtt.SubnetResult
	if err := read(payload, &w); err != nil {
		return netmanager.Inbound{}, err
	}
	if w.Address == "" {
		return netmanager.Inbound{Subnet: &netmanager.Subnet{Reason: w.Error}}, nil
	}
	a, err := netip.ParseAddr(w.Address)
	if err != nil || !a.Is4() {
		return netmanager.Inbound{}, fmt.Errorf("address %q is no IPv4 address: %w", w.Address, errs.Invalid)
	}
	bits := w.Bits
	if bits == 0 {
		bits = subnetBits
	}
	p, err := a.Prefix(bits)
	if err != nil || bits > 29 || bits < 16 {
		return netmanager.Inbound{}, fmt.Errorf("bits %d make no subnet for containers: %w", bits, errs.Invalid)
	}
	return netmanager.Inbound{Subnet: &netmanager.Subnet{Prefix: p}}, nil
}

func decodeState(payload []byte) (netmanager.Inbound, error) {
	var w mqtt.NetState
	if err := read(payload, &w); err != nil {
		return netmanager.Inbound{}, err
	}
	p := &parser{}
	c := &table.Change{
		Epoch: w.Epoch, Base: w.Base, Version: w.Version, Snapshot: w.Snapshot,
		GoneTables: w.GoneTables, GonePeers: w.GonePeers,
	}
	for _, t := range w.Tables {
		out := table.Table{Service: t.ServiceID, Name: t.Name, Address: p.addr(t.Address), Tenant: t.Tenant}
		for _, e := range t.Entries {
			out.Entries = append(out.Entries, table.Entry{
				Instance: e.Instance, Address: p.addr(e.InstanceIP), Namespace: p.addr(e.NamespaceIP), Node: e.Node,
			})
		}
		c.Tables = append(c.Tables, out)
	}
	for _, x := range w.Peers {
		out := table.Peer{Node: x.Node, HostIP: p.addr(x.HostIP), Port: p.port(x.HostPort), Subnet: p.prefix(x.Subnet), Dataplane: x.Dataplane}
		for _, i := range x.Identities {
			out.Identities = append(out.Identities, table.Identity{
				Namespace: p.addr(i.NamespaceIP), Instance: p.addr(i.InstanceIP), Tenant: i.Tenant,
			})
		}
		c.Peers = append(c.Peers, out)
	}
	return netmanager.Inbound{Change: c}, p.err
}

// decodeResult reads an answer. With a version the tables come by NetState and
// only the name matters; without one the entries are all there is.
func decodeResult(payload []byte) (netmanager.Inbound, error) {
	var w mqtt.TableResult
	if err := read(payload, &w); err != nil {
		return netmanager.Inbound{}, err
	}
	r := &netmanager.Result{Key: w.QueryKey, Version: w.Version}
	if r.Key == "" {
		r.Key = w.AppName // early cluster managers echo nothing
	}
	name := w.AppName
	r.Known = name != "" && strings.Count(name, ".") == 3
	r.Table = table.Table{Service: w.ServiceID, Name: name}
	if r.Table.Service == "" {
		r.Table.Service = name
	}
	if w.Version > 0 {
		return netmanager.Inbound{Result: r}, nil
	}
	p := &parser{}
	peers := map[string]*table.Peer{}
	for _, x := range w.Entries {
		ns := p.addr(x.NamespaceIP)
		if !ns.IsValid() {
			continue // not attached yet
		}
		e := table.Entry{Instance: x.InstanceNumber, Namespace: ns, Node: x.HostIP + ":" + strconv.Itoa(x.HostPort)}
		for _, s := range x.ServiceIP {
			switch s.IPType {
			case "RR", "rr":
				r.Table.Address = p.addr(s.Address)
			case "instance_ip", "InstanceNumber":
				e.Address = p.addr(s.Address)
			}
		}
		r.Table.Entries = append(r.Table.Entries, e)
		subnet, _ := ns.Prefix(subnetBits)
		peer := peers[e.Node]
		if peer == nil {
			peer = &table.Peer{Node: e.Node, HostIP: p.addr(x.HostIP), Port: p.port(x.HostPort), Subnet: subnet}
			peers[e.Node] = peer
		}
		peer.Identities = append(peer.Identities, table.Identity{Namespace: ns, Instance: e.Address})
	}
	for _, e := range r.Table.Entries {
		if peer := peers[e.Node]; peer != nil {
			r.Peers = append(r.Peers, *peer)
			delete(peers, e.Node)
		}
	}
	return netmanager.Inbound{Result: r}, p.err
}

// parser keeps the first mistake.
type parser struct{ err error }

func (p *parser) fail(what, text string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s %q: %w", what, text, errs.Invalid)
	}
}

func (p *parser) addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		p.fail("address", text)
		return netip.Addr{}
	}
	return a
}

func (p *parser) prefix(text string) netip.Prefix {
	if text == "" {
		return netip.Prefix{} // a worker that has none yet
	}
	x, err := netip.ParsePrefix(text)
	if err != nil || !x.Addr().Is4() {
		p.fail("subnet", text)
		return netip.Prefix{}
	}
	return x.Masked()
}

func (p *parser) port(n int) uint16 {
	if n < 0 || n > 65535 {
		p.fail("port", strconv.Itoa(n))
		return 0
	}
	return uint16(n)
}
