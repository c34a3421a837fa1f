package model

import (
	"net/netip"
	"strings"
)

// Application is a named group of services of one user.
type Application struct {
	ID          ApplicationID
	Name        string
	Namespace   string
	Description string
	Owner       string // user name; also the tenant of the overlay
}

// Service is what a user asked to run (spec) with the address the root gave it.
type Service struct {
	ID          ServiceID
	Application ApplicationID
	Owner       string // copied from the application
	Name        ServiceName
	Spec        ServiceSpec
	Address     netip.Addr // 10.30.x.y, balanced over the instances
	Chosen      bool       // the user chose Address (addresses.rr_ip)
	NextNumber  int        // the next instance gets this number; never falls
	Revision    uint64     // grows with every change of Spec
	// History is what Spec was before, oldest first. A service as an instance
	// remembers it has none, and no Rollout.
	History []Revision
	Rollout Rollout
}

// ServiceName is the fully qualified name: app.namespace.service.namespace.
type ServiceName struct {
	App, AppNamespace, Service, ServiceNamespace string
}

// String joins the four parts with dots: the "job_name" of the wire.
func (n ServiceName) String() string {
	return n.App + "." + n.AppNamespace + "." + n.Service + "." + n.ServiceNamespace
}

// ParseServiceName splits a job name; ok is false unless it has exactly four
// non-empty parts.
func ParseServiceName(s string) (ServiceName, bool) {
	p := strings.Split(s, ".")
	if len(p) != 4 || p[0] == "" || p[1] == "" || p[2] == "" || p[3] == "" {
		return ServiceName{}, false
	}
	return ServiceName{p[0], p[1], p[2], p[3]}, true
}

// ServiceSpec is the part of a descriptor that decides what runs and where.
type ServiceSpec struct {
	Image       string
	Runtime     string // "container" (wire: docker) or another technology a node lists
	Command     []string
	Environment []string // K=V
	Demand      Resources
	Ports       []Port
	PortText    string // as the user wrote it, for the wire
	Constraints []Constraint
	Arch        []string // empty: any
	OneShot     bool     // exit 0 is COMPLETED and is not run again
	// OnClusterLoss is "" (keep) or "replace": what the root does with
	// instances of a cluster that is dead.
	OnClusterLoss string
	// MaxUnavailable is how many instances are replaced at once when the spec
	// changes, StartSeconds how long one may take to run; 0: the default.
	MaxUnavailable, StartSeconds int
	// Kept is a JSON object of descriptor fields that decide nothing here:
	// checked when it came, and given back as it came. See package sla.
	Kept string
}

// Port is one published port: Host on the node, Container inside.
type Port struct {
	Host, Container uint16
	Protocol        Protocol
}

// Protocol of a published port.
type Protocol string

// The protocols a port can have.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Constraint restricts where a service may run. Type "direct" names a
// cluster and/or nodes, "clusters" lists allowed cluster names.
type Constraint struct {
	Type    string
	Cluster string
	Nodes   []string // split on ";"
	Allowed []string
}

// NeedsNetwork says whether the service asks for anything of the overlay:
// a published port or a chosen service address. Such a service is not placed
// on a node without NetManager.
func (s ServiceSpec) NeedsNetwork(chosenAddress bool) bool {
	return len(s.Ports) > 0 || chosenAddress
}
