package rootlink

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/core/ports"
	"oakestra/pkg/errs"
)

// What a root may ask: abilityExplain for Explain, abilityOrphans for the end
// of an orphan.
const (
	abilityExplain = "explain"
	abilityOrphans = "orphans"
)

// mostJudged bounds an answer to Explain.
const mostJudged = 1000

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // "" and damaged texts are no address
	return a
}

func texts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func resourcesTo(r model.Resources) *linkv1.Resources {
	return &linkv1.Resources{MilliCpu: r.MilliCPU, MemoryMb: r.MemoryMB, Gpus: r.GPUs, DiskMb: r.DiskMB}
}

func helloTo(c Config, id store.Identity, session string, h fleet.Holdings) *linkv1.Up {
	m := &linkv1.Hello{
		ClusterName: c.Name, Location: c.Location, ClusterId: string(id.Cluster), ClusterKey: id.Key, Session: session, Version: c.Version,
		RootIncarnation: id.Incarnation, Blocks: texts(h.Blocks), ManagerPort: uint32(c.Port), Abilities: abilities(c),
	}
	for _, s := range h.Slots {
		m.Held = append(m.Held, &linkv1.Held{ServiceId: string(s.Instance.Service), Number: uint32(s.Instance.Number), Grant: uint64(s.Grant), Revision: s.Revision})
	}
	return &linkv1.Up{Body: &linkv1.Up_Hello{Hello: m}}
}

// claimsTo makes the messages that say what is held, one after the other; a
// single one, however large, for a root that does not take parts.
func claimsTo(h fleet.Holdings, parts bool) iter.Seq[*linkv1.Up] {
	// Side by side the slots of a service share its spec.
	list := slices.SortedFunc(slices.Values(h.Slots), func(a, b store.Slot) int {
		return cmp.Or(cmp.Compare(a.Instance.Service, b.Instance.Service), cmp.Compare(a.Instance.Number, b.Instance.Number))
	})
	all := func(yield func(*linkv1.Assignment) bool) {
		for _, s := range list {
			if !yield(claimTo(s)) {
				return
			}
		}
	}
	up := func(part []*linkv1.Assignment, more bool) *linkv1.Up {
		m := &linkv1.Claims{Assignments: part, More: more}
		if !more {
			m.Blocks = texts(h.Blocks)
		}
		return &linkv1.Up{Body: &linkv1.Up_Claims{Claims: m}}
	}
	return func(yield func(*linkv1.Up) bool) {
		if !parts {
			yield(up(slices.Collect(all), false))
			return
		}
		for part, more := range linkv1.Parts(all, linkv1.PartBytes) {
			if !yield(up(part, more)) {
				return
			}
		}
	}
}

func claimTo(s store.Slot) *linkv1.Assignment {
	v, sp := s.Service, s.Service.Spec
	spec := &linkv1.ServiceSpec{
		ApplicationId: string(v.Application), AppName: v.Name.App, AppNamespace: v.Name.AppNamespace, ServiceName: v.Name.Service,
		ServiceNamespace: v.Name.ServiceNamespace, Owner: v.Owner, ServiceAddress: text(v.Address), Image: sp.Image, Runtime: sp.Runtime,
		Command: sp.Command, Environment: sp.Environment, Demand: resourcesTo(sp.Demand), Ports: sp.PortText, Arch: sp.Arch, OneShot: sp.OneShot,
		OnClusterLoss: sp.OnClusterLoss, ChosenAddress: v.Chosen, Revision: v.Revision, AppDescription: s.Description,
	}
	for _, c := range sp.Constraints {
		spec.Constraints = append(spec.Constraints, &linkv1.Constraint{Type: c.Type, Cluster: c.Cluster, Nodes: c.Nodes, Allowed: c.Allowed})
	}
	return &linkv1.Assignment{
		ServiceId: string(s.Instance.Service), Number: uint32(s.Instance.Number), Grant: uint64(s.Grant), Revision: s.Revision,
		Tombstone: s.Tombstone, Spec: spec, InstanceAddress: text(s.Address),
	}
}

