package mqttlink

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/linktest"
	"oakestra/pkg/core/model"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file beside the sample.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", path, got, want)
	}
}

// generations of original agents that differ on the wire.
var generations = []string{"v0.4.2", "v0.4.402", "v0.4.410"}

// originals is where their messages are.
const originals = "../../../api/mqtt/testdata"

// samples are payloads as agents send them: originals, and ours. The file name
// is the topic's suffix with "_" for "/", then a label.
func samples(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/up/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, g := range generations {
		more, err := filepath.Glob(filepath.Join(originals, g, "up", "*.json"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no samples of %s: %v", g, err)
		}
		files = append(files, more...)
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[f] = b
	}
	return out
}

func suffixOf(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	for _, s := range upSuffixes() {
		if strings.ReplaceAll(s, "/", "_") == name {
			return s
		}
	}
	return ""
}

// goldenOf is where the typed form of a sample is kept.
func goldenOf(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".json") + ".golden"
	if rest, ok := strings.CutPrefix(filepath.ToSlash(file), originals+"/"); ok {
		generation, _, _ := strings.Cut(rest, "/")
		return filepath.Join("testdata", generation, name)
	}
	return filepath.Join(filepath.Dir(file), name)
}

// typed is a message as text, without the fields that are not set.
func typed(t *testing.T, in nodelink.Inbound) string {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var all, set map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	set = map[string]any{}
	for k, v := range all {
		if v != nil && v != "" {
			set[k] = v
		}
	}
	if b, err = json.MarshalIndent(set, "", " "); err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// TestDecodeSamples: every sample decodes to what its golden file says.
func TestDecodeSamples(t *testing.T) {
	seen := map[string]bool{}
	for file, payload := range samples(t) {
		t.Run(strings.TrimPrefix(filepath.ToSlash(file), originals+"/"), func(t *testing.T) {
			suffix := suffixOf(file)
			if strings.HasPrefix(filepath.Base(file), "net_service_address-changed") {
				if _, err := decode(mqtt.UpAddressChanged, payload); suffix != "" || err == nil {
					t.Error("its senders cut the name of the service off: it must not be taken for anything")
				}
				return
			}
			seen[suffix] = true
			in, err := decode(suffix, payload)
			if err != nil {
				t.Fatal(err)
			}
			text := typed(t, in)
			if filepath.Dir(file) == filepath.Join("testdata", "up") {
				b, err := json.MarshalIndent(in, "", " ")
				if err != nil {
					t.Fatal(err)
				}
				text = string(b) + "\n"
			}
			golden(t, goldenOf(file), text)
		})
	}
	for s := range decoders {
		if !seen[s] {
			t.Errorf("no sample of %s", s)
		}
	}
}

// TestMalformed: dropped, with a reason.
func TestMalformed(t *testing.T) {
	for _, c := range []struct{ suffix, payload string }{
		{mqtt.UpInformation, `{`},
		{mqtt.UpInformation, `[]`},
		{mqtt.UpInformation, `{"boot":"b","combined":true,"services":[{"job_name":"a","state":"DANCING"}]}`},
		{mqtt.UpResources, `{"services":[{"instance":0}]}`},
		{mqtt.UpResources, `{"services":[{"job_name":"a","cpu":"many"}]}`},
		{mqtt.UpResources, `{"services":[{"job_name":"a","memory":"NaN"}]}`},
		{mqtt.UpJob, `{"sname":"a","status":"0"}`},
		{mqtt.UpJob, `{"sname":"a","status":"DEAD","instance":-1}`},
		{mqtt.UpGone, `{"agent":"x"}`},
		{mqtt.UpSubnet, `{"METHOD":"DELETE"}`},
		{mqtt.UpDeployed, `{"appname":"a","nsip":""}`},
		{mqtt.UpDeployed, `{"appname":"a","nsip":"0.0.0.0"}`},
		{mqtt.UpDeployed, `{"appname":"a","nsip":"10.18.0.2","host_port":"70000"}`},
		{mqtt.UpDeployed, `{"appname":"a","nsip":"10.18.0.2","host_port":"1.5"}`},
		{mqtt.UpDeployed, `{"appname":"a","nsip":"10.18.0.2","status":"GONE"}`},
		{mqtt.UpUndeployed, `{}`},
		{mqtt.UpTableQuery, `{}`},
		{mqtt.UpInterestRemove, `{}`},
		{mqtt.UpNetReport, `{"subnet":"10.18.0.0"}`},
		{mqtt.UpNetReport, `{"host_port":-1}`},
		{mqtt.UpNetReport, `{"host_ip":"here"}`},
		{mqtt.UpNetAck, `{"version":-1}`},
		{"control/deploy", `{}`},
	} {
		if in, err := decode(c.suffix, []byte(c.payload)); err == nil {
			t.Errorf("%s %s was taken for %+v", c.suffix, c.payload, in)
		}
	}
}

// TestEncodeGolden: what goes down, byte by byte; the original's fields with
// the types it wants.
func TestEncodeGolden(t *testing.T) {
	var b strings.Builder
	all := append(linktest.Downs(),
		nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "a.b.c.d"}},
		nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "a.b.c.d", Removed: true}})
	for _, m := range all {
		topic, payload, err := encode("w1", m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n%s\n", topic, payload)
	}
	golden(t, "testdata/down/all.golden", b.String())
}

