package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// The oddities of the wire live here: numbers as strings, ids as objects,
// container called docker, arrays that are never null, JSON inside JSON.

// clusterPort is where a cluster manager listens unless told otherwise; the
// root never dials it, clients only show it.
const clusterPort = "10100"

// Words of the wire for the runtime that runs containers.
const (
	runtimeContainer = "container"
	wireDocker       = "docker"
)

// readDescriptor reads a descriptor as text. Some clients send it encoded
// twice, as a JSON string.
func (a *api) readDescriptor(c *gin.Context) ([]byte, error) {
	raw, err := a.readBody(c)
	if err != nil {
		return nil, err
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var inner string
		if json.Unmarshal(raw, &inner) == nil {
			raw = []byte(inner)
		}
	}
	return raw, syntax(raw)
}

func (a *api) readJSON(c *gin.Context, into any) error {
	raw, err := a.readBody(c)
	if err != nil {
		return err
	}
	if err := syntax(raw); err != nil {
		return err
	}
	err = json.Unmarshal(raw, into)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		p := errs.Problem{Path: kind.Field, Value: kind.Value, Message: "has the wrong type"} // the kind, never the value
		return control.Located{Problem: p, Err: errNoJSON}
	case err != nil:
		return fmt.Errorf("%w: %s", errNoJSON, err.Error())
	}
	return nil
}

// syntax is errNoJSON with the place of the first mistake.
func syntax(raw []byte) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return fmt.Errorf("%w: it is empty", errNoJSON)
	}
	var any json.RawMessage
	err := json.Unmarshal(raw, &any)
	var where *json.SyntaxError
	switch {
	case errors.As(err, &where):
		line := 1 + bytes.Count(raw[:where.Offset], []byte("\n"))
		return fmt.Errorf("%w: line %d: %s", errNoJSON, line, where.Error())
	case err != nil:
		return fmt.Errorf("%w: %s", errNoJSON, err.Error())
	}
	return nil
}

// answerQuoted answers 200, as JSON or, for one old client, as JSON in a
// string.
func (a *api) answerQuoted(c *gin.Context, v any) {
	if !a.Quoted {
		c.PureJSON(http.StatusOK, v)
		return
	}
	raw, err := json.Marshal(v)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, string(raw))
}

// each converts a list; the result is never null.
func each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

// texts converts a list of any kind of string; the result is never null.
func texts[S ~string](in []S) []string {
	return each(in, func(s S) string { return string(s) })
}

func toApplication(a control.ApplicationView) wire.Application {
	return wire.Application{
		ID:            wire.OID{OID: string(a.ID)},
		ApplicationID: string(a.ID),
		Name:          a.Name,
		Namespace:     a.Namespace,
		Description:   a.Description,
		UserID:        a.Owner,
		Microservices: texts(a.Services),
	}
}

func toService(v control.ServiceView) wire.Service {
	s := wire.Service{
		ID:                    wire.OID{OID: string(v.ID)},
		MicroserviceID:        string(v.ID),
		MicroserviceName:      v.Name.Service,
		MicroserviceNamespace: v.Name.ServiceNamespace,
		ApplicationID:         string(v.Application),
		AppName:               v.Name.App,
		AppNamespace:          v.Name.AppNamespace,
		ServiceName:           v.Name.Service,
		ServiceNamespace:      v.Name.ServiceNamespace,
		JobName:               v.Name.String(),
		Virtualization:        v.Spec.Runtime,
		Image:                 v.Spec.Image,
		Code:                  v.Spec.Image,
		Status:                string(v.Word),
		StatusDetail:          v.Detail,
		Port:                  v.Spec.PortText,
		RoundRobinIP:          addrText(v.Address),
		Memory:                v.Spec.Demand.MemoryMB,
		VCPUs:                 wholeCPUs(v.Spec.Demand),
		VGPUs:                 v.Spec.Demand.GPUs,
		Storage:               v.Spec.Demand.DiskMB,
		Command:               texts(v.Spec.Command),
		Environment:           texts(v.Spec.Environment),
		Arch:                  texts(v.Spec.Arch),
		OneShot:               v.Spec.OneShot,
		Constraints:           each(v.Spec.Constraints, toConstraint),
		Rollout:               toRollout(v.Progress()),
		NextInstance:          v.NextNumber,
		Instances:             make([]wire.Instance, 0, len(v.Slots)),
	}
	if s.Virtualization == runtimeContainer {
		s.Virtualization = wireDocker
	}
	if v.Chosen {
		s.Addresses.RoundRobin = s.RoundRobinIP
	}
	addKept(&s, v.Spec)
	for _, slot := range v.Slots {
		spec := v.Spec
		if slot.Service.ID != "" {
			spec = slot.Service.Spec // while a rollout goes on, the two differ
		}
		s.Instances = append(s.Instances, toInstance(slot, spec))
	}
	return s
}

