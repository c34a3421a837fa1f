package sla

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/ports"
	"oakestra/pkg/errs"
)

// The most one service may ask for; typing errors show up here, not as a
// number that overflows later.
const (
	maxVCPUs    = 100_000
	maxMemoryMB = 1 << 30
	maxGPUs     = 10_000
	maxSeconds  = 86_400
	// maxInstances of one service: more than addresses for them exist.
	maxInstances = 65_536
)

var runtimeForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

func (r *reader) service(path string, v any) (Service, bool) {
	o, ok := r.object(path, v)
	if !ok {
		return Service{}, false
	}
	s := Service{
		Path:      path,
		ID:        model.ServiceID(o.text("microserviceID", "")),
		Name:      o.name("microservice_name"),
		Namespace: o.name("microservice_namespace"),
		Spec: model.ServiceSpec{
			Image:       o.image(),
			Runtime:     o.runtime(),
			Command:     o.texts("cmd"),
			Environment: o.environment(),
			Demand: model.Resources{
				MilliCPU: int64(math.Round(o.amount(false, maxVCPUs, "vcpus", "vcpu") * 1000)),
				MemoryMB: int64(o.amount(true, maxMemoryMB, "memory")),
				GPUs:     int64(o.amount(true, maxGPUs, "vgpus", "vgpu")),
				DiskMB:   int64(o.amount(true, maxMemoryMB, "storage")),
			},
			PortText:       o.text("port", ""),
			Constraints:    o.constraints(),
			Arch:           o.texts("arch"),
			OneShot:        o.flag("one_shot"),
			OnClusterLoss:  o.onClusterLoss(),
			MaxUnavailable: o.count("max_unavailable", model.DefaultMaxUnavailable, maxInstances), StartSeconds: o.count("start_seconds", model.DefaultStartSeconds, maxSeconds),
		},
		Address:  o.chosenAddress(),
		Replicas: o.replicas(),
	}
	s.Spec.Ports = o.ports(s.Spec.PortText)
	s.Spec.Kept = o.kept()
	return s, true
}

func (o object) image() string {
	code := strings.TrimSpace(o.text("code", ""))
	if _, given := o.fields["code"]; !given || code == "" {
		o.bad("code", code, "is missing: the image to run, such as docker.io/library/nginx:latest")
	}
	return code
}

func (o object) runtime() string {
	v := o.text("virtualization", "container")
	switch {
	case v == "" || v == "docker" || v == "container":
		return "container"
	case !runtimeForm.MatchString(v):
		o.bad("virtualization", v, `must be "container" or the name of a runtime that workers list`)
	}
	return v
}

// count reads a number from 1 up. The default is 0, written or not, so that
// what GET answers may be sent back.
func (o object) count(key string, usual, limit int) int {
	v, given := o.fields[key]
	n := int(o.amount(true, float64(limit), key))
	if given && v != nil && n == 0 && !o.r.wrong(o.at(key)) {
		o.bad(key, "0", "must be at least 1")
	}
	if n == usual {
		return 0
	}
	return n
}

// replicas may be 0: no instance is wanted.
func (o object) replicas() *int {
	if v, given := o.fields["replicas"]; !given || v == nil {
		return nil
	}
	n := int(o.amount(true, maxInstances, "replicas"))
	return &n
}

func (o object) environment() []string {
	list := o.texts("environment")
	for i, pair := range list {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" || strings.ContainsRune(pair, 0) {
			o.bad(fmt.Sprintf("environment[%d]", i), pair, "must be NAME=value")
		}
	}
	return list
}

func (o object) ports(text string) []model.Port {
	list, err := ports.Parse(text)
	var problems errs.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			o.bad("port", p.Value, p.Message)
		}
	}
	return list
}

func (o object) onClusterLoss() string {
	v := o.text("on_cluster_loss", "")
	if v != "" && v != "keep" && v != "replace" {
		o.bad("on_cluster_loss", v, `must be "keep" or "replace"`)
	}
	if v == "keep" {
		return ""
	}
	return v
}

// chosenAddress reads addresses.rr_ip.
func (o object) chosenAddress() netip.Addr {
	v, given := o.fields["addresses"]
	if !given || v == nil {
		return netip.Addr{}
	}
	inner, ok := o.r.object(o.at("addresses"), v)
	if !ok {
		return netip.Addr{}
	}
	text := strings.TrimSpace(inner.text("rr_ip", ""))
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || !a.Is4():
		inner.bad("rr_ip", text, "must be an IPv4 address of "+address.ServiceRange.String())
		return netip.Addr{}
	case !address.ServiceRange.Contains(a):
		inner.bad("rr_ip", text, "lies outside "+address.ServiceRange.String())
		return netip.Addr{}
	case !address.Usable(a):
		inner.bad("rr_ip", text, "is reserved")
		return netip.Addr{}
	}
	return a
}

func (o object) constraints() []model.Constraint {
	items, _ := o.list("constraints")
	var out []model.Constraint
	for i, item := range items {
		c, ok := o.r.object(fmt.Sprintf("%s[%d]", o.at("constraints"), i), item)
		if !ok {
			continue
		}
		switch kind := c.text("type", ""); kind {
		case "direct":
			out = append(out, c.direct())
		case "latency", "geo", "addons": // kept, see kept.go
		case "clusters":
			allowed := c.texts("allowed")
			if len(allowed) == 0 {
				c.bad("allowed", "", "names no cluster")
			}
			out = append(out, model.Constraint{Type: kind, Allowed: allowed})
		default:
			c.bad("type", kind, `unknown constraint: must be "direct", "clusters", "latency", "geo" or "addons"`)
		}
	}
	return out
}

// direct names a cluster, nodes (separated by ";"), or both.
func (o object) direct() model.Constraint {
	out := model.Constraint{Type: "direct", Cluster: strings.TrimSpace(o.text("cluster", ""))}
	for _, n := range strings.Split(o.text("node", ""), ";") {
		if n = strings.TrimSpace(n); n != "" {
			out.Nodes = append(out.Nodes, n)
		}
	}
	if out.Cluster == "" && len(out.Nodes) == 0 {
		o.bad("cluster", "", "a direct constraint names a cluster, a node, or both")
	}
	return out
}
