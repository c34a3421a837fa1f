package netmanager

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/netmanager/table"
)

// TestBackendsBehindAPeerThatDoesNotAnswer: they get no new flows while others
// are there, and do again with the first answer; one that never answered keeps
// them, and so does a choice of none.
func TestBackendsBehindAPeerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		r := start(t, t.TempDir(), k)
		defer func() { _ = r.stop() }()
		r.register()
		peers := map[string]netip.Addr{}
		change := table.Change{Epoch: "e", Version: 1, Snapshot: true}
		entries := []table.Entry{}
		for i, n := range []string{"n2", "n3", "n4"} {
			subnet := netip.MustParsePrefix(fmt.Sprintf("10.18.0.%d/26", 64*i+0))
			if i == 1 {
				subnet = netip.MustParsePrefix("10.18.1.0/26")
			}
			change.Peers = append(change.Peers, table.Peer{Node: n, HostIP: addr(fmt.Sprintf("192.0.2.%d", i+2)), Port: 50103, Subnet: subnet, Dataplane: "vxlan"})
			peers[n] = rules.Gateway(subnet)
			entries = append(entries, table.Entry{Instance: i, Address: addr(fmt.Sprintf("10.30.0.%d", i+2)), Namespace: rules.Gateway(subnet).Next(), Node: n})
		}
		change.Tables = []table.Table{{Service: "id-x", Name: "x", Address: addr("10.30.0.1"), Entries: entries}}
		to := func(names ...string) []netip.Addr {
			var out []netip.Addr
			for _, n := range names {
				out = append(out, peers[n].Next())
			}
			return out
		}
		want := func(what string, names ...string) {
			t.Helper()
			got, _ := k.service("10.30.0.1")
			equal(t, what, got, to(names...))
		}
		k.with(func() { k.reached[peers["n2"]], k.reached[peers["n3"]] = true, true })
		r.say(Inbound{Change: &change})
		k.with(func() {
			if k.asked != 3 {
				t.Errorf("three new peers were asked %d times", k.asked)
			}
		})
		wait(10 * time.Second)
		want("n4 never answers", "n2", "n3", "n4")

		k.with(func() { k.reached[peers["n2"]] = false })
		wait(2 * time.Second)
		want("two echoes are missing", "n2", "n3", "n4")
		wait(3 * time.Second)
		want("n2 is cut off", "n3", "n4")
		k.with(func() {
			if len(k.closed) != 1 || k.closed[0] != (host.Way{Service: addr("10.30.0.1"), Backend: to("n2")[0]}) {
				t.Errorf("connections that were being opened were rerouted from %v", k.closed)
			}
		})
		direct, _ := k.service("10.30.0.2")
		equal(t, "its instance address leads there all the same", direct, to("n2"))

		k.with(func() { k.reached[peers["n2"]] = true })
		wait(1100 * time.Millisecond)
		want("n2 is back", "n2", "n3", "n4")

		k.with(func() { k.reached[peers["n2"]], k.reached[peers["n3"]] = false, false })
		change.Version, change.Tables[0].Entries = 2, entries[:2]
		r.say(Inbound{Change: &change})
		wait(6 * time.Second)
		want("nobody answers", "n2", "n3")
	})
}

// TestManyPeersTakeTurns: no tick asks more than so many, and each is asked.
func TestManyPeersTakeTurns(t *testing.T) {
	var peers []rules.Peer
	for i := range 2*askedAtOnce + 10 {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 18, byte(i / 4), byte(i % 4 * 64)}), 26)
		peers = append(peers, rules.Peer{ID: fmt.Sprint(i), Subnet: subnet, HostIP: addr("192.0.2.1")})
	}
	var p pulses
	times := map[string]int{}
	for range 9 {
		to := p.ask(peers)
		if len(to) > askedAtOnce {
			t.Fatalf("asked %d", len(to))
		}
		for _, r := range to {
			p.asked(r)
			times[r.ID]++
		}
	}
	for _, r := range peers {
		if n := times[r.ID]; n < 3 || n > 5 {
			t.Errorf("peer %s was asked %d times of 9", r.ID, n)
		}
	}
	p.answered(rules.Gateway(peers[0].Subnet))
	if p.ask(nil); len(p.of) != 0 {
		t.Errorf("%d peers that serve nothing are remembered", len(p.of))
	}
}

// TestAMovedPeerHasToAnswerAnew: what is known of a peer is of its machine.
func TestAMovedPeerHasToAnswerAnew(t *testing.T) {
	r := rules.Peer{ID: "n2", Subnet: netip.MustParsePrefix("10.18.1.0/26"), HostIP: addr("192.0.2.2")}
	var p pulses
	p.ask([]rules.Peer{r})
	p.answered(rules.Gateway(r.Subnet))
	for range deadAfter + 1 {
		p.asked(r)
	}
	if !p.dead(r) {
		t.Fatal("it does not count as dead")
	}
	r.HostIP = addr("192.0.2.3")
	p.ask([]rules.Peer{r})
	for range deadAfter + 1 {
		p.asked(r)
	}
	if p.dead(r) {
		t.Error("a machine that never answered counts as dead")
	}
}
