package sla

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/errs"
	"oakestra/pkg/testkit/golden"
)

func quickStart(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "deploy_curl_application.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheQuickStartIsValidUnchanged(t *testing.T) {
	d, warnings, err := Parse(quickStart(t))
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v %v", warnings, err)
	}
	var b strings.Builder
	for _, a := range d.Applications {
		fmt.Fprintf(&b, "%s %s.%s %q\n", a.Path, a.Name, a.Namespace, a.Description)
		for _, s := range a.Services {
			fmt.Fprintf(&b, "%s %s.%s address=%v\n  %+v\n", s.Path, s.Name, s.Namespace, s.Address, s.Spec)
		}
	}
	golden.Check(t, "quickstart.golden", b.String())
}

// wrap puts fields into an otherwise valid service.
func wrap(fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"sla_version":"v2.0","applications":[{"application_name":"app","application_namespace":"ns","microservices":[
	{"microservice_name":"svc","microservice_namespace":"ns","code":"img"` + fields + `}]}]}`
}

func TestEveryMistakeIsNamedWithPathAndValue(t *testing.T) {
	const svc = "applications[0].microservices[0]"
	for _, c := range []struct {
		name, body string
		want       []string // "path|value"
	}{
		{"not JSON", `{"sla_version":`, []string{"|"}},
		{"empty", ``, []string{"|"}},
		{"two values", `{} {}`, []string{"|"}},
		{"an array", `[]`, []string{"|[]"}},
		{"too deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), []string{"|"}},
		{"old version", `{"sla_version":"v1.0","applications":[{"application_name":"a","application_namespace":"b"}]}`, []string{"sla_version|v1.0"}},
		{"no applications", `{"sla_version":"v2.0"}`, []string{"applications|"}},
		{"names", `{"applications":[{"application_name":"a b","application_namespace":7}]}`,
			[]string{"applications[0].application_name|a b", "applications[0].application_namespace|7"}},
		{"too long", `{"applications":[{"application_name":"` + strings.Repeat("x", 31) + `","application_namespace":"b"}]}`,
			[]string{"applications[0].application_name|" + strings.Repeat("x", 31)}},
		{"several at once", wrap(`"port":"80:99999;x","memory":-1,"vcpus":"many","addresses":{"rr_ip":"10.31.1.1"}`),
			[]string{svc + ".port|80:99999", svc + ".port|x", svc + ".memory|-1", svc + ".vcpus|many", svc + ".addresses.rr_ip|10.31.1.1"}},
		{"address malformed", wrap(`"addresses":{"rr_ip":"10.30.1"}`), []string{svc + ".addresses.rr_ip|10.30.1"}},
		{"address reserved", wrap(`"addresses":{"rr_ip":"10.30.0.0"}`), []string{svc + ".addresses.rr_ip|10.30.0.0"}},
		{"unknown constraint", wrap(`"constraints":[{"type":"moon"}]`), []string{svc + ".constraints[0].type|moon"}},
		{"empty constraint", wrap(`"constraints":[{"type":"direct"}]`), []string{svc + ".constraints[0].cluster|"}},
		{"environment", wrap(`"environment":["A=1","B"]`), []string{svc + ".environment[1]|B"}},
		{"fraction", wrap(`"memory":1.5`), []string{svc + ".memory|1.5"}},
		{"huge", wrap(`"memory":1e300`), []string{svc + ".memory|1e300"}},
		{"twice", `{"applications":[{"application_name":"a","application_namespace":"b"},{"application_name":"a","application_namespace":"b"}]}`,
			[]string{"applications[1].application_name|a"}},
		{"address twice", `{"applications":[{"application_name":"a","application_namespace":"b","microservices":[
			{"microservice_name":"s","microservice_namespace":"n","code":"i","addresses":{"rr_ip":"10.30.1.1"}},
			{"microservice_name":"t","microservice_namespace":"n","code":"i","addresses":{"rr_ip":"10.30.1.1"}}]}]}`,
			[]string{"applications[0].microservices[1].addresses.rr_ip|10.30.1.1"}},
		{"types", wrap(`"cmd":"sh","one_shot":1,"port":80,"vgpus":[],"constraints":{}`),
			[]string{svc + `.cmd|"sh"`, svc + ".one_shot|1", svc + ".port|80", svc + ".vgpus|[]", svc + ".constraints|{}"}},
		{"quoted number", wrap(`"memory":"64","vcpu":"0.5","storage":""`), []string{svc + ".memory|64", svc + ".vcpu|0.5", svc + ".storage|"}},
		{"kept fields", wrap(`"args":"x","vtpus":1.5,"bandwidth_in":-1,"privileged":"yes","state":7,"added_files":[1],"platform":{},"vm_images":{}`),
			[]string{svc + `.args|"x"`, svc + ".vtpus|1.5", svc + ".bandwidth_in|-1", svc + `.privileged|"yes"`, svc + ".state|7",
				svc + ".added_files[0]|1", svc + ".platform|{}", svc + ".vm_images|{}"}},
		{"volumes", wrap(`"volumes":[{"csi_driver":"d","config":[]},7]`),
			[]string{svc + ".volumes[0].volume_id|", svc + ".volumes[0].config|[]", svc + ".volumes[1]|7"}},
		{"connectivity", wrap(`"connectivity":[{"con_constraints":[{"type":"latency","threshold":"x"}]}]`),
			[]string{svc + ".connectivity[0].target_microservice_id|", svc + ".connectivity[0].con_constraints[0].threshold|x"}},
		{"kept constraints", wrap(`"constraints":[{"type":"latency","area":1,"rigidness":"x"},{"type":"addons","needs":"b"}]`),
			[]string{svc + ".constraints[0].area|1", svc + ".constraints[0].rigidness|x", svc + `.constraints[1].needs|"b"`}},
		{"kept addresses", wrap(`"addresses":{"closest_ip":"x","rr_ip_v6":"fd00::1","instances":[{"from":[]}]}`),
			[]string{svc + ".addresses.closest_ip|x", svc + ".addresses.instances[0].from|[]"}},
		{"rollout", wrap(`"max_unavailable":0,"start_seconds":-1,"replicas":1.5`),
			[]string{svc + ".max_unavailable|0", svc + ".start_seconds|-1", svc + ".replicas|1.5"}},
		{"no image", `{"applications":[{"application_name":"a","application_namespace":"b","microservices":[{"microservice_name":"s","microservice_namespace":"n"}]}]}`,
			[]string{svc + ".code|"}},
	} {
		_, _, err := Parse([]byte(c.body))
		var problems errs.Problems
		if !errors.As(err, &problems) || !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: error = %v", c.name, err)
			continue
		}
		got := map[string]bool{}
		for _, p := range problems {
			got[p.Path+"|"+p.Value] = true
			if p.Message == "" {
				t.Errorf("%s: %q says nothing", c.name, p.Path)
			}
		}
		want := map[string]bool{}
		for _, w := range c.want {
			want[w] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestBothSpellingsAndOptionalFields(t *testing.T) {
	d, _, err := Parse([]byte(wrap(`"vcpu":0.5,"vgpu":1,"memory":64,"one_shot":true,"virtualization":"docker",
		"constraints":[{"type":"direct","cluster":"c1","node":"n1; n2;"},{"type":"clusters","allowed":["c1"]}],"on_cluster_loss":"replace","added_files":[],"state":""`)))
	if err != nil {
		t.Fatal(err)
	}
	s := d.Applications[0].Services[0].Spec
	if s.Demand.MilliCPU != 500 || s.Demand.GPUs != 1 || s.Demand.MemoryMB != 64 || !s.OneShot || s.Runtime != "container" || s.OnClusterLoss != "replace" {
		t.Errorf("%+v", s)
	}
	if got := fmt.Sprint(s.Constraints); got != "[{direct c1 [n1 n2] []} {clusters  [] [c1]}]" {
		t.Errorf("constraints = %s", got)
	}
}

func TestLongNamesAreAcceptedWithAWarning(t *testing.T) {
	_, warnings, err := Parse([]byte(`{"applications":[{"application_name":"clientserver","application_namespace":"test"}]}`))
	if err != nil || len(warnings) != 1 || warnings[0].Path != "applications[0].application_name" || warnings[0].Value != "clientserver" {
		t.Errorf("%v %v", warnings, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(quickStart(f))
	f.Add([]byte(wrap(`"port":"1:2/udp","constraints":[{"type":"direct","node":";"}]`)))
	f.Add([]byte(`{"applications":[null,1,{"microservices":[null]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _, err := Parse(data)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("class of %v", err)
			}
			return
		}
		for _, a := range d.Applications {
			if a.Name == "" || a.Namespace == "" || len(a.Name) > longName {
				t.Errorf("accepted application %+v", a)
			}
			for _, s := range a.Services {
				if s.Spec.Image == "" || s.Spec.Demand.MilliCPU < 0 || s.Spec.Demand.MemoryMB < 0 {
					t.Errorf("accepted service %+v", s)
				}
			}
		}
	})
}
