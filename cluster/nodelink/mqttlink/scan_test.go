package mqttlink

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/api/mqtt"
)

// compare holds what the scanner reads against what encoding/json reads.
func compare(t *testing.T, payload []byte) (scanned bool) {
	t.Helper()
	got, ok := scanInformation(payload)
	if ok {
		want, err := read[information](payload)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: error %v\n%s", payload, err, diff)
		}
	}
	list, okList := scanResources(payload)
	if okList {
		want, err := read[struct {
			Services []serviceReport `json:"services"`
		}](payload)
		if diff := cmp.Diff(want.Services, list); diff != "" || err != nil {
			t.Errorf("%q: error %v\n%s", payload, err, diff)
		}
	}
	return ok || okList
}

func ours(containers int) []byte {
	w := mqtt.Information{CPU: 0.5, FreeCores: 4, Memory: 12.25, MemoryFreeInMB: 9000, Boot: "b0", Seq: 77, CPUPercent: 3.5, Combined: true}
	for i := range containers {
		w.Services = append(w.Services, mqtt.ServiceReport{
			JobName: "a.b.c.d", Instance: i, Virtualization: "docker", CPU: "1.5", Memory: "1048576.000000", Disk: "65536",
			Logs: "a line\nand \"more\" \u00e9", ServiceID: "0123456789abcdef01234567", Grant: 1 << 63, Try: 3, State: "RUNNING", StateSeq: 4,
			Reason: "", ExitCode: -1, NamespaceIP: "10.18.0.2", Pid: 4711, Restarting: i == 1,
		})
	}
	text, _ := json.Marshal(w) // cannot fail
	return text
}

// TestScanReadsWhatAgentsWrite: the short way is really taken.
func TestScanReadsWhatAgentsWrite(t *testing.T) {
	original, err := json.Marshal(mqtt.Resources{Services: []mqtt.ServiceReport{{JobName: "a.b.c.d", CPU: "0.1", Memory: "1912832.0", Disk: "24576"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{ours(0), ours(3), original, []byte(` { "cpu" : "5" , "services" : [ ] } `), []byte(`{}`)} {
		if !compare(t, payload) {
			t.Errorf("not scanned: %s", payload)
		}
	}
}

// TestScanGivesUp where encoding/json would read something else, or nothing.
func TestScanGivesUp(t *testing.T) {
	for _, payload := range []string{
		``, `{`, `{"cpu":}`, `{"cpu":01}`, `{"cpu":+1}`, `{"cpu":null}`, `{"CPU":1}`, `{"cpu":1}x`, `{"cpu":1,}`, `{"cpu" 1}`, `{"cpu_percent":3}`,
		`{"seq":-1}`, `{"seq":1.0}`, `{"combined":1}`, `{"boot":1}`, `{"boot":"\q"}`, `{"services":null}`, `{"services":[{"try":4294967296}]}`,
		`{"services":[{"memory_percent":0.5}]}`, `{"services":[{}],"services":[]}`, `{"id":{}}`, `[]`, `{"\u0063pu":1}`, `{"cpu":"x"}`, `{"cpu":"\u0035"}`,
	} {
		if compare(t, []byte(payload)) {
			t.Errorf("scanned: %s", payload)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(ours(2))
	f.Add([]byte(`{"services":[{"job_name":"a","cpu":"","memory":5,"logs":"\u00e9\\"}]}`))
	f.Add([]byte(`{"cpu":1e2,"memory":" 5 ","Overlay":false,"port":"3000"}`))
	f.Fuzz(func(t *testing.T, payload []byte) { compare(t, payload) })
}

func BenchmarkDecodeInformation(b *testing.B) {
	payload := ours(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeInformation(payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReflection is the same by encoding/json alone.
func BenchmarkReflection(b *testing.B) {
	payload := ours(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read[information](payload); err != nil {
			b.Fatal(err)
		}
	}
}
