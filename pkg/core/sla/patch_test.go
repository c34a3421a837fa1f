package sla

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/pkg/core/address"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit/golden"
)

// full is a service that says something in every field.
const full = `"cmd":["a"],"environment":["A=1"],"vcpus":0.5,"memory":64,"vgpus":1,"storage":5,"port":"80:90/tcp;53:53/udp",
	"arch":["arm64"],"one_shot":true,"on_cluster_loss":"replace","virtualization":"runsc","max_unavailable":2,"start_seconds":30,
	"args":["x"],"added_files":["f"],"vm_images":["i"],"state":"s","sla_violation_strategy":"v","target_node":"t","platform":"linux/arm64",
	"vtpus":1,"bandwidth_in":2,"bandwidth_out":3,"privileged":true,
	"volumes":[{"volume_id":"v","csi_driver":"d","mount_path":"/m","config":{"a":"b"}}],
	"connectivity":[{"target_microservice_id":"x","con_constraints":[{"type":"geo","threshold":1.5,"rigidness":0.5,"convergence_time":3}]}],
	"constraints":[{"type":"latency","area":"munich","threshold":20},{"type":"direct","cluster":"c1","node":"n1;n2"},{"type":"clusters","allowed":["c1"]},{"type":"addons","needs":["b"]}],
	"addresses":{"rr_ip":"10.30.1.1","closest_ip":"10.30.1.2","instances":[{"from":"a","to":"b","start":"c"}]},"replicas":3`

func parseOne(t testing.TB, fields string) (Service, []Warning) {
	t.Helper()
	d, warnings, err := Parse([]byte(wrap(fields)))
	if err != nil {
		t.Fatal(err)
	}
	return d.Applications[0].Services[0], warnings
}

func TestEveryFieldIsKeptAndWhatIsNotHonouredIsSaid(t *testing.T) {
	s, warnings := parseOne(t, full)
	lines := []string{fmt.Sprintf("%+v", s.Spec)}
	for _, w := range warnings {
		lines = append(lines, w.String())
	}
	golden.Check(t, "full.golden", strings.Join(lines, "\n")+"\n")
}

// A change that says nothing changes nothing, whatever the service is.
func TestAnEmptyPatchKeepsEverything(t *testing.T) {
	for _, fields := range []string{"", full, `"vcpu":0.25,"virtualization":"container"`} {
		s, _ := parseOne(t, fields)
		for _, body := range []string{`{}`, `{"cmd":null,"code":null}`, wrap(`"code":"img"`)} {
			got, _, err := Patch(s, []byte(body))
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if d := cmp.Diff(s.Spec, got.Spec, cmpopts.EquateEmpty()); d != "" || got.Address != s.Address {
				t.Errorf("%s: %s", body, d)
			}
		}
	}
}

func TestAPatchChangesWhatItSays(t *testing.T) {
	s, _ := parseOne(t, full)
	got, _, err := Patch(s, []byte(`{"code":"new","vcpu":2,"cmd":[],"status":"RUNNING","image":"old"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := s.Spec
	want.Image, want.Demand.MilliCPU, want.Command = "new", 2000, nil
	if d := cmp.Diff(want, got.Spec, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	// GET rounds vcpus up; what it answers may be sent back.
	got, _, err = Patch(s, []byte(`{"vcpus":1,"virtualization":"runsc"}`))
	if err != nil || got.Spec.Demand.MilliCPU != 500 {
		t.Errorf("%+v, %v", got.Spec.Demand, err)
	}
}

func TestAPatchIsCheckedLikeACreation(t *testing.T) {
	s, _ := parseOne(t, full)
	const inside = "applications[0].microservices[0]"
	for body, want := range map[string]string{
		`[]`: "", `{"code":""}`: "code", `{"port":"x"}`: "port", `{"microservice_name":"other"}`: "microservice_name",
		`{"applications":[]}`: "applications", `{"applications":[{}]}`: "applications[0].microservices",
		`{"applications":[{"microservices":[{},{}]}]}`: "applications[0].microservices",
		wrap(`"memory":-1`):                            inside + ".memory",
	} {
		_, _, err := Patch(s, []byte(body))
		var p errs.Problems
		if !errors.As(err, &p) || p[0].Path != want {
			t.Errorf("%s: %v, want a problem at %q", body, err, want)
		}
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"code":"new","vcpu":2}`))
	f.Add([]byte(wrap(full)))
	f.Add([]byte(`{"applications":[{"microservices":[null]}]}`))
	base, _ := parseOne(f, full)
	base.Address = netip.MustParseAddr("10.30.1.1")
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := Patch(base, data)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("class of %v", err)
			}
			return
		}
		again, _, err := Patch(s, []byte(`{}`))
		if err != nil || !again.Spec.Equal(s.Spec) {
			t.Errorf("an empty patch of %+v: %+v, %v", s.Spec, again.Spec, err)
		}
	})
}

// Whatever is written as an address: it is refused, or it is one that a
// service can have.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"10.30.1.1", " 10.30.0.0 ", "10.30.255.255", "::ffff:10.30.1.1", "10.30.1.1%eth0", "010.30.1.1", "10.31.0.1", "10.30.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			return
		}
		d, _, err := Parse([]byte(wrap(`"addresses":{"rr_ip":` + string(quoted) + `,"closest_ip":` + string(quoted) + `}`)))
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("class of %v", err)
			}
			return
		}
		if a := d.Applications[0].Services[0].Address; a.IsValid() && !address.Usable(a) {
			t.Errorf("%q became %s", text, a)
		}
	})
}