func toInstance(v control.SlotView, spec model.ServiceSpec) wire.Instance {
	used := v.Seen.Vital.Usage
	in := wire.Instance{
		Number:          v.ID.Number,
		Status:          string(v.Word),
		StatusDetail:    v.Detail,
		Stale:           v.Stale,
		PublicIP:        v.Seen.Vital.PublicIP,
		HostIP:          addrText(v.Seen.Placement.HostIP),
		Revision:        v.Service.Revision,
		InstanceIP:      addrText(v.Address),
		NamespaceIP:     addrText(v.Seen.Vital.NamespaceIP),
		ClusterID:       string(v.Cluster),
		ClusterName:     v.Site.Name,
		ClusterLocation: v.Site.Location,
		WorkerID:        string(v.Seen.Placement.Node),
		CPU:             decimal(used.CPUPercent),
		CPUPercent:      decimal(used.CPUPercent),
		Memory:          decimal(used.MemoryPercent),
		MemoryPercent:   decimal(used.MemoryPercent),
		Disk:            strconv.FormatInt(used.DiskBytes, 10),
		Logs:            v.Seen.Vital.LogTail,
		CPUHistory:      []wire.Sample{},
		MemoryHistory:   []wire.Sample{},
	}
	if len(spec.Ports) > 0 {
		in.HostPort = int(spec.Ports[0].Host)
	}
	return in
}

func toConstraint(c model.Constraint) wire.Constraint {
	return wire.Constraint{Type: c.Type, Cluster: c.Cluster, Node: strings.Join(c.Nodes, ";"), Allowed: c.Allowed}
}

func toServiceCreated(services []model.Service) wire.ServiceCreated {
	out := wire.ServiceCreated{Deployed: []wire.ServiceAccepted{}, Failed: []wire.ServiceRejected{}}
	for _, s := range services {
		out.JobID = string(s.ID)
		out.Deployed = append(out.Deployed, wire.ServiceAccepted{ServiceName: s.Name.Service, Status: http.StatusOK})
	}
	return out
}

func toCluster(v control.ClusterView) wire.Cluster {
	vcpus := wholeCPUs(v.Capacity)
	paused := ""
	if !v.PausedUntil.IsZero() {
		paused = v.PausedUntil.UTC().Format(time.RFC3339)
	}
	return wire.Cluster{
		StatusDetail: v.Detail(), PausedUntil: paused,
		ID:               string(v.ID),
		Name:             v.Name,
		CandidateName:    v.Name,
		IP:               addrText(v.Address),
		Port:             clusterPort,
		Location:         v.Location,
		Active:           v.Active,
		ActiveNodes:      v.ActiveNodes,
		NetworkNodes:     v.NetworkNodes,
		TotalCPUCores:    vcpus,
		VCPUs:            vcpus,
		TotalGPUCores:    v.Capacity.GPUs,
		VGPUs:            v.Capacity.GPUs,
		MemoryMB:         v.Capacity.MemoryMB,
		Memory:           v.Capacity.MemoryMB,
		CPUPercent:       v.CPUPercent,
		AggregatedCPU:    v.CPUPercent,
		MemoryPercent:    v.MemoryPercent,
		AggregatedMemory: v.MemoryPercent,
		ReservedVCPUs:    cpus(v.Reserved),
		ReservedMemory:   v.Reserved.MemoryMB,
		ReservedVGPUs:    v.Reserved.GPUs,
		Virtualization:   runtimes(v.Runtimes),
		Architectures:    texts(v.Architectures),
		CSIDrivers:       []string{},
		SupportedAddons:  []string{},
		GPUDrivers:       []string{},
		WorkerGroups:     []string{},
		Orphans:          v.Orphans,
		LastModified:     wire.Date{Date: v.LastSeen.UTC().Format("2006-01-02T15:04:05.000Z")},
		LastModifiedUnix: seconds(v.LastSeen),
	}
}

