package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"oakestra/pkg/testkit/golden"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func worker() Node {
	return Node{ID: "node1", Subnet: netip.MustParsePrefix("10.18.1.0/26"), HostIP: ip("192.0.2.1"), Port: DefaultPort}
}

func full() Desired {
	return Desired{
		Node:  worker(),
		Peers: []Peer{{ID: "node2", Subnet: netip.MustParsePrefix("10.18.2.0/26"), HostIP: ip("192.0.2.2"), Port: 50104}},
		Services: []Service{
			{Address: ip("10.30.0.10"), Backends: []netip.Addr{ip("10.18.1.2"), ip("10.18.1.3"), ip("10.18.2.2")}},
			{Address: ip("10.30.1.1"), Backends: []netip.Addr{ip("10.18.1.2")}},
			{Address: ip("10.30.0.11")},
		},
		Identities: []Identity{{Container: ip("10.18.1.2"), Instance: ip("10.30.1.1")}},
		HostPorts: []HostPort{{Protocol: "tcp", Port: 8080, Backends: []netip.AddrPort{netip.MustParseAddrPort("10.18.1.2:80"), netip.MustParseAddrPort("10.18.1.3:80")}},
			{Protocol: "udp", Port: 53}},
	}
}

func TestGolden(t *testing.T) {
	direct := full()
	direct.Node.Direct = true
	for name, d := range map[string]Desired{
		"no-subnet": {Node: Node{ID: "node1"}}, "empty": {Node: worker()}, "full": full(), "direct": direct,
	} {
		t.Run(name, func(t *testing.T) {
			golden.Check(t, name+".txt", Compile(d, Caps{ClampMSS: true}).Text())
		})
	}
}

// An endpoint that is replaced changes one element and no rule.
func TestReplacedEndpointIsOneElement(t *testing.T) {
	d := full()
	before := Compile(d, Caps{})
	d.Services[0].Backends = []netip.Addr{ip("10.18.1.2"), ip("10.18.1.9"), ip("10.18.2.2")}
	c := Diff(before, Compile(d, Caps{}))
	if len(c.New)+len(c.Old)+len(c.Rewritten)+len(c.Remade) != 0 || len(c.Added) != 1 || len(c.Added[SetBackends]) != 1 || len(c.Gone[SetBackends]) != 1 {
		t.Errorf("changes: %+v", c)
	}
}

// Two services never share a counter while there are fewer than Lanes of a size.
func TestLanesAreOwnWhileTheyLast(t *testing.T) {
	d := Desired{Node: worker()}
	for i := range Lanes {
		d.Services = append(d.Services, Service{Address: netip.AddrFrom4([4]byte{10, 30, 7, byte(i)}), Backends: []netip.Addr{ip("10.18.1.2"), ip("10.18.1.3")}})
	}
	seen := map[string]bool{}
	for _, v := range Compile(d, Caps{}).Sets[SetServices] {
		if seen[v.Chain] {
			t.Fatalf("%s serves two services", v.Chain)
		}
		seen[v.Chain] = true
	}
}

func TestValidateListsEveryMistake(t *testing.T) {
	d := Desired{
		Node:       Node{Subnet: netip.MustParsePrefix("10.18.1.1/26")},
		Peers:      []Peer{{Subnet: netip.MustParsePrefix("10.18.0.0/16")}},
		Services:   []Service{{Address: ip("10.18.0.1"), Backends: []netip.Addr{{}}}},
		Identities: []Identity{{}},
		HostPorts:  []HostPort{{Protocol: "sctp", Port: 1}},
	}
	want := "node.subnet: must be an IPv4 /26 at its base (got 10.18.1.1/26); peers[0].subnet: must be an IPv4 /26 at its base (got 10.18.0.0/16); " +
		"peers[0].hostip: must be an IPv4 address (got invalid IP); services[0].address: must lie in 10.30.0.0/16 (got 10.18.0.1); " +
		"services[0].backends: must be IPv4 addresses (got [invalid IP]); identities[0]: must be IPv4 addresses (got {invalid IP invalid IP }); " +
		"hostports[0]: needs tcp or udp and a port (got {sctp 1 []})"
	err := d.Validate()
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if err := full().Validate(); err != nil {
		t.Errorf("valid input: %v", err)
	}
}

