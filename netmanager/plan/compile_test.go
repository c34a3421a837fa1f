package plan

import (
	"net/netip"
	"slices"
	"testing"

	"oakestra/netmanager/rules"
	"oakestra/netmanager/table"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Where new flows go while one attempt of an instance takes over from another
// on the same node, and while a second instance starts.
func TestNewFlowsGoToContainersThatListen(t *testing.T) {
	const pending, retired = 1, 2
	own := func(instance int, host string, how int) Endpoint {
		return Endpoint{Service: "s", Name: "a.b.c.d", Instance: instance, Namespace: addr(host), Address: addr("10.30.0." + string(rune('1'+instance))),
			ServiceIP: addr("10.30.9.9"), Ports: []Port{{"tcp", 80, 8080}}, Pending: how == pending, Retired: how == retired}
	}
	elsewhere := table.Entry{Instance: 5, Address: addr("10.30.0.6"), Namespace: addr("10.18.7.2"), Node: "n7"}
	for _, c := range []struct {
		name      string
		own       []Endpoint
		entries   []table.Entry
		dead      bool
		service   []string // backends of the service address
		instance0 string
		port      []string
	}{
		{"an instance that starts waits while another serves", []Endpoint{own(0, "10.18.0.2", 0), own(1, "10.18.0.3", pending)}, nil, false,
			[]string{"10.18.0.2"}, "10.18.0.2", []string{"10.18.0.2"}},
		{"one elsewhere is another, too", []Endpoint{own(0, "10.18.0.2", pending)}, []table.Entry{elsewhere}, false,
			[]string{"10.18.7.2"}, "10.18.0.2", []string{"10.18.0.2"}},
		{"but not on a worker that is gone", []Endpoint{own(0, "10.18.0.2", pending)}, []table.Entry{elsewhere}, true,
			[]string{"10.18.0.2", "10.18.7.2"}, "10.18.0.2", []string{"10.18.0.2"}},
		{"the first one has nobody to wait for", []Endpoint{own(0, "10.18.0.2", pending)}, nil, false,
			[]string{"10.18.0.2"}, "10.18.0.2", []string{"10.18.0.2"}},
		{"the old attempt serves until the new one listens", []Endpoint{own(0, "10.18.0.2", 0), own(0, "10.18.0.9", pending)}, nil, false,
			[]string{"10.18.0.2"}, "10.18.0.2", []string{"10.18.0.2"}},
		{"then the new one does, whatever their addresses", []Endpoint{own(0, "10.18.0.9", retired), own(0, "10.18.0.2", 0)}, nil, false,
			[]string{"10.18.0.2"}, "10.18.0.2", []string{"10.18.0.2"}},
	} {
		s := State{Node: rules.Node{ID: "n1", Subnet: netip.MustParsePrefix("10.18.0.0/26"), HostIP: addr("192.0.2.1")}, Endpoints: c.own,
			Tables: map[string]table.Table{"s": {Service: "s", Name: "a.b.c.d", Address: addr("10.30.9.9"), Entries: c.entries}},
			Peers:  map[string]table.Peer{"n7": {Node: "n7", HostIP: addr("192.0.2.7"), Subnet: netip.MustParsePrefix("10.18.7.0/26")}}}
		if c.dead {
			s.Dead = map[string]bool{"n7": true}
		}
		d := Compile(s)
		at := func(a string) (list []string) {
			for _, v := range d.Services {
				if v.Address == addr(a) {
					for _, b := range v.Backends {
						list = append(list, b.String())
					}
				}
			}
			return list
		}
		if got := at("10.30.9.9"); !slices.Equal(slices.Sorted(slices.Values(got)), c.service) {
			t.Errorf("%s: the service leads to %v, want %v", c.name, got, c.service)
		}
		if got := at("10.30.0.1"); !slices.Equal(got, []string{c.instance0}) {
			t.Errorf("%s: instance 0 leads to %v, want %s", c.name, got, c.instance0)
		}
		var port []string
		for _, b := range d.HostPorts[0].Backends {
			port = append(port, b.Addr().String())
		}
		if len(d.HostPorts) != 1 || !slices.Equal(port, c.port) {
			t.Errorf("%s: the host port leads to %v, want %v", c.name, d.HostPorts, c.port)
		}
	}
}
