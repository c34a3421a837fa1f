package mqttlink

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// encode makes the topic and payload of a message to a worker. Error:
// errs.Invalid when it has no wire form.
func encode(node model.NodeID, m nodelink.Outbound) (string, []byte, error) {
	id := string(node)
	if m.Updates == nil && (id == "" || strings.ContainsAny(id, "/+#\x00")) {
		return "", nil, fmt.Errorf("node id %q cannot be part of a topic: %w", id, errs.Invalid)
	}
	topic, wire := "", any(nil)
	switch {
	case m.Deploy != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownDeploy), wireDeploy(m.Deploy)
	case m.Delete != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownDelete), wireDelete(m.Delete)
	case m.Probe != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownProbe), struct{}{}
	case m.Subnet != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownSubnet), wireSubnet(m.Subnet)
	case m.Table != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownTableResult), wireTableResult(m.Table)
	case m.Net != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownNetState), wireNetState(m.Net)
	case m.Session != nil:
		topic, wire = mqtt.NodeTopic(id, mqtt.DownSession), wireSession(m.Session)
	case m.Updates != nil:
		return bell(m.Updates)
	default:
		return "", nil, fmt.Errorf("empty message to %s: %w", id, errs.Invalid)
	}
	payload, err := json.Marshal(wire)
	if err != nil {
		return "", nil, fmt.Errorf("message to %s: %w: %w", id, err, errs.Internal)
	}
	return topic, payload, nil
}

// bell is for everybody who listens for a service.
func bell(m *nodelink.UpdatesAvailable) (string, []byte, error) {
	if m.JobName == "" || strings.ContainsAny(m.JobName, "/+#\x00") {
		return "", nil, fmt.Errorf("service %q cannot be part of a topic: %w", m.JobName, errs.Invalid)
	}
	u := mqtt.UpdatesAvailable{Type: "DEPLOYMENT"}
	if m.Removed {
		u.Type = "UNDEPLOYMENT"
	}
	payload, err := json.Marshal(u)
	if err != nil {
		return "", nil, fmt.Errorf("bell of %s: %w: %w", m.JobName, err, errs.Internal)
	}
	return mqtt.UpdatesTopic(m.JobName), payload, nil
}

func wireDeploy(d *nodelink.Deploy) mqtt.Deploy {
	return mqtt.Deploy{
		ID: string(d.Attempt.Instance.Service), JobName: d.Name.String(),
		InstanceNumber: d.Attempt.Instance.Number,
		Image:          d.Spec.Image, Command: list(d.Spec.Command), Environment: list(d.Spec.Environment),
		Port: d.Spec.PortText, Status: "NODE_SCHEDULED", Virtualization: d.Runtime,
		VGPUs: int(d.Spec.Demand.GPUs),
		// Original engines read whole cores and drop a message with fractions.
		VCPUs:  int((d.Spec.Demand.MilliCPU + 999) / 1000),
		Memory: int(d.Spec.Demand.MemoryMB), Storage: int(d.Spec.Demand.DiskMB),
		OneShot: d.Spec.OneShot, Arch: d.Spec.Arch,
		Grant: uint64(d.Attempt.Epoch.Grant), Try: d.Attempt.Epoch.Try,
		MilliCPU:   d.Spec.Demand.MilliCPU,
		InstanceIP: text(d.InstanceAddress), ServiceIP: text(d.ServiceAddress), Tenant: d.Tenant,
	}
}

func wireDelete(d *nodelink.Delete) mqtt.Delete {
	return mqtt.Delete{
		JobName: d.Name.String(), Virtualization: d.Runtime, InstanceNumber: d.Attempt.Instance.Number,
		ServiceID: string(d.Attempt.Instance.Service),
		Grant:     uint64(d.Attempt.Epoch.Grant), Try: d.Attempt.Epoch.Try, GraceMS: d.GraceMS,
	}
}

func wireSession(s *nodelink.Session) mqtt.Session {
	a := s.Attempt
	return mqtt.Session{
		ID: s.ID, Kind: s.Kind, ServiceID: string(a.Instance.Service), InstanceNumber: a.Instance.Number,
		Grant: uint64(a.Epoch.Grant), Try: a.Epoch.Try, Follow: s.Follow, Tail: s.Tail, SinceMS: s.SinceMS,
		Command: s.Command, Stdin: s.Stdin, TTY: s.TTY, Columns: s.Columns, Rows: s.Rows,
	}
}

