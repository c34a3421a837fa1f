package clusters

import (
	"net/netip"
	"slices"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/core/ports"
	"oakestra/root/control"
	"oakestra/root/store"
)

func helloFrom(h *linkv1.Hello, from netip.Addr) Hello {
	out := Hello{
		Name: h.GetClusterName(), Location: h.GetLocation(), ID: model.ClusterID(h.GetClusterId()), Key: h.GetClusterKey(),
		Session: h.GetSession(), Version: h.GetVersion(), Incarnation: h.GetRootIncarnation(),
		Blocks: prefixes(h.GetBlocks()), Address: from, Abilities: h.GetAbilities(),
	}
	for _, v := range h.GetHeld() {
		out.Held = append(out.Held, Held{Instance: slot(v.GetServiceId(), v.GetNumber()), Grant: instance.Grant(v.GetGrant()), Revision: v.GetRevision()})
	}
	return out
}

func slot(service string, number uint32) model.InstanceID {
	return model.InstanceID{Service: model.ServiceID(service), Number: int(number)}
}

// prefixes drops what is no CIDR: a cluster keeps such a block to itself.
func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		if p, err := netip.ParsePrefix(t); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func prefixTexts(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

// addr is invalid for "" and for what is no address.
func addr(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func resourcesFrom(r *linkv1.Resources) model.Resources {
	return model.Resources{MilliCPU: r.GetMilliCpu(), MemoryMB: r.GetMemoryMb(), GPUs: r.GetGpus(), DiskMB: r.GetDiskMb()}
}

func resourcesTo(r model.Resources) *linkv1.Resources {
	return &linkv1.Resources{MilliCpu: r.MilliCPU, MemoryMb: r.MemoryMB, Gpus: r.GPUs, DiskMb: r.DiskMB}
}

func factsFrom(f *linkv1.InstanceFacts) Facts {
	p, o, v := f.GetPlacement(), f.GetObserved(), f.GetVital()
	out := Facts{
		Instance: slot(f.GetServiceId(), f.GetNumber()), Grant: instance.Grant(f.GetGrant()), Gone: f.GetGone(),
		Placement: instance.Placement{
			Try: p.GetTry(), Node: model.NodeID(p.GetNodeId()), Host: p.GetNodeHost(), HostIP: addr(p.GetNodeIp()), Verdict: verdicts[p.GetVerdict()],
		},
		Observed: instance.Observed{
			Epoch: instance.Epoch{Grant: instance.Grant(o.GetGrant()), Try: o.GetTry()}, State: states[o.GetState()],
			Seq: o.GetSeq(), Reason: o.GetReason(), Exit: o.GetExitCode(),
		},
		Vital: instance.Vital{
			Boot: v.GetBoot(), Seq: v.GetSeq(), NamespaceIP: addr(v.GetNamespaceIp()), PublicIP: v.GetPublicIp(), Healthy: v.GetHealthy(), LogTail: v.GetLogTail(),
			Usage: model.Usage{CPUPercent: v.GetCpuPercent(), MemoryPercent: v.GetMemoryPercent(), MemoryBytes: v.GetMemoryBytes(), DiskBytes: v.GetDiskBytes()},
		},
		Node: livenesses[f.GetNodeLiveness()], Counted: f.GetCountedBy(),
	}
	for _, id := range f.GetLeftOn() {
		out.LeftOn = append(out.LeftOn, model.NodeID(id))
	}
	for _, r := range p.GetReasons() {
		out.Placement.Reasons = append(out.Placement.Reasons, reasonFrom(r))
	}
	return out
}

// Words that a newer peer may add are read as the zero value.
var (
	verdicts = map[linkv1.Verdict]instance.Verdict{
		linkv1.Verdict_VERDICT_PLACED: instance.Placed, linkv1.Verdict_VERDICT_REFUSED: instance.Refused,
	}
	states = map[linkv1.State]instance.State{
		linkv1.State_STATE_CREATING: instance.Creating, linkv1.State_STATE_CREATED: instance.Created, linkv1.State_STATE_RUNNING: instance.Running,
		linkv1.State_STATE_COMPLETED: instance.Completed, linkv1.State_STATE_DEAD: instance.Dead, linkv1.State_STATE_FAILED: instance.Failed,
		linkv1.State_STATE_UNDEPLOYED: instance.Undeployed,
	}
	livenesses = map[linkv1.NodeLiveness]instance.Liveness{
		linkv1.NodeLiveness_NODE_LIVENESS_ALIVE: instance.Alive, linkv1.NodeLiveness_NODE_LIVENESS_SUSPECT: instance.Suspect,
		linkv1.NodeLiveness_NODE_LIVENESS_LOST: instance.Lost,
	}
)

func orphanFrom(o *linkv1.Orphan, cluster model.ClusterID) control.UnknownView {
	return control.UnknownView{
		Cluster: cluster, Node: model.NodeID(o.GetNodeId()), ServiceName: o.GetServiceName(), Instance: slot(o.GetServiceId(), o.GetNumber()),
		Epoch: instance.Epoch{Grant: instance.Grant(o.GetGrant()), Try: o.GetTry()}, Ending: o.GetEnding(),
	}
}

func orphanTo(u control.UnknownView) *linkv1.Orphan {
	return &linkv1.Orphan{
		NodeId: string(u.Node), ServiceId: string(u.Instance.Service), ServiceName: u.ServiceName, Number: uint32(u.Instance.Number),
		Grant: uint64(u.Epoch.Grant), Try: u.Epoch.Try,
	}
}

func roomFrom(a *linkv1.Aggregate) Room {
	out := Room{
		Capacity: resourcesFrom(a.GetCapacity()), Reserved: resourcesFrom(a.GetReserved()), ActiveNodes: int(a.GetActiveNodes()), NetworkNodes: int(a.GetNetworkNodes()),
		Runtimes: a.GetRuntimes(), Architectures: a.GetArchitectures(), CPUPercent: a.GetCpuPercent(), MemoryPercent: a.GetMemoryPercent(),
		Rooms: []placement.Room{}, Partial: a.GetPartial(), Number: a.GetNumber(),
	}
	for _, k := range a.GetKinds() {
		room := placement.Room{Runtimes: k.GetRuntimes(), Architectures: k.GetArchitectures(), Network: k.GetNetwork()}
		for five := range slices.Chunk(k.GetRooms(), 5) {
			if len(five) < 5 || five[4] < 1 {
				continue // no room of this protocol
			}
			room.Free, room.Count = model.Resources{MilliCPU: five[0], MemoryMB: five[1], GPUs: five[2], DiskMB: five[3]}, int(five[4])
			out.Rooms = append(out.Rooms, room)
		}
	}
	if at := a.GetPausedUntilUnixMs(); at > 0 {
		out.PausedUntil = time.UnixMilli(at)
	}
	if out.Number != 0 {
		return out
	}
	for _, r := range a.GetLargest() {
		out.Rooms = append(out.Rooms, placement.Room{Runtimes: out.Runtimes, Architectures: out.Architectures, Network: out.NetworkNodes > 0, Free: resourcesFrom(r), Count: 1})
	}
	return out
}

func nodeFrom(n *linkv1.Node, cluster model.ClusterID, name string) control.NodeView {
	subnet, _ := netip.ParsePrefix(n.GetSubnet())
	return control.NodeView{
		Node: model.Node{
			ID: model.NodeID(n.GetId()), Host: n.GetHost(), Address: addr(n.GetAddress()), Architecture: n.GetArchitecture(), Runtimes: n.GetRuntimes(),
			Capacity: resourcesFrom(n.GetCapacity()), Network: n.GetNetwork(), Subnet: subnet, Dataplane: model.Dataplane(n.GetDataplane()), Cordoned: n.GetCordoned(),
		},
		Cluster: cluster, ClusterName: name, Reserved: resourcesFrom(n.GetReserved()),
		Usage:    model.Usage{CPUPercent: n.GetCpuPercent(), MemoryPercent: n.GetMemoryPercent()},
		Liveness: livenesses[n.GetLiveness()], LastSeen: time.UnixMilli(n.GetLastSeenUnixMs()), AgentVersion: n.GetAgentVersion(), Draining: n.GetDraining(),
	}
}

func desiredTo(d Desired) *linkv1.Down {
	out := &linkv1.Desired{Snapshot: d.Snapshot}
	for _, in := range d.Orders {
		out.Changed = append(out.Changed, assignmentTo(in, d.Applications[in.Service.Application]))
	}
	for _, h := range d.Unknown {
		out.Unknown = append(out.Unknown, &linkv1.Held{ServiceId: string(h.Instance.Service), Number: uint32(h.Instance.Number), Grant: uint64(h.Grant), Revision: h.Revision})
	}
	return &linkv1.Down{Body: &linkv1.Down_Desired{Desired: out}}
}

func specTo(s model.Service, app model.Application) *linkv1.ServiceSpec {
	spec := &linkv1.ServiceSpec{
		ApplicationId: string(s.Application), AppName: s.Name.App, AppNamespace: s.Name.AppNamespace, AppDescription: app.Description,
		ServiceName: s.Name.Service, ServiceNamespace: s.Name.ServiceNamespace, Owner: s.Owner, ServiceAddress: addrText(s.Address),
		Image: s.Spec.Image, Runtime: s.Spec.Runtime, Command: s.Spec.Command, Environment: s.Spec.Environment, Demand: resourcesTo(s.Spec.Demand),
		Ports: s.Spec.PortText, Arch: s.Spec.Arch, OneShot: s.Spec.OneShot, OnClusterLoss: s.Spec.OnClusterLoss, ChosenAddress: s.Chosen, Revision: s.Revision,
	}
	for _, c := range s.Spec.Constraints {
		spec.Constraints = append(spec.Constraints, &linkv1.Constraint{Type: c.Type, Cluster: c.Cluster, Nodes: c.Nodes, Allowed: c.Allowed})
	}
	return spec
}

func assignmentTo(in store.Instance, app model.Application) *linkv1.Assignment {
	return &linkv1.Assignment{
		ServiceId: string(in.ID.Service), Number: uint32(in.ID.Number), Grant: uint64(in.Grant), Revision: in.Revision,
		Tombstone: in.Tombstone, Spec: specTo(in.Service, app), InstanceAddress: addrText(in.Address),
	}
}

func reasonFrom(r *linkv1.Reason) instance.Reason {
	return instance.Reason{Name: r.GetName(), Count: int(r.GetCount()), Detail: r.GetDetail()}
}

func claimsFrom(c *linkv1.Claims, cluster model.ClusterID) Claims {
	out := Claims{Applications: map[model.ApplicationID]model.Application{}, Blocks: prefixes(c.GetBlocks())}
	for _, a := range c.GetAssignments() {
		in, app := instanceFrom(a, cluster)
		out.Orders = append(out.Orders, in)
		out.Applications[app.ID] = app
	}
	return out
}

func instanceFrom(a *linkv1.Assignment, cluster model.ClusterID) (store.Instance, model.Application) {
	s := a.GetSpec()
	id := slot(a.GetServiceId(), a.GetNumber())
	name := model.ServiceName{App: s.GetAppName(), AppNamespace: s.GetAppNamespace(), Service: s.GetServiceName(), ServiceNamespace: s.GetServiceNamespace()}
	svc := model.Service{
		ID: id.Service, Application: model.ApplicationID(s.GetApplicationId()), Owner: s.GetOwner(), Name: name, Address: addr(s.GetServiceAddress()),
		Chosen: s.GetChosenAddress(), Revision: s.GetRevision(), NextNumber: id.Number + 1,
		Spec: model.ServiceSpec{
			Image: s.GetImage(), Runtime: s.GetRuntime(), Command: s.GetCommand(), Environment: s.GetEnvironment(), Demand: resourcesFrom(s.GetDemand()),
			PortText: s.GetPorts(), Arch: s.GetArch(), OneShot: s.GetOneShot(), OnClusterLoss: s.GetOnClusterLoss(),
		},
	}
	// The text was valid when the order was made; were it not, the service
	// would publish nothing, and its text still says what was meant.
	svc.Spec.Ports, _ = ports.Parse(svc.Spec.PortText)
	for _, c := range s.GetConstraints() {
		svc.Spec.Constraints = append(svc.Spec.Constraints, model.Constraint{Type: c.GetType(), Cluster: c.GetCluster(), Nodes: c.GetNodes(), Allowed: c.GetAllowed()})
	}
	in := store.Instance{
		ID: id, Address: addr(a.GetInstanceAddress()), Cluster: cluster, Grant: instance.Grant(a.GetGrant()), Revision: a.GetRevision(),
		Tombstone: a.GetTombstone(), Service: svc,
	}
	app := model.Application{ID: svc.Application, Name: name.App, Namespace: name.AppNamespace, Description: s.GetAppDescription(), Owner: svc.Owner}
	return in, app
}
