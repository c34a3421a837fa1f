package linux_test

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"oakestra/netmanager/host"
	"oakestra/netmanager/host/linux"
	"oakestra/netmanager/rules"
	"oakestra/pkg/testkit"
	"oakestra/pkg/testkit/nshost"
)

// saved matches what differs between two runs of iptables-save over one state:
// the lines with the time, and how many packets a policy has met.
var saved = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`)

func listing(t testing.TB, n *nshost.Host) string {
	t.Helper()
	var b strings.Builder
	for _, c := range []string{"nft list ruleset", "iptables-save", "iptables-legacy-save", "ip -o link", "ip -o addr", "ip route show table all", "ip rule"} {
		out := n.Exec(t, "sh", "-c", c)
		b.WriteString("$ " + c + "\n" + saved.ReplaceAllString(out, "") + "\n")
	}
	return b.String()
}

// Remove leaves every listing as it was before the first Apply, whatever the
// machine's firewall held; and what others did meanwhile stays.
func TestRemoveRestoresListings(t *testing.T) {
	needKernel(t)
	for _, c := range []struct{ name, before, meanwhile string }{
		{name: "untouched"},
		{name: "empty chains of iptables", before: "iptables -P FORWARD ACCEPT; iptables -t mangle -P OUTPUT ACCEPT"},
		{name: "one foreign chain of each table", before: "iptables -A INPUT -p tcp --dport 9 -j DROP; iptables -t mangle -A POSTROUTING -p tcp --dport 9 -j ACCEPT"},
		{name: "policy drop", before: "iptables -P FORWARD DROP; iptables -P INPUT DROP"},
		{name: "docker", before: "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER"},
		{name: "foreign set in an iptables table", before: "nft add table ip mangle; nft add set ip mangle mine '{ type ipv4_addr; }'"},
		{name: "rule added meanwhile", meanwhile: "iptables -A FORWARD -p tcp --dport 9 -j DROP"},
		{name: "policy set meanwhile", meanwhile: "iptables -P INPUT DROP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, other := nshost.New(t), nshost.New(t) // other is told the same, without us
			for _, x := range []*nshost.Host{n, other} {
				x.Exec(t, "ip", "link", "add", "up0", "address", "02:00:00:00:00:01", "type", "bridge")
				x.Address(t, "up0", "192.0.2.1/24")
				x.Exec(t, "ip", "link", "set", "up0", "up")
				x.Exec(t, "sh", "-c", "true;"+c.before)
			}
			use(t, n, c.meanwhile)
			other.Exec(t, "sh", "-c", "true;"+c.meanwhile)
			if got, want := listing(t, n), listing(t, other); got != want {
				t.Errorf("with us:\n%s\nwithout:\n%s", got, want)
			}
		})
	}
}

// use lives through Apply, Attach, what others do, a restart and Remove.
func use(t *testing.T, n *nshost.Host, meanwhile string) {
	t.Helper()
	ctx := context.Background()
	want := rules.Desired{
		Node:     rules.Node{ID: "node1", Subnet: subnet(1), HostIP: underlay(1)},
		Peers:    []rules.Peer{{ID: "node2", Subnet: subnet(2), HostIP: underlay(2)}},
		Services: []rules.Service{{Address: addr(service), Backends: []netip.Addr{container(1, 2)}}},
	}
	inside := nshost.New(t)
	pid, stop := process(t, inside)
	defer stop()
	for _, last := range []bool{false, true} { // the second Host finds what the first one made
		h, err := linux.New(linux.Config{Netns: n.Path()}, testkit.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.Apply(ctx, want); err != nil {
			t.Fatal(err)
		}
		a := host.Attachment{Name: "box", Pid: pid, Address: netip.PrefixFrom(container(1, 2), 26), Gateway: rules.Gateway(subnet(1))}
		if _, err := h.Attach(ctx, a); err != nil {
			t.Fatal(err)
		}
		if !last {
			n.Exec(t, "sh", "-c", "true;"+meanwhile)
			continue
		}
		for range 2 { // again is no error
			if err := h.Remove(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}
