package mqttlink

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/linktest"
)

// What original engines and NetManagers read a message into. Their decoder is
// strict about types and drops the whole message at the first mistake.

type service2 struct {
	ID             string   `json:"_id"`
	JobName        string   `json:"job_name"`
	InstanceNumber int      `json:"instance_number"`
	Image          string   `json:"image"`
	Cmd            []string `json:"cmd"`
	Environment    []string `json:"environment"`
	Port           string   `json:"port"`
	Status         string   `json:"status"`
	Virtualization string   `json:"virtualization"`
	VTPUs          int      `json:"vtpus"`
	VGPUs          int      `json:"vgpus"`
	VCPUs          int      `json:"vcpus"`
	Memory         int      `json:"memory"`
}

type service402 struct {
	service2
	VMImages   []string `json:"vm_images"`
	Arch       []string `json:"arch"`
	OneShot    bool     `json:"one_shot"`
	Privileged bool     `json:"privileged"`
}

type service410 struct {
	service402
	Storage  int    `json:"storage"`
	Platform string `json:"platform"`
	Volumes  []any  `json:"volumes"`
}

type entry struct {
	InstanceNumber int    `json:"instance_number"`
	NamespaceIP    string `json:"namespace_ip"`
	HostIP         string `json:"host_ip"`
	HostPort       int    `json:"host_port"`
	ServiceIP      []struct {
		IPType    string `json:"IpType"`
		Address   string `json:"Address"`
		AddressV6 string `json:"Address_v6"`
	} `json:"service_ip"`
}

type entryLate struct {
	entry
	NamespaceIPv6 string `json:"namespace_ip_v6"`
}

type table[E any] struct {
	AppName      string `json:"app_name"`
	InstanceList []E    `json:"instance_list"`
	QueryKey     string `json:"query_key"`
}

type subnet2 struct {
	Address string `json:"address"`
}

type subnetLate struct {
	subnet2
	AddressV6 string `json:"addressv6"`
}

// reads decodes a message as a generation does; nil for topics it does not
// subscribe.
func reads(generation, suffix string) any {
	late := generation != "v0.4.2"
	switch suffix {
	case mqtt.DownDeploy, mqtt.DownDelete:
		return map[string]any{"v0.4.2": &service2{}, "v0.4.402": &service402{}, "v0.4.410": &service410{}}[generation]
	case mqtt.DownSubnet:
		if late {
			return &subnetLate{}
		}
		return &subnet2{}
	case mqtt.DownTableResult:
		if late {
			return &table[entryLate]{}
		}
		return &table[entry]{}
	case "":
		return &struct {
			Type string `json:"type"`
		}{}
	}
	return nil
}

// TestDownToEachGeneration: every message as it goes out, and as each generation
// reads it.
func TestDownToEachGeneration(t *testing.T) {
	all := append(linktest.Downs(),
		nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "a.b.c.d"}},
		nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "a.b.c.d", Removed: true}})
	for _, g := range generations {
		var b strings.Builder
		for _, m := range all {
			topic, payload, err := encode("w1", m)
			if err != nil {
				t.Fatal(err)
			}
			_, suffix, _ := mqtt.SplitNodeTopic(topic)
			v := reads(g, suffix)
			if v == nil || m.Subnet != nil && m.Subnet.Error != "" {
				continue // ours only
			}
			if err := json.Unmarshal(payload, v); err != nil {
				t.Errorf("%s cannot read %s: %v", g, topic, err)
			}
			view, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n%s\nreads %s\n", topic, payload, view)
		}
		golden(t, filepath.Join("testdata", g, "down.golden"), b.String())
	}
}

// TestAlreadyDeployed: the word is FAILED, the meaning is not; ours never mean
// it so.
func TestAlreadyDeployed(t *testing.T) {
	for payload, present := range map[string]bool{
		`{"sname":"a","status":"FAILED","status_detail":"Service already deployed"}`:                          true,
		`{"sname":"a","status":"FAILED","status_detail":"task already deployed"}`:                             true,
		`{"sname":"a","status":"FAILED","status_detail":"image not found"}`:                                   false,
		`{"sname":"a","status":"DEAD","status_detail":"Service already deployed"}`:                            false,
		`{"sname":"a","status":"FAILED","status_detail":"task already deployed","service_id":"5f","grant":1}`: false,
	} {
		in, err := decode(mqtt.UpJob, []byte(payload))
		if err != nil || in.Change.Present != present {
			t.Errorf("%s: %+v, %v", payload, in.Change, err)
		}
	}
}

// TestHowItExited: what an original says of its end, word for word. From
// v0.4.410 on the text is a stale one.
func TestHowItExited(t *testing.T) {
	for detail, code := range map[string]int32{
		"Container exited with status: 0":          0,
		"Container exited with status: 1":          1,
		"Container exited with status: 255":        255,
		"Container exited with status: 4294967295": 4294967295 - 1<<32,
		"Container exited with status: 4294967296": none,
		"Container exited with status: ":           none,
		"Container exited with status: 00":         none,
		"Container exited with status: -1":         none,
		"Container exited with status: 0 ":         none,
		"container exited with status: 0":          none,
		"Container is starting up":                 none,
		"0":                                        none,
		"":                                         none,
	} {
		for _, word := range []string{"DEAD", "COMPLETED", "FAILED", "UNDEPLOYED"} {
			want := code
			if word == "FAILED" || word == "UNDEPLOYED" {
				want = none
			}
			body, err := json.Marshal(map[string]any{"sname": "a", "status": word, "status_detail": detail})
			if err != nil {
				t.Fatal(err)
			}
			in, err := decode(mqtt.UpJob, body)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if c := in.Change; c.Exited != (want != none) || c.Exited && c.Observed.Exit != want || !c.Exited && c.Observed.Exit != 0 {
				t.Errorf("%s: %+v", body, c)
			}
		}
	}
	in, err := decode(mqtt.UpJob, []byte(`{"sname":"a","status":"DEAD","status_detail":"Container exited with status: 3","service_id":"5f","grant":1,"exit_code":7}`))
	if err != nil || in.Change.Exited || in.Change.Observed.Exit != 7 {
		t.Errorf("ours is read as an original: %+v, %v", in.Change, err)
	}
}

const none = -1 << 31
