package local

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	wire "oakestra/api/local"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/rules"
	"oakestra/pkg/core/ports"
	"oakestra/pkg/errs"
)

// Registration is a checked Register.
type Registration struct {
	Node    string
	Cluster string // host of the broker, "" = not said
	Port    int    // 0 = not said
	Key     string
}

// Registered answers it.
type Registered struct{ Subnet netip.Prefix }

// Deployment is a checked Deploy.
type Deployment struct {
	Pid      int
	Grant    uint64
	Try      uint32
	PortText string
	Endpoint plan.Endpoint // without Namespace
}

// Deployed answers it.
type Deployed struct {
	Address netip.Addr
	MTU     int
}

// Removal is an Undeploy.
type Removal struct {
	Service  string
	Name     string
	Instance int
	Grant    uint64 // 0 = every attempt
	Try      uint32
}

func registration(in wire.Register) (Registration, error) {
	var p errs.Problems
	if in.ClientID == "" || len(in.ClientID) > 200 || strings.ContainsAny(in.ClientID, "/+#$\x00 ") {
		p = append(p, errs.Problem{Path: "client_id", Value: in.ClientID, Message: "want a node id without / + # $ and blanks"})
	}
	if in.MQTTPort < 0 || in.MQTTPort > 65535 {
		p = append(p, errs.Problem{Path: "mqtt_port", Value: strconv.Itoa(in.MQTTPort), Message: "want a port"})
	}
	return Registration{
		Node: in.ClientID, Cluster: HostOf(in.ClusterAddress), Port: in.MQTTPort, Key: in.NodeKey,
	}, p.Err()
}

// HostOf takes a bare host, host:port or a URL, with blanks around it; the
// original's "0.0.0.0" means none.
func HostOf(text string) string {
	text = strings.TrimSpace(text)
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		text = u.Hostname()
	} else if ap, err := netip.ParseAddrPort(text); err == nil {
		text = ap.Addr().String()
	} else if host, port, ok := strings.Cut(text, ":"); ok && !strings.Contains(port, ":") {
		text = host
	}
	if text == "0.0.0.0" {
		return ""
	}
	return text
}

func deployment(in wire.Deploy) (Deployment, error) {
	var p errs.Problems
	bad := func(path, value, message string) {
		p = append(p, errs.Problem{Path: path, Value: value, Message: message})
	}
	if in.Pid <= 1 {
		bad("pid", strconv.Itoa(in.Pid), "want the pid of the container's first process")
	}
	if in.ServiceName == "" {
		bad("serviceName", "", "must name the service")
	}
	if in.InstanceNumber < 0 {
		bad("instanceNumber", strconv.Itoa(in.InstanceNumber), "must not be negative")
	}
	address := func(path, text string) netip.Addr {
		if text == "" {
			return netip.Addr{}
		}
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() {
			bad(path, text, "want an IPv4 address")
		}
		return a
	}
	d := Deployment{
		Pid: in.Pid, Grant: in.Grant, Try: in.Try, PortText: in.PortMappings,
		Endpoint: plan.Endpoint{
			Service: in.ServiceID, Name: in.ServiceName, Instance: in.InstanceNumber, Tenant: in.Tenant,
			Address: address("instanceIp", in.InstanceIP), ServiceIP: address("serviceIp", in.ServiceIP),
		},
	}
	list, err := ports.Parse(in.PortMappings)
	var problems errs.Problems
	if errors.As(err, &problems) {
		for _, x := range problems {
			bad("portMappings", x.Value, x.Message)
		}
	} else if err != nil {
		bad("portMappings", in.PortMappings, err.Error())
	}
	for _, x := range list {
		d.Endpoint.Ports = append(d.Endpoint.Ports, plan.Port{
			Protocol: rules.Protocol(x.Protocol), Host: x.Host, Container: x.Container,
		})
	}
	return d, p.Err()
}

func removal(in wire.Undeploy) Removal {
	return Removal{Service: in.ServiceID, Name: in.ServiceName, Instance: in.InstanceNumber, Grant: in.Grant, Try: in.Try}
}
