package rest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// kinds is what one strict client demands of every field: a wrong type, a null
// or a missing field fails its whole list (wire facts for clients, item 14).
type kinds map[string]string

var (
	serviceKinds = kinds{
		"_id": "object", "microserviceID": "string", "microservice_name": "string", "microservice_namespace": "string",
		"applicationID": "string", "app_name": "string", "app_ns": "string", "status": "string", "status_detail": "string", "port": "string",
		"code": "string", "image": "string", "virtualization": "string", "RR_ip": "string", "memory": "integer", "vcpus": "integer",
		"vgpus": "integer", "cmd": "array", "environment": "array", "constraints": "array", "connectivity": "array", "added_files": "array",
		"instance_list": "array", "job_name": "string", "service_name": "string", "service_ns": "string",
		"next_instance_progressive_number": "integer",
		"args":                             "array", "vm_images": "array", "volumes": "array", "arch": "array", "privileged": "bool", "one_shot": "bool",
		"vtpus": "integer", "bandwidth_in": "integer", "bandwidth_out": "integer", "storage": "integer", "state": "string",
		"sla_violation_strategy": "string", "target_node": "string", "platform": "string", "addresses": "object", "rollout": "object",
	}
	instanceKinds = kinds{
		"instance_number": "integer", "host_port": "integer", "status": "string", "status_detail": "string", "publicip": "string",
		"cluster_id": "string", "cluster_location": "string", "host_ip": "string", "worker_id": "string", "disk": "string",
		"cpu_percent": "string", "memory_percent": "string", "cpu": "string", "memory": "string", "logs": "string",
		"cpu_history": "array", "memory_history": "array",
	}
	clusterKinds = kinds{
		"_id": "string", "cluster_name": "string", "candidate_name": "string", "ip": "string", "cluster_location": "string", "active": "bool",
		"active_nodes": "integer", "total_cpu_cores": "integer", "total_gpu_cores": "integer", "vcpus": "integer", "vgpus": "integer",
		"memory_in_mb": "integer", "vram": "integer", "cpu_percent": "number", "memory_percent": "number", "gpu_percent": "number",
		"aggregated_cpu_percent": "number", "last_modified_timestamp": "number", "virtualization": "array", "csi_drivers": "array",
		"supported_addons": "array", "gpu_drivers": "array",
	}
	applicationKinds = kinds{
		"_id": "object", "applicationID": "string", "application_name": "string", "application_namespace": "string",
		"application_desc": "string", "userId": "string", "microservices": "array",
	}
)

func kindOf(v any) string {
	switch x := v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if x == float64(int64(x)) {
			return "integer"
		}
		return "number"
	}
	return "null"
}

func (k kinds) check(t *testing.T, what string, doc map[string]any) {
	t.Helper()
	for field, want := range k {
		v, there := doc[field]
		if got := kindOf(v); !there || got != want && (want != "number" || got != "integer") {
			t.Errorf("%s: %s is %s (%v), clients want %s", what, field, got, v, want)
		}
	}
	for field, v := range doc {
		if v == nil {
			t.Errorf("%s: %s is null", what, field)
		}
	}
}

// The golden files are the answers; this reads them with a client's eyes.
func TestTypesThatClientsDemand(t *testing.T) {
	read := func(name string) (list []map[string]any) {
		raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		must(t, err)
		if raw[0] == '{' { // one of them
			raw = append(append([]byte{'['}, raw...), ']')
		}
		must(t, json.Unmarshal(raw, &list))
		if len(list) == 0 {
			t.Fatalf("%s is empty", name)
		}
		return list
	}
	for _, name := range []string{"services", "services-created", "full-services", "service-nginx", "service-curl", "full-changed"} {
		for _, s := range read(name) {
			serviceKinds.check(t, name, s)
			for _, in := range s["instance_list"].([]any) {
				instanceKinds.check(t, name+" instance", in.(map[string]any))
			}
			if id, _ := s["_id"].(map[string]any); id["$oid"] != s["microserviceID"] {
				t.Errorf("%s: _id %v is not microserviceID %v", name, id, s["microserviceID"])
			}
		}
	}
	for _, c := range slices.Concat(read("clusters"), read("clusters-active"), read("cluster")) {
		clusterKinds.check(t, "cluster", c)
	}
	for _, a := range slices.Concat(read("applications"), read("create"), read("application")) {
		applicationKinds.check(t, "application", a)
		if id, _ := a["_id"].(map[string]any); id["$oid"] != a["applicationID"] {
			t.Errorf("application: _id %v is not applicationID %v", id, a["applicationID"])
		}
	}
}
