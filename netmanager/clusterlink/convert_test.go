package clusterlink

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"oakestra/api/mqtt"
	"oakestra/netmanager"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit/golden"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func endpoint() netmanager.Endpoint {
	return netmanager.Endpoint{
		Service: "5f", Name: "a.n.s.n", Instance: 3, Namespace: addr("10.18.0.66"),
		HostIP: addr("192.0.2.7"), HostPort: 50103, Grant: 4294967305, Try: 2,
	}
}

// What goes up, byte by byte: host_port of an endpoint is a string, that of a
// report a number; what is not known is empty, never "invalid IP".
func TestEncodeGolden(t *testing.T) {
	e, bare := endpoint(), netmanager.Endpoint{Name: "a.n.s.n", HostPort: 50103}
	var b strings.Builder
	for _, m := range []netmanager.Outbound{
		{AskSubnet: true},
		{Deployed: &e}, {Deployed: &bare},
		{Undeployed: &e}, {Undeployed: &bare},
		{Query: &netmanager.Query{Name: "a.n.s.n"}},
		{Query: &netmanager.Query{Address: addr("10.30.30.30")}},
		{Uninterest: "a.n.s.n"},
		{Report: &netmanager.Report{Seq: 1, HostPort: 50103}},
		{Report: &netmanager.Report{
			Seq: 2, Snapshot: true, HostIP: addr("192.0.2.7"), HostPort: 50103, Subnet: netip.MustParsePrefix("10.18.0.64/26"),
			Applied: 9, Endpoints: []netmanager.Endpoint{e}, Interests: []string{"b.n.s.n"},
		}},
		{Ack: &netmanager.Ack{Version: 9}},
		{Ack: &netmanager.Ack{Version: 9, Error: "no"}},
	} {
		suffix, body := encode("boot", m)
		payload, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n%s\n", suffix, payload)
	}
	golden.Check(t, "up.golden", b.String())
	if suffix, _ := encode("boot", netmanager.Outbound{Watch: "x"}); suffix != "" {
		t.Errorf("a subscription has the topic %s", suffix)
	}
}

// down are payloads as cluster managers send them: the original's in its
// generations, then ours.
var down = []struct{ name, suffix, payload string }{
	{"subnet, early", mqtt.DownSubnet, `{"address":"10.18.0.0"}`},
	{"subnet, late", mqtt.DownSubnet, `{"address":"10.18.0.64","addressv6":"fc00::100"}`},
	{"subnet, ours", mqtt.DownSubnet, `{"address":"10.18.0.64","addressv6":"fc00::100","bits":26}`},
	{"no subnet", mqtt.DownSubnet, `{"address":"","addressv6":"","error":"no block from the root yet"}`},
	{"table, original", mqtt.DownTableResult, `{"app_name":"a.n.s.n","query_key":"10.30.30.30","instance_list":[
		{"instance_number":0,"namespace_ip":"10.18.0.66","namespace_ip_v6":"fc00::102","host_ip":"192.0.2.8","host_port":50103,
		 "service_ip":[{"IpType":"RR","Address":"10.30.30.30","Address_v6":"fdff:2000::1e1e"},{"IpType":"instance_ip","Address":"10.30.0.22","Address_v6":"fdff::16"}]},
		{"instance_number":2,"namespace_ip":"10.18.0.67","host_ip":"192.0.2.8","host_port":50103,
		 "service_ip":[{"IpType":"RR","Address":"10.30.30.30"},{"IpType":"Closest","Address":"10.30.30.31"},{"IpType":"InstanceNumber","Address":"10.30.0.24"}]},
		{"instance_number":1,"namespace_ip":"","host_ip":"","host_port":0,"service_ip":[{"IpType":"RR","Address":"10.30.30.30"}]}]}`},
	{"unknown, original", mqtt.DownTableResult, `{"app_name":"","query_key":"10.30.30.31","instance_list":[]}`},
	{"no echo, early original", mqtt.DownTableResult, `{"app_name":"a.n.s.n","instance_list":[]}`},
	{"table, ours", mqtt.DownTableResult, `{"app_name":"a.n.s.n","query_key":"10.30.30.30","instance_list":[],"version":7,"service_id":"5f"}`},
	{"snapshot", mqtt.DownNetState, `{"epoch":"e","base":0,"version":4,"snapshot":true}`},
	{"change", mqtt.DownNetState, `{"epoch":"e","base":4,"version":5,
		"tables":[{"service_id":"5f","name":"a.n.s.n","address":"10.30.30.30","tenant":"Admin","entries":[{"instance":3,"instance_ip":"10.30.0.22","nsip":"10.18.0.66","node":"w2"}]},
			{"service_id":"61","name":"b.n.s.n","address":""}],
		"gone_tables":["60"],
		"peers":[{"node":"w2","host_ip":"192.0.2.8","host_port":50103,"subnet":"10.18.0.64/26","dataplane":"vxlan","identities":[{"nsip":"10.18.0.66","instance_ip":"10.30.0.22","tenant":"Admin"}]},
			{"node":"w3","host_ip":"","host_port":0,"subnet":"","dataplane":""}],
		"gone_peers":["c2/w9"]}`},
}