func desiredFrom(d *linkv1.Desired) fleet.Desired {
	out := fleet.Desired{Snapshot: d.GetSnapshot(), More: d.GetMore(), Revision: d.GetRevision()}
	linkv1.Whole(d.GetChanged())
	last := map[string]*linkv1.Assignment{}
	services := map[string]model.Service{}
	for _, a := range d.GetChanged() {
		id := a.GetServiceId()
		if b := last[id]; b == nil || !proto.Equal(a.GetSpec(), b.GetSpec()) {
			last[id], services[id] = a, serviceFrom(a.GetServiceId(), a.GetSpec())
		}
		// Instances of a service share its texts: 10 000 copies are many MiB.
		out.Changed = append(out.Changed, assignmentFrom(a, services[id]))
	}
	for _, u := range d.GetUnknown() {
		out.Unknown = append(out.Unknown, model.InstanceID{Service: model.ServiceID(u.GetServiceId()), Number: int(u.GetNumber())})
	}
	return out
}

func serviceFrom(id string, s *linkv1.ServiceSpec) model.Service {
	d := s.GetDemand()
	v := model.Service{
		ID: model.ServiceID(id), Application: model.ApplicationID(s.GetApplicationId()), Owner: s.GetOwner(),
		Name:    model.ServiceName{App: s.GetAppName(), AppNamespace: s.GetAppNamespace(), Service: s.GetServiceName(), ServiceNamespace: s.GetServiceNamespace()},
		Address: addr(s.GetServiceAddress()), Chosen: s.GetChosenAddress(), Revision: s.GetRevision(),
		Spec: model.ServiceSpec{
			Image: s.GetImage(), Runtime: s.GetRuntime(), Command: s.GetCommand(), Environment: s.GetEnvironment(), PortText: s.GetPorts(),
			Demand: model.Resources{MilliCPU: d.GetMilliCpu(), MemoryMB: d.GetMemoryMb(), GPUs: d.GetGpus(), DiskMB: d.GetDiskMb()},
			Arch:   s.GetArch(), OneShot: s.GetOneShot(), OnClusterLoss: s.GetOnClusterLoss(),
		},
	}
	v.Spec.Ports, _ = ports.Parse(s.GetPorts()) // the root has checked the text
	for _, c := range s.GetConstraints() {
		v.Spec.Constraints = append(v.Spec.Constraints, model.Constraint{Type: c.GetType(), Cluster: c.GetCluster(), Nodes: c.GetNodes(), Allowed: c.GetAllowed()})
	}
	return v
}

func assignmentFrom(a *linkv1.Assignment, v model.Service) fleet.Assignment {
	return fleet.Assignment{
		Instance: model.InstanceID{Service: v.ID, Number: int(a.GetNumber())}, Grant: instance.Grant(a.GetGrant()), Revision: a.GetRevision(),
		Tombstone: a.GetTombstone(), Service: v, Description: a.GetSpec().GetAppDescription(), Address: addr(a.GetInstanceAddress()),
	}
}

func questionFrom(e *linkv1.Explain) fleet.Question {
	return fleet.Question{Service: serviceFrom(e.GetServiceId(), e.GetSpec()), Most: int(min(e.GetMost(), mostJudged))}
}

func explainedTo(id string, e fleet.Explanation) *linkv1.Up {
	m := &linkv1.Explained{Id: id, Workers: uint32(e.Workers), Qualify: uint32(e.Qualify), NodeId: string(e.Node)}
	for _, r := range e.Reasons {
		m.Reasons = append(m.Reasons, reasonTo(r))
	}
	for _, j := range e.Judged {
		v := &linkv1.Judged{NodeId: string(j.Node), Host: j.Host}
		if j.Reason != nil {
			v.Reason = reasonTo(*j.Reason)
		}
		m.Judged = append(m.Judged, v)
	}
	return &linkv1.Up{Body: &linkv1.Up_Explained{Explained: m}}
}

func reasonTo(r instance.Reason) *linkv1.Reason {
	return &linkv1.Reason{Name: r.Name, Count: uint32(r.Count), Detail: r.Detail}
}

