package control

import (
	"encoding/json"
	"fmt"
	"net/netip"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

const rrIPPath = ".addresses.rr_ip"

// parse reads a descriptor.
func parse(body []byte) (request, error) {
	var d wire.Descriptor
	if err := json.Unmarshal(body, &d); err != nil {
		return request{}, fmt.Errorf("descriptor: %v: %w", err, errs.Invalid)
	}
	var r request
	for i, a := range d.Applications {
		ra := requestedApplication{path: fmt.Sprintf("applications[%d]", i), id: model.ApplicationID(a.ApplicationID), name: a.Name, namespace: a.Namespace, description: a.Description}
		for j, s := range a.Microservices {
			rs := requestedService{path: fmt.Sprintf("%s.microservices[%d]", ra.path, j), name: s.Name, namespace: s.Namespace,
				spec: model.ServiceSpec{Image: s.Code, Runtime: s.Virtualization, Command: s.Command, Environment: s.Environment, PortText: s.Port,
					Demand: model.Resources{MilliCPU: s.VCPUs * 1000, MemoryMB: s.Memory}}}
			if s.Addresses != nil && s.Addresses.RoundRobin != "" {
				a, err := netip.ParseAddr(s.Addresses.RoundRobin)
				if err != nil {
					return request{}, errs.Problems{{Path: rs.path + rrIPPath, Value: s.Addresses.RoundRobin, Message: "is no address"}}
				}
				rs.address = a
			}
			ra.services = append(ra.services, rs)
		}
		r.applications = append(r.applications, ra)
	}
	return r, nil
}