func toNode(v control.NodeView) wire.Node {
	n := wire.Node{
		ID:             string(v.ID),
		Host:           v.Host,
		IP:             addrText(v.Address),
		ClusterID:      string(v.Cluster),
		ClusterName:    v.ClusterName,
		Status:         livenessWord(v.Liveness),
		Architecture:   v.Architecture,
		Runtimes:       runtimes(v.Runtimes),
		Network:        v.Network,
		Dataplane:      string(v.Dataplane),
		Cordoned:       v.Cordoned,
		VCPUs:          cpus(v.Capacity),
		MemoryMB:       v.Capacity.MemoryMB,
		VGPUs:          v.Capacity.GPUs,
		StorageMB:      v.Capacity.DiskMB,
		ReservedVCPUs:  cpus(v.Reserved),
		ReservedMemory: v.Reserved.MemoryMB,
		ReservedVGPUs:  v.Reserved.GPUs,
		CPUPercent:     v.Usage.CPUPercent,
		MemoryPercent:  v.Usage.MemoryPercent,
		MemoryBytes:    v.Usage.MemoryBytes,
		DiskBytes:      v.Usage.DiskBytes,
		AgentVersion:   v.AgentVersion,
	}
	if !v.LastSeen.IsZero() {
		n.LastSeen = v.LastSeen.UTC().Format(time.RFC3339)
	}
	if v.Subnet.IsValid() {
		n.Subnet = v.Subnet.String()
	}
	return n
}

func toRecovery(on bool, waiting []string, unknown []control.UnknownView) wire.Recovery {
	return wire.Recovery{
		Active:     on,
		WaitingFor: texts(waiting),
		Unknown: each(unknown, func(u control.UnknownView) wire.Unknown {
			return wire.Unknown{
				ClusterID: string(u.Cluster), NodeID: string(u.Node), JobName: u.ServiceName,
				MicroserviceID: string(u.Instance.Service), InstanceNumber: u.Instance.Number, Epoch: u.Epoch.String(),
			}
		}),
	}
}

// roleTexts explains the roles in the words users see.
var roleTexts = map[string]string{
	auth.RoleAdmin:          "may see and change everything",
	auth.RoleOrgAdmin:       "may manage the users of the organization",
	auth.RoleApplication:    "may run applications",
	auth.RoleInfrastructure: "may add clusters and nodes",
}

func toRoles(names []string) []wire.Role {
	return each(names, func(r string) wire.Role { return wire.Role{Name: r, Description: roleTexts[r]} })
}

// roles of documents: names, or for clients of 2022 objects.
func (a *api) roles(names []string) any {
	if a.RoleObjects {
		return toRoles(names)
	}
	return texts(names)
}

func (a *api) toUser(u auth.Account) wire.User {
	out := wire.User{
		ID: wire.OID{OID: string(u.ID)}, Name: u.Name, Email: u.Email, Roles: a.roles(u.Roles), Organization: u.Organization,
		MustChangePassword: u.MustChangePassword,
	}
	if !u.CreatedAt.IsZero() {
		out.CreatedAt = u.CreatedAt.UTC().Format(time.RFC3339)
	}
	return out
}

func cpus(r model.Resources) float64 { return float64(r.MilliCPU) / 1000 }

// wholeCPUs rounds up: clients want an integer.
func wholeCPUs(r model.Resources) int64 { return (r.MilliCPU + 999) / 1000 }

// runtimes are the names that clients know, each once.
func runtimes(in []string) []string {
	out := each(in, func(r string) string {
		if r == runtimeContainer {
			return wireDocker
		}
		return r
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func livenessWord(l instance.Liveness) string {
	switch l {
	case instance.Unseen:
		return "unseen"
	case instance.Alive:
		return "alive"
	case instance.Suspect:
		return "suspect"
	case instance.Lost:
		return "lost"
	}
	return "unseen"
}

// addrText is "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// seconds since 1970, 0 for never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