// The protocol's enumerations are in the order of the domain's.
func factsTo(f fleet.Facts) *linkv1.InstanceFacts {
	p := &linkv1.Placement{Try: f.Placement.Try, NodeId: string(f.Placement.Node), NodeHost: f.Placement.Host, NodeIp: text(f.Placement.HostIP), Verdict: linkv1.Verdict(f.Placement.Verdict)}
	for _, r := range f.Placement.Reasons {
		p.Reasons = append(p.Reasons, reasonTo(r))
	}
	o, v := f.Observed, f.Vital
	return &linkv1.InstanceFacts{
		LeftOn:    nodeIDs(f.LeftOn),
		ServiceId: string(f.Instance.Service), Number: uint32(f.Instance.Number), Grant: uint64(f.Grant), Placement: p, Gone: f.Gone,
		Observed: &linkv1.Observed{Grant: uint64(o.Epoch.Grant), Try: o.Epoch.Try, State: linkv1.State(o.State), Seq: o.Seq, Reason: o.Reason, ExitCode: o.Exit},
		Vital: &linkv1.Vital{Boot: v.Boot, Seq: v.Seq, CpuPercent: v.Usage.CPUPercent, MemoryPercent: v.Usage.MemoryPercent, MemoryBytes: v.Usage.MemoryBytes,
			DiskBytes: v.Usage.DiskBytes, NamespaceIp: text(v.NamespaceIP), PublicIp: v.PublicIP, Healthy: v.Healthy, LogTail: v.LogTail},
		NodeLiveness: linkv1.NodeLiveness(f.Node), CountedBy: f.Counted,
	}
}

func nodeIDs(list []model.NodeID) (out []string) {
	for _, id := range list {
		out = append(out, string(id))
	}
	return out
}

func reportTo(snapshot bool, facts map[model.InstanceID]fleet.Facts, orphans *[]fleet.Orphan) *linkv1.Up {
	m := &linkv1.Report{Snapshot: snapshot}
	for _, f := range facts {
		m.Instances = append(m.Instances, factsTo(f))
	}
	if orphans != nil {
		for _, o := range *orphans {
			m.Orphans = append(m.Orphans, &linkv1.Orphan{NodeId: string(o.Node), ServiceId: string(o.Instance.Service), ServiceName: o.Name,
				Number: uint32(o.Instance.Number), Grant: uint64(o.Epoch.Grant), Try: o.Epoch.Try, Ending: o.Ending})
		}
	}
	return &linkv1.Up{Body: &linkv1.Up_Report{Report: m}}
}

func nodesTo(snapshot bool, nodes map[model.NodeID]fleet.NodeView, removed []model.NodeID) *linkv1.Up {
	m := &linkv1.NodeUpdate{Snapshot: snapshot}
	for _, n := range nodes {
		m.Nodes = append(m.Nodes, &linkv1.Node{
			Id: string(n.ID), Host: n.Host, Address: text(n.Address), Architecture: n.Architecture, Runtimes: n.Runtimes, Capacity: resourcesTo(n.Capacity),
			Reserved: resourcesTo(n.Reserved), CpuPercent: n.Usage.CPUPercent, MemoryPercent: n.Usage.MemoryPercent, Network: n.Network, Subnet: prefixText(n.Subnet),
			Dataplane: string(n.Dataplane), Cordoned: n.Cordoned, Liveness: linkv1.NodeLiveness(n.Liveness), LastSeenUnixMs: n.LastSeen.UnixMilli(), AgentVersion: n.Version,
			Draining: n.Draining,
		})
	}
	for _, id := range removed {
		m.Removed = append(m.Removed, string(id))
	}
	return &linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: m}}
}

func snapshotTo(s fleet.Snapshot) []*linkv1.Up {
	facts, nodes := map[model.InstanceID]fleet.Facts{}, map[model.NodeID]fleet.NodeView{}
	for _, f := range s.Facts {
		facts[f.Instance] = f
	}
	for _, n := range s.Nodes {
		nodes[n.ID] = n
	}
	return []*linkv1.Up{reportTo(true, facts, &s.Orphans), nodesTo(true, nodes, nil), aggregateTo(s.Sums)}
}