// play changes have as the kernel would, and fails where the kernel would:
// what is referred to must be there.
func play(t *rapid.T, have Ruleset, c Changes, want Ruleset) Ruleset {
	out := Ruleset{Chains: maps.Clone(have.Chains), Sets: map[string]map[Key]Value{}}
	if out.Chains == nil {
		out.Chains = map[string]Chain{}
	}
	for _, name := range Sets() {
		out.Sets[name] = maps.Clone(have.Sets[name])
		if out.Sets[name] == nil {
			out.Sets[name] = map[Key]Value{}
		}
		for _, e := range c.Gone[name] {
			if got, ok := out.Sets[name][e.Key]; !ok || got != e.Value {
				t.Fatalf("%s: removed what is not there", name)
			}
			delete(out.Sets[name], e.Key)
		}
	}
	for _, names := range [][]string{c.Remade, c.New, c.Rewritten} {
		for _, name := range names {
			out.Chains[name] = want.Chains[name]
		}
	}
	for _, name := range Sets() {
		for _, e := range c.Added[name] {
			if _, ok := out.Sets[name][e.Key]; ok {
				t.Fatalf("%s: added what is there", name)
			}
			if _, ok := out.Chains[e.Value.Chain]; e.Value.Chain != "" && !ok {
				t.Fatalf("%s leads to %s, which is not there", name, e.Value.Chain)
			}
			out.Sets[name][e.Key] = e.Value
		}
	}
	for _, name := range c.Old {
		for _, set := range out.Sets {
			for _, v := range set {
				if v.Chain == name {
					t.Fatalf("removed %s, which is in use", name)
				}
			}
		}
		delete(out.Chains, name)
	}
	return out
}

// A walk over states: after any number of steps the kernel holds what a
// compilation from scratch says, and the NAT hooks never were without a rule.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have := Ruleset{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			d := draw(t)
			if err := d.Validate(); err != nil {
				t.Fatalf("drawn input: %v", err)
			}
			want := Compile(d, Caps{ClampMSS: true})
			have = play(t, have, Diff(have, want), want)
			if diff := cmp.Diff(want.Text(), have.Text()); diff != "" {
				t.Fatal(diff)
			}
			if !Diff(have, want).Empty() {
				t.Fatal("not at rest")
			}
			for _, c := range []string{"dnat-in", "dnat-out", "snat"} {
				if len(have.Chains[c].Rules) == 0 {
					t.Fatalf("%s is empty", c)
				}
			}
			spread(t, d, have)
		}
	})
}

// spread checks that each backend of a service fills exactly one slot.
func spread(t *rapid.T, d Desired, r Ruleset) {
	for _, s := range d.Services {
		got := map[netip.Addr]int{}
		for slot := range s.Backends {
			v := r.Sets[SetBackends][slotKey(s.Address, slot)]
			got[netip.AddrFrom4([4]byte(v.Data[:4]))]++
		}
		for _, b := range s.Backends {
			if got[b] != 1 {
				t.Fatalf("%s: %s fills %d slots", s.Address, b, got[b])
			}
		}
	}
}

func draw(t *rapid.T) Desired {
	d := Desired{Node: worker()}
	d.Node.Direct = rapid.Bool().Draw(t, "direct")
	if rapid.IntRange(0, 5).Draw(t, "bare") == 0 {
		d.Node.Subnet = netip.Prefix{}
	}
	few := rapid.IntRange(0, 4)
	for i := range few.Draw(t, "peers") {
		d.Peers = append(d.Peers, Peer{Subnet: netip.MustParsePrefix(fmt.Sprintf("10.18.%d.0/26", 2+i)), HostIP: ip(fmt.Sprintf("192.0.2.%d", 2+i)),
			Port: uint16(rapid.SampledFrom([]int{0, 50103, 50104}).Draw(t, "port"))})
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "services") {
		s := Service{Address: ip(fmt.Sprintf("10.30.0.%d", i))}
		for k := range few.Draw(t, "backends") {
			s.Backends = append(s.Backends, ip(fmt.Sprintf("10.18.%d.%d", 1+k%2, 2+i+20*k)))
		}
		d.Services = append(d.Services, s)
	}
	for i := range few.Draw(t, "identities") {
		d.Identities = append(d.Identities, Identity{Container: ip(fmt.Sprintf("10.18.1.%d", 2+i)), Instance: ip(fmt.Sprintf("10.30.1.%d", few.Draw(t, "instance")))})
	}
	for i := range few.Draw(t, "hostports") {
		h := HostPort{Protocol: rapid.SampledFrom([]Protocol{"tcp", "udp"}).Draw(t, "protocol"), Port: uint16(8000 + i)}
		for k := range few.Draw(t, "ports") {
			h.Backends = append(h.Backends, netip.AddrPortFrom(ip(fmt.Sprintf("10.18.1.%d", 2+k)), 80))
		}
		d.HostPorts = append(d.HostPorts, h)
	}
	return d
}

// large is n services with k backends each.
func large(n, k int) Desired {
	d := Desired{Node: worker()}
	for i := range n {
		s := Service{Address: netip.AddrFrom4([4]byte{10, 30, byte(i >> 8), byte(i)})}
		for j := range k {
			s.Backends = append(s.Backends, netip.AddrFrom4([4]byte{10, 19, byte(i >> 4), byte(2 + j)}))
		}
		d.Services = append(d.Services, s)
	}
	return d
}

func BenchmarkCompileAndDiff(b *testing.B) {
	d := large(1000, 10)
	have := Compile(d, Caps{})
	b.ReportAllocs()
	for b.Loop() {
		if !Diff(have, Compile(d, Caps{})).Empty() {
			b.Fatal("differs")
		}
	}
}