// TestEncodeRefuses what would become another topic or nothing.
func TestEncodeRefuses(t *testing.T) {
	probe := nodelink.Outbound{Probe: &nodelink.Probe{}}
	for _, id := range []model.NodeID{"", "a/b", "+", "#"} {
		if _, _, err := encode(id, probe); err == nil {
			t.Errorf("node id %q accepted", id)
		}
	}
	if _, _, err := encode("w", nodelink.Outbound{}); err == nil {
		t.Error("empty message accepted")
	}
	if _, _, err := encode("", nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "#"}}); err == nil {
		t.Error("bell for every service accepted")
	}
}

// TestV6 spells the v6 addresses of the captured samples.
func TestV6(t *testing.T) {
	a := netip.MustParseAddr
	for _, c := range []struct{ got, want netip.Addr }{
		{namespaceV6(a("10.18.0.0")), a("fc00::")},
		{namespaceV6(a("10.18.0.2")), a("fc00::2")},
		{namespaceV6(a("10.18.0.66")), a("fc00::102")},
		{serviceV6(a("10.30.30.30")), a("fdff:2000::1e1e")},
		{instanceV6(a("10.30.0.22")), a("fdff::16")},
	} {
		if c.got != c.want {
			t.Errorf("got %s want %s", c.got, c.want)
		}
	}
}

// TestBlamedOnce: nonsense is logged once per worker.
func TestBlamedOnce(t *testing.T) {
	var log bytes.Buffer
	l := New(Config{URL: "localhost"}, slog.New(slog.NewTextHandler(&log, nil)))
	l.Allow([]model.NodeID{"w1", "w2"})
	for range 5 {
		l.deliver(raw{"w1", "job", []byte("{")})
		l.deliver(raw{"w2", "job", []byte("{")})
		l.receive("nodes/w3/job", []byte("{"))
	}
	if rest := l.inbox.take(nil); len(rest) != 0 {
		t.Errorf("an unknown worker is heard: %v", rest)
	}
	if got := strings.Count(log.String(), "\n"); got != 2 || l.Dropped() != 10 {
		t.Errorf("%d lines, %d dropped:\n%s", got, l.Dropped(), log.String())
	}
}

// FuzzDecode: no payload makes the decoder panic or pass what the domain
// cannot hold.
func FuzzDecode(f *testing.F) {
	index := map[string]int{}
	for i, s := range upSuffixes() {
		index[s] = i
	}
	for file, payload := range samples(f) {
		if i, ok := index[suffixOf(file)]; ok {
			f.Add(i, payload)
		}
	}
	f.Fuzz(func(t *testing.T, which int, payload []byte) {
		all := upSuffixes()
		in, err := decode(all[uint(which)%uint(len(all))], payload)
		if err != nil {
			return
		}
		fields := 0
		for _, set := range []bool{
			in.Report != nil, in.Change != nil, in.Gone != nil, in.Net != nil, in.Subnet != nil, in.Deployed != nil,
			in.Undeployed != nil, in.Query != nil, in.Uninterest != nil, in.Ack != nil,
		} {
			if set {
				fields++
			}
		}
		if fields != 1 {
			t.Fatalf("%d fields set: %+v", fields, in)
		}
		if in.Deployed != nil && (!in.Deployed.NamespaceIP.IsValid() || in.Deployed.Number < 0) {
			t.Fatalf("endpoint %+v", in.Deployed)
		}
		if in.Query != nil && (in.Query.Key == "" || (in.Query.Name == "") == !in.Query.Address.IsValid()) {
			t.Fatalf("query %+v", in.Query)
		}
	})
}