func aggregateTo(a fleet.Aggregate) *linkv1.Up {
	m := &linkv1.Aggregate{
		ActiveNodes: uint32(a.ActiveNodes), NetworkNodes: uint32(a.NetworkNodes), Capacity: resourcesTo(a.Capacity), Reserved: resourcesTo(a.Reserved),
		Runtimes: a.Runtimes, Architectures: a.Architectures, CpuPercent: a.CPUPercent, MemoryPercent: a.MemoryPercent,
	}
	m.Number, m.Partial = a.Number, a.Partial
	if !a.PausedUntil.IsZero() {
		m.PausedUntilUnixMs = a.PausedUntil.UnixMilli()
	}
	kinds := map[string]*linkv1.Kind{}
	for _, r := range a.Rooms {
		name := fmt.Sprint(r.Runtimes, r.Architectures, r.Network)
		k := kinds[name]
		if k == nil {
			k = &linkv1.Kind{Runtimes: r.Runtimes, Architectures: r.Architectures, Network: r.Network}
			kinds[name] = k
			m.Kinds = append(m.Kinds, k)
		}
		k.Rooms = append(k.Rooms, r.Free.MilliCPU, r.Free.MemoryMB, r.Free.GPUs, r.Free.DiskMB, int64(r.Count))
	}
	m.Largest = largestTo(a.Rooms)
	return &linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: m}}
}

// largestTo is for roots of an older version: the roomiest workers by each
// resource.
func largestTo(rooms []placement.Room) (out []*linkv1.Resources) {
	var seen []model.Resources
	for _, by := range []func(model.Resources) int64{
		func(r model.Resources) int64 { return r.MilliCPU }, func(r model.Resources) int64 { return r.MemoryMB },
		func(r model.Resources) int64 { return r.GPUs }, func(r model.Resources) int64 { return r.DiskMB },
	} {
		sorted := slices.SortedStableFunc(slices.Values(rooms), func(a, b placement.Room) int { return cmp.Compare(by(b.Free), by(a.Free)) })
		for _, r := range sorted[:min(3, len(sorted))] {
			if !slices.Contains(seen, r.Free) {
				seen = append(seen, r.Free)
				out = append(out, resourcesTo(r.Free))
			}
		}
	}
	return out
}

func sliceTo(s tables.Slice) *linkv1.Up {
	m := &linkv1.Slice{ServiceId: string(s.Service), Version: s.Version}
	for _, e := range s.Endpoints {
		m.Endpoints = append(m.Endpoints, &linkv1.Endpoint{
			Number: uint32(e.Number), InstanceAddress: text(e.InstanceAddress), NamespaceAddress: text(e.NamespaceIP), NodeId: string(e.Node), HostIp: text(e.HostIP),
			HostPort: uint32(e.HostPort), Subnet: prefixText(e.Subnet), Dataplane: string(e.Dataplane), Grant: uint64(e.Epoch.Grant), Try: e.Epoch.Try,
			Unlisted: e.Unlisted,
		})
	}
	return &linkv1.Up{Body: &linkv1.Up_Slice{Slice: m}}
}

func appliedTo(service model.ServiceID, versions map[model.ClusterID]uint64) *linkv1.Up {
	m := &linkv1.TableApplied{ServiceId: string(service)}
	for id, v := range versions {
		m.Slices = append(m.Slices, &linkv1.SliceVersion{ClusterId: string(id), Version: v})
	}
	return &linkv1.Up{Body: &linkv1.Up_TableApplied{TableApplied: m}}
}

func interestTo(i tables.Interest) *linkv1.Up {
	m := &linkv1.Interest{Query: i.Query, Remove: i.Remove}
	for _, p := range i.Peers {
		w := &linkv1.Peer{NodeId: string(p.Node), HostIp: text(p.HostIP), HostPort: uint32(p.HostPort), Subnet: prefixText(p.Subnet), Dataplane: string(p.Dataplane)}
		for _, id := range p.Identities {
			w.Identities = append(w.Identities, &linkv1.Identity{NamespaceAddress: text(id.NamespaceIP), InstanceAddress: text(id.InstanceAddress), Tenant: id.Tenant})
		}
		m.Peers = append(m.Peers, w)
	}
	return &linkv1.Up{Body: &linkv1.Up_Interest{Interest: m}}
}