func wireSubnet(s *nodelink.SubnetResult) mqtt.SubnetResult {
	if !s.Subnet.IsValid() {
		return mqtt.SubnetResult{Error: s.Error}
	}
	base := s.Subnet.Masked().Addr()
	return mqtt.SubnetResult{
		Address: base.String(), AddressV6: text(namespaceV6(base)),
		Bits: s.Subnet.Bits(), Error: s.Error,
	}
}

func wireTableResult(t *nodelink.TableResult) mqtt.TableResult {
	r := mqtt.TableResult{QueryKey: t.Key, Entries: []mqtt.TableInstance{}}
	if !t.Known {
		return r
	}
	r.AppName, r.ServiceID, r.Version = t.Service.Name.String(), string(t.Service.Service), t.Version
	for _, e := range t.Service.Entries {
		r.Entries = append(r.Entries, mqtt.TableInstance{
			InstanceNumber: e.Number,
			NamespaceIP:    text(e.NamespaceIP), NamespaceIPv6: text(namespaceV6(e.NamespaceIP)),
			HostIP: text(e.HostIP), HostPort: int(e.HostPort),
			ServiceIP: []mqtt.ServiceAddress{
				{IPType: "RR", Address: text(t.Service.Address), AddressV6: text(serviceV6(t.Service.Address))},
				{IPType: "instance_ip", Address: text(e.InstanceAddress), AddressV6: text(instanceV6(e.InstanceAddress))},
			},
		})
	}
	return r
}

func wireNetState(s *nodelink.NetState) mqtt.NetState {
	w := mqtt.NetState{Epoch: s.Epoch, Base: s.Base, Version: s.Version, Snapshot: s.Snapshot}
	for _, t := range s.Tables {
		wt := mqtt.Table{
			ServiceID: string(t.Service), Name: t.Name.String(), Address: text(t.Address), Tenant: t.Tenant,
		}
		for _, e := range t.Entries {
			wt.Entries = append(wt.Entries, mqtt.TableEntry{
				Instance: e.Number, InstanceIP: text(e.InstanceAddress),
				NamespaceIP: text(e.NamespaceIP), Node: string(e.Node),
			})
		}
		w.Tables = append(w.Tables, wt)
	}
	for _, p := range s.Peers {
		wp := mqtt.Peer{
			Node: string(p.Node), HostIP: text(p.HostIP), HostPort: int(p.HostPort),
			Subnet: p.Subnet.String(), Dataplane: string(p.Dataplane),
		}
		for _, i := range p.Identities {
			wp.Identities = append(wp.Identities, mqtt.Identity{
				NamespaceIP: text(i.NamespaceIP), InstanceIP: text(i.InstanceAddress), Tenant: i.Tenant,
			})
		}
		w.Peers = append(w.Peers, wp)
	}
	for _, g := range s.GoneTables {
		w.GoneTables = append(w.GoneTables, string(g))
	}
	for _, g := range s.GonePeers {
		w.GonePeers = append(w.GonePeers, string(g))
	}
	return w
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// text is the address, or nothing for none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// The v6 addresses exist because late original NetManagers refuse entries and
// subnets without them. They are functions of the v4 ones, spelled as the
// original's allocator counts: a /120 per node under fc00::, services from
// fdff:2000::, instances from fdff::.

func namespaceV6(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return netip.Addr{}
	}
	n := low32(a) - 10<<24 - 18<<16 // from 10.18.0.0 on
	return v6(0xfc00, 0, n/64*256+n%64)
}

func serviceV6(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return netip.Addr{}
	}
	return v6(0xfdff, 0x2000, low32(a)&0xffff)
}

func instanceV6(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return netip.Addr{}
	}
	return v6(0xfdff, 0, low32(a)&0xffff)
}

func low32(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func v6(first, second uint16, low uint32) netip.Addr {
	var b [16]byte
	b[0], b[1], b[2], b[3] = byte(first>>8), byte(first), byte(second>>8), byte(second)
	b[12], b[13], b[14], b[15] = byte(low>>24), byte(low>>16), byte(low>>8), byte(low)
	return netip.AddrFrom16(b)
}
