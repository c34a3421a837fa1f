package rest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/store"
)

var update = flag.Bool("update", false, "write the golden files")

var hexID = regexp.MustCompile(`[0-9a-f]{24}`)

// golden compares an answer with testdata; ids become <id 1>, <id 2>, ... in
// the order in which a test first sees them.
type golden struct {
	t    *testing.T
	seen map[string]string
}

func (g *golden) check(name string, body []byte) {
	g.t.Helper()
	var buf bytes.Buffer
	must(g.t, json.Indent(&buf, body, "", "  "))
	buf.WriteByte('\n')
	g.compare(name, steady(buf.String()))
}

// compare is check of any text.
func (g *golden) compare(name, text string) {
	g.t.Helper()
	got := hexID.ReplaceAllStringFunc(text, func(id string) string {
		if g.seen[id] == "" {
			g.seen[id] = fmt.Sprintf("<id %d>", len(g.seen)+1)
		}
		return g.seen[id]
	})
	path := goldenFile(name)
	if *update {
		must(g.t, os.MkdirAll("testdata", 0o755))
		must(g.t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(g.t, err)
	if d := cmp.Diff(string(want), got); d != "" {
		g.t.Errorf("%s: want - got + (go test -update writes it anew)\n%s", path, d)
	}
}

// site fills the tiers below with one cluster that runs the quick start: one
// nginx runs, a second fits nowhere, curl waits.
func (r *rig) site(services map[string]string) {
	cluster := model.Cluster{ID: "cccccccccccccccccccccccc", Name: "c1", Location: "48.1,11.5,1000", Address: netip.MustParseAddr("192.0.2.10")}
	r.below.clusters = []control.ClusterView{
		{Cluster: cluster, Active: true, LastSeen: seenAt, ActiveNodes: 2, NetworkNodes: 1,
			Capacity: model.Resources{MilliCPU: 8000, MemoryMB: 4096, GPUs: 1}, Reserved: model.Resources{MilliCPU: 1500, MemoryMB: 100},
			CPUPercent: 12.5, MemoryPercent: 40, Runtimes: []string{"container"}, Architectures: []string{"amd64", "arm64"}},
		{Cluster: model.Cluster{ID: "dddddddddddddddddddddddd", Name: "c2"}},
	}
	r.below.nodes = []control.NodeView{{
		Node: model.Node{ID: "w1", Host: "w1", Address: netip.MustParseAddr("192.0.2.11"), Architecture: "amd64", Runtimes: []string{"container"},
			Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 2048}, Network: true, Subnet: netip.MustParsePrefix("10.18.0.0/26"),
			Dataplane: model.DataplaneVXLAN},
		Cluster: cluster.ID, ClusterName: "c1", Reserved: model.Resources{MilliCPU: 1500, MemoryMB: 100},
		Usage: model.Usage{CPUPercent: 3.5, MemoryPercent: 20, MemoryBytes: 1 << 20}, Liveness: instance.Alive, LastSeen: seenAt, AgentVersion: "v1",
	}, {Node: model.Node{ID: "w2"}}}
	r.below.unknown = []control.UnknownView{{Cluster: cluster.ID, Node: "w1", ServiceName: "a.b.c.d",
		Instance: model.InstanceID{Service: "eeeeeeeeeeeeeeeeeeeeeeee", Number: 3}, Epoch: instance.Epoch{Grant: instance.MakeGrant(1, 2), Try: 3}, Since: seenAt}}

	runs := model.InstanceID{Service: model.ServiceID(services["nginx"]), Number: 0}
	full := model.InstanceID{Service: model.ServiceID(services["nginx"]), Number: 1}
	nginx, err := r.store.Services().Get(r.t.Context(), runs.Service)
	must(r.t, err)
	for _, id := range []model.InstanceID{runs, full} {
		_, err := r.store.Instances().Update(r.t.Context(), id, func(in store.Instance) (store.Instance, error) {
			in.Cluster, in.Grant, in.Service = cluster.ID, instance.MakeGrant(1, 1), nginx.Assigned()
			return in, nil
		})
		must(r.t, err)
	}
	epoch := instance.Epoch{Grant: instance.MakeGrant(1, 1), Try: 1}
	r.below.facts[runs] = control.InstanceView{
		Placement: instance.Placement{Try: 1, Node: "w1", Host: "w1", HostIP: netip.MustParseAddr("192.0.2.11"), Verdict: instance.Placed},
		Observed:  instance.Observed{Epoch: epoch, State: instance.Running},
		Vital: instance.Vital{Usage: model.Usage{CPUPercent: 1.25, MemoryPercent: 0.5, DiskBytes: 4096},
			NamespaceIP: netip.MustParseAddr("10.18.0.2"), PublicIP: "203.0.113.1", LogTail: "ready\n"},
		Node: instance.Alive, Cluster: cluster.ID,
	}
	r.below.facts[full] = control.InstanceView{
		Placement: instance.Placement{Verdict: instance.Refused, Reasons: []instance.Reason{
			{Name: "vcpus", Count: 1}, {Name: "memory", Count: 3, Detail: "w3: 100 > 20 MiB free"}}},
		Cluster: cluster.ID,
	}
	r.explained(cluster.ID, full)
}

// explained makes clusters say that a second nginx fits nowhere: one says why,
// worker by worker, the other does not answer.
func (r *rig) explained(id model.ClusterID, full model.InstanceID) {
	stored, err := r.store.Instances().Get(r.t.Context(), full)
	must(r.t, err)
	memory := func(worker string) *instance.Reason {
		return &instance.Reason{Name: "memory", Count: 1, Detail: worker + ": 100 > 20 MiB free"}
	}
	none := control.Verdicts{Clusters: []control.Verdict{
		{Cluster: "dddddddddddddddddddddddd", Reason: &instance.Reason{Name: "inactive", Count: 1, Detail: "c2"}}, {Cluster: id, Reason: memory("c1")},
	}}
	r.places.dry = control.DryRun{OneMore: control.Verdicts{Choice: id, Clusters: []control.Verdict{{Cluster: "dddddddddddddddddddddddd", Reason: none.Clusters[0].Reason}, {Cluster: id}}},
		Waiting: []control.WaitingRun{{Instance: stored, Verdicts: none}}, Total: 1}
	r.places.answers = map[model.ClusterID]control.Answer{id: {State: control.Answered, Workers: 2, Qualify: 1, Node: "w1",
		Reasons: []instance.Reason{*memory("w3")}, Judged: []control.Judged{{Node: "w1", Host: "w1"}, {Node: "w3", Host: "w3", Reason: memory("w3")}}}}
}

func TestAnswersOfTheQuickStart(t *testing.T) {
	r := newRig(t, measured)
	g := golden{t, map[string]string{}}
	g.check("create", r.call("Admin", http.MethodPost, "/api/application/", seedDescriptor(t)).want(200).Body.Bytes())
	var apps []struct{ ApplicationID string }
	r.call("Admin", http.MethodGet, "/api/applications/", nil).want(200).into(&apps)
	app := apps[0].ApplicationID
	g.check("services-created", r.call("Admin", http.MethodGet, "/api/services/"+app, nil).want(200).Body.Bytes())

	var list []struct {
		MicroserviceID   string
		MicroserviceName string `json:"microservice_name"`
	}
	r.call("Admin", http.MethodGet, "/api/services/"+app, nil).into(&list)
	ids := map[string]string{}
	for _, s := range list {
		ids[s.MicroserviceName] = s.MicroserviceID
	}
	for _, name := range []string{"nginx", "nginx", "curl"} {
		r.call("Admin", http.MethodPost, "/api/service/"+ids[name]+"/instance", nil).want(200)
	}
	r.site(ids)
	r.organized()
	r.happened(ids)
	r.answersOf(&g, strings.NewReplacer("{app}", app, "{nginx}", ids["nginx"], "{curl}", ids["curl"]))
}

// full says something in every field of a descriptor.
const full = `{"sla_version":"v2.0","customerID":"Admin","args":[],"applications":[{"applicationID":"","application_name":"application","application_namespace":"test",
	"application_desc":"all of it","microservices":[{"microserviceID":"","microservice_name":"everything","microservice_namespace":"test",
	"virtualization":"runsc","cmd":["a"],"environment":["A=1"],"vcpu":0.5,"vgpu":1,"vtpus":1,"memory":64,"storage":5,"bandwidth_in":2,"bandwidth_out":3,
	"code":"img","state":"s","port":"80:90","arch":["arm64"],"one_shot":true,"on_cluster_loss":"replace","max_unavailable":2,"start_seconds":30,
	"args":["x"],"added_files":["f"],"vm_images":["i"],"sla_violation_strategy":"v","target_node":"t","platform":"linux/arm64","privileged":true,
	"volumes":[{"volume_id":"v","csi_driver":"d","mount_path":"/m","config":{"a":"b"}}],
	"connectivity":[{"target_microservice_id":"x","con_constraints":[{"type":"geo","threshold":1.5,"rigidness":0.5,"convergence_time":3}]}],
	"constraints":[{"type":"latency","area":"munich","threshold":20},{"type":"direct","cluster":"c1","node":"n1;n2"},
	{"type":"clusters","allowed":["c1"]},{"type":"addons","needs":["b"]}],
	"addresses":{"rr_ip":"10.30.1.1","closest_ip":"10.30.1.2","rr_ip_v6":"fd00::1","instances":[{"from":"a","to":"b","start":0}]}}]}]}`

func TestAnswersOfAFullDescriptor(t *testing.T) {
	r := newRig(t)
	g := golden{t, map[string]string{}}
	a := r.call("ann", http.MethodPost, "/api/application/", full).want(200)
	g.check("full-created", a.Body.Bytes())
	if n := len(a.Header().Values("Warning")); n != 18 {
		t.Errorf("%d warnings in headers: %q", n, a.Header().Values("Warning"))
	}
	var list []map[string]any
	raw := r.call("ann", http.MethodGet, "/api/services/", nil).want(200)
	raw.into(&list)
	g.check("full-services", raw.Body.Bytes())
	serviceKinds.check(t, "full", list[0])
	// What GET answers may be sent back: it changes nothing.
	id := list[0]["microserviceID"].(string)
	var same struct{ Rollout struct{ Target int } }
	r.call("ann", http.MethodPut, "/api/service/"+id, raw.Body.String()[1:raw.Body.Len()-2]).want(200).into(&same)
	if same.Rollout.Target != 1 {
		t.Errorf("sent back, it is revision %d", same.Rollout.Target)
	}
	r.call("ann", http.MethodPut, "/api/service/"+id, `{"code":"two","memory":65}`).want(200)
	g.check("full-changed", r.call("ann", http.MethodGet, "/api/service/"+id, nil).want(200).Body.Bytes())
	g.check("full-revisions", r.call("ann", http.MethodGet, "/api/service/"+id+"/revisions", nil).want(200).Body.Bytes())
}
