package sla

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Patch reads a changed service: a descriptor that holds one service, or the
// service alone, as GET answers it. Keys that are missing or null keep the
// value they have in now, which needs Name, Namespace, Spec and, if the user
// chose it, Address. Errors as of Parse.
func Patch(now Service, body []byte) (Service, []Warning, error) {
	root, err := decode(body)
	if err != nil {
		return Service{}, nil, errs.Problems{{Message: err.Error()}}
	}
	r := &reader{}
	o, ok := r.one(root, "applications", "microservices")
	if !ok {
		return Service{}, nil, r.problems.Err()
	}
	fields := overlay(encode(now), o.fields)
	if n, ok := o.fields["vcpus"].(json.Number); ok && n.String() == strconv.FormatInt((now.Spec.Demand.MilliCPU+999)/1000, 10) {
		fields["vcpus"] = encode(now)["vcpus"] // rounded up, as GET tells it
	}
	s, _ := r.service(o.path, fields)
	for _, v := range [][3]string{{"microservice_name", s.Name, now.Name}, {"microservice_namespace", s.Namespace, now.Namespace}} {
		if v[1] != v[2] && !r.wrong(o.at(v[0])) {
			o.bad(v[0], v[1], "cannot change: it is part of the service's name, "+v[2])
		}
	}
	if err := r.problems.Err(); err != nil {
		return Service{}, nil, err
	}
	return s, r.warnings, nil
}

// PatchApplication reads a changed application: a descriptor that holds one, or
// the application alone. Keys that are missing or null keep their value;
// services are no part of it. Errors as of Parse.
func PatchApplication(now Application, body []byte) (Application, []Warning, error) {
	root, err := decode(body)
	if err != nil {
		return Application{}, nil, errs.Problems{{Message: err.Error()}}
	}
	r := &reader{}
	o, ok := r.one(root, "applications")
	if ok {
		now.Path = o.path
		for key, to := range map[string]*string{"application_name": &now.Name, "application_namespace": &now.Namespace} {
			if o.fields[key] != nil && o.fields[key] != *to {
				*to = o.name(key)
			}
		}
		now.Description = o.text("application_desc", now.Description)
	}
	if err := r.problems.Err(); err != nil {
		return Application{}, nil, err
	}
	return now, r.warnings, nil
}

// one follows the lists, each of which must hold one object, unless the body
// is such an object itself.
func (r *reader) one(root any, lists ...string) (object, bool) {
	o, ok := r.object("", root)
	if !ok || o.fields["applications"] == nil {
		return o, ok
	}
	for _, key := range lists {
		list, ok := o.list(key)
		if !ok {
			if !r.wrong(o.at(key)) {
				o.bad(key, "", "must hold what is to change")
			}
			return o, false
		}
		if len(list) != 1 {
			o.bad(key, "", "must hold one entry, what is to change")
			return o, false
		}
		if o, ok = r.object(o.at(key)+"[0]", list[0]); !ok {
			return o, false
		}
	}
	return o, true
}

// overlay puts what a body says over what there is.
func overlay(now, body map[string]any) map[string]any {
	out := maps.Clone(now)
	for key, v := range body {
		if v == nil {
			continue
		}
		switch key {
		case "vcpu":
			delete(out, "vcpus")
		case "vgpu":
			delete(out, "vgpus")
		}
		out[key] = v
	}
	return out
}

// encode writes a service as a descriptor holds it. Parsing that gives the
// same service.
func encode(s Service) map[string]any {
	spec := s.Spec
	out := map[string]any{}
	if spec.Kept != "" {
		d := json.NewDecoder(strings.NewReader(spec.Kept))
		d.UseNumber()
		_ = d.Decode(&out) // it is what kept() made
	}
	put := func(key string, v any) {
		data, _ := json.Marshal(v) // of values that cannot fail
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.UseNumber()
		var plain any
		_ = d.Decode(&plain)
		out[key] = plain
	}
	put("microservice_name", s.Name)
	put("microservice_namespace", s.Namespace)
	put("code", spec.Image)
	put("virtualization", spec.Runtime)
	put("cmd", spec.Command)
	put("environment", spec.Environment)
	put("vcpus", float64(spec.Demand.MilliCPU)/1000)
	put("memory", spec.Demand.MemoryMB)
	put("vgpus", spec.Demand.GPUs)
	put("storage", spec.Demand.DiskMB)
	put("port", spec.PortText)
	put("arch", spec.Arch)
	put("one_shot", spec.OneShot)
	put("on_cluster_loss", spec.OnClusterLoss)
	if spec.MaxUnavailable > 0 {
		put("max_unavailable", spec.MaxUnavailable)
	}
	if spec.StartSeconds > 0 {
		put("start_seconds", spec.StartSeconds)
	}
	others, _ := out["constraints"].([]any)
	constraints := make([]any, 0, len(spec.Constraints)+len(others))
	for _, c := range spec.Constraints {
		constraints = append(constraints, encodeConstraint(c))
	}
	out["constraints"] = append(constraints, others...)
	if s.Address.IsValid() {
		addresses, _ := out["addresses"].(map[string]any)
		addresses = maps.Clone(addresses)
		if addresses == nil {
			addresses = map[string]any{}
		}
		addresses["rr_ip"] = s.Address.String()
		out["addresses"] = addresses
	}
	return out
}

func encodeConstraint(c model.Constraint) map[string]any {
	out := map[string]any{"type": c.Type}
	if c.Cluster != "" {
		out["cluster"] = c.Cluster
	}
	if len(c.Nodes) > 0 {
		out["node"] = strings.Join(c.Nodes, ";")
	}
	if len(c.Allowed) > 0 {
		allowed := make([]any, len(c.Allowed))
		for i, a := range c.Allowed {
			allowed[i] = a
		}
		out["allowed"] = allowed
	}
	return out
}