func TestDecodeGolden(t *testing.T) {
	var b strings.Builder
	for _, c := range down {
		in, err := decode(c.suffix, []byte(c.payload))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := json.MarshalIndent(in, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n%s\n", c.name, text)
	}
	golden.Check(t, "down.golden", b.String())
}

func TestMalformedIsDropped(t *testing.T) {
	for _, c := range []struct{ suffix, payload string }{
		{mqtt.DownSubnet, `{`},
		{mqtt.DownSubnet, `[]`},
		{mqtt.DownSubnet, `{"address":"fc00::"}`},
		{mqtt.DownSubnet, `{"address":"ten"}`},
		{mqtt.DownSubnet, `{"address":"10.18.0.0","bits":-1}`},
		{mqtt.DownSubnet, `{"address":"10.18.0.0","bits":8}`},
		{mqtt.DownSubnet, `{"address":"10.18.0.0","bits":30}`},
		{mqtt.DownTableResult, `{"instance_list":[{"host_port":"50103"}]}`},
		{mqtt.DownTableResult, `{"app_name":"a.n.s.n","instance_list":[{"namespace_ip":"10.18.0.256"}]}`},
		{mqtt.DownTableResult, `{"app_name":"a.n.s.n","instance_list":[{"namespace_ip":"10.18.0.2","host_port":70000}]}`},
		{mqtt.DownTableResult, `{"app_name":"a.n.s.n","instance_list":[{"namespace_ip":"10.18.0.2","service_ip":[{"IpType":"RR","Address":"x"}]}]}`},
		{mqtt.DownNetState, `{"version":-1}`},
		{mqtt.DownNetState, `{"tables":[{"address":"10.30.0.0/16"}]}`},
		{mqtt.DownNetState, `{"tables":[{"entries":[{"nsip":"here"}]}]}`},
		{mqtt.DownNetState, `{"peers":[{"subnet":"10.18.0.0"}]}`},
		{mqtt.DownNetState, `{"peers":[{"subnet":"fc00::/120"}]}`},
		{mqtt.DownNetState, `{"peers":[{"subnet":"10.18.0.0/26","host_port":-1}]}`},
		{mqtt.DownNetState, `{"peers":[{"identities":[{"nsip":"invalid IP"}]}]}`},
		{mqtt.UpNetReport, `{}`},
	} {
		if in, err := decode(c.suffix, []byte(c.payload)); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s %s: %+v, %v", c.suffix, c.payload, in, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range down {
		f.Add(c.suffix, []byte(c.payload))
	}
	f.Fuzz(func(t *testing.T, suffix string, payload []byte) {
		in, err := decode(suffix, payload)
		if err != nil {
			return
		}
		set := 0
		for _, p := range []any{in.Subnet, in.Change, in.Result} {
			if !reflect.ValueOf(p).IsNil() {
				set++
			}
		}
		if set != 1 {
			t.Fatalf("%d parts: %+v", set, in)
		}
	})
}