// peersFrom names workers of other clusters <cluster>/<node>: a worker here may
// have the same id.
func peersFrom(list []*linkv1.Peer) []Peer {
	var out []Peer
	for _, p := range list {
		subnet, _ := netip.ParsePrefix(p.GetSubnet())
		v := Peer{Node: model.NodeID(p.GetClusterId() + "/" + p.GetNodeId()), HostIP: addr(p.GetHostIp()), HostPort: uint16(p.GetHostPort()), Subnet: subnet, Dataplane: model.Dataplane(p.GetDataplane())}
		for _, i := range p.GetIdentities() {
			v.Identities = append(v.Identities, identityFrom(i))
		}
		out = append(out, v)
	}
	return out
}

func tableFrom(t *linkv1.ServiceTable) tables.RootTable {
	name, _ := model.ParseServiceName(t.GetServiceName())
	out := tables.RootTable{Query: t.GetQuery(), Known: t.GetKnown(), Service: model.ServiceID(t.GetServiceId()), Name: name, Address: addr(t.GetServiceAddress()), Tenant: t.GetTenant()}
	for _, s := range t.GetSlices() {
		v := tables.RootSlice{Cluster: model.ClusterID(s.GetClusterId()), Version: s.GetVersion(), Stale: s.GetStale()}
		for _, e := range s.GetEndpoints() {
			subnet, _ := netip.ParsePrefix(e.GetSubnet())
			v.Endpoints = append(v.Endpoints, tables.SliceEndpoint{
				Number: int(e.GetNumber()), Epoch: instance.Epoch{Grant: instance.Grant(e.GetGrant()), Try: e.GetTry()}, InstanceAddress: addr(e.GetInstanceAddress()),
				NamespaceIP: addr(e.GetNamespaceAddress()), Node: model.NodeID(e.GetNodeId()), HostIP: addr(e.GetHostIp()), HostPort: uint16(e.GetHostPort()),
				Subnet: subnet, Dataplane: model.Dataplane(e.GetDataplane()), Unlisted: e.GetUnlisted(),
			})
		}
		out.Slices = append(out.Slices, v)
	}
	return out
}

func identityFrom(i *linkv1.Identity) nodelink.Identity {
	return nodelink.Identity{NamespaceIP: addr(i.GetNamespaceAddress()), InstanceAddress: addr(i.GetInstanceAddress()), Tenant: i.GetTenant()}
}

var verbs = map[linkv1.NodeVerb]fleet.Verb{
	linkv1.NodeVerb_NODE_VERB_CORDON: fleet.Cordon, linkv1.NodeVerb_NODE_VERB_UNCORDON: fleet.Uncordon,
	linkv1.NodeVerb_NODE_VERB_DRAIN: fleet.Drain, linkv1.NodeVerb_NODE_VERB_REMOVE: fleet.Remove,
	linkv1.NodeVerb_NODE_VERB_CONFIRM_LOSS: fleet.ConfirmLoss,
}

func orderedTo(id string, done fleet.Ordered, err error) *linkv1.Up {
	m := &linkv1.NodeOrdered{Id: id, Message: done.Said}
	if err != nil {
		m.Result, m.Message = linkv1.OrderResult_ORDER_RESULT_CONFLICT, err.Error()
		if errors.Is(err, errs.NotFound) {
			m.Result = linkv1.OrderResult_ORDER_RESULT_NOT_FOUND
		}
	}
	for _, v := range done.Moving {
		m.Instances = append(m.Instances, &linkv1.NodeInstance{
			ServiceId: string(v.Instance.Service), Number: uint32(v.Instance.Number), ToNodeId: string(v.To), Reason: v.Reason,
		})
	}
	return &linkv1.Up{Body: &linkv1.Up_NodeOrdered{NodeOrdered: m}}
}
