package linux_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/pkg/testkit"
	"oakestra/pkg/testkit/nshost"
)

// Host ports answer from outside, on the node itself, on localhost and from
// containers; nothing else of the containers is reachable.
func TestHostPorts(t *testing.T) {
	s := newSite(t, 2)
	w := s.workers[0]
	b, client := s.run(1, 2, addr("10.30.1.1")), s.run(1, 3, addr("10.30.1.2"))
	serve(t, b.Host, "b")
	w.want.HostPorts = []rules.HostPort{{Protocol: "tcp", Port: 8080, Backends: []netip.AddrPort{netip.AddrPortFrom(b.addr, 80)}}}
	w.apply()
	dumpOnFailure(t, w.Host)
	for _, c := range []struct {
		name string
		from *nshost.Host
		to   string
		seen string
	}{
		{"outside", s.outside, "192.0.2.1:8080", "192.0.2.200"},
		{"other worker", s.workers[1].Host, "192.0.2.1:8080", "192.0.2.2"},
		{"node", w.Host, "192.0.2.1:8080", "192.0.2.1"},
		{"localhost", w.Host, "127.0.0.1:8080", "10.18.1.1"},
		{"container", client.Host, "192.0.2.1:8080", "10.30.1.2"},
		{"itself", b.Host, "192.0.2.1:8080", "10.30.1.1"},
	} {
		t.Run(c.name, func(t *testing.T) { expectSeen(t, c.from, c.to, "b", c.seen) })
	}
	t.Run("loopback stays closed to containers", func(t *testing.T) {
		server := listenPacket(t, w.Host, "127.0.0.1:9000")
		defer server.Close()
		// A container with CAP_NET_ADMIN can send to 127.0.0.1 over its uplink.
		client.Exec(t, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
		client.Exec(t, "ip", "route", "flush", "table", "local", "dev", "lo")
		if arrives(t, client.Host, server, "127.0.0.1:9000") {
			t.Error("a container reached the node's loopback")
		}
	})
}

// arrives sends datagrams and says whether one gets to the server, with no
// need of a way back.
func arrives(t *testing.T, from *nshost.Host, server net.PacketConn, to string) bool {
	t.Helper()
	c, err := from.Dial(net.Dialer{}, "udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 100)
	for range 3 {
		_, _ = c.Write([]byte("x")) // an error of an earlier datagram may show here
		if err := server.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := server.ReadFrom(buf); err == nil {
			return true
		}
	}
	return false
}

// Ping, UDP and the way out work.
func TestPingUDPAndEgress(t *testing.T) {
	s := newSite(t, 2)
	client, far := s.run(1, 2, addr("10.30.1.1")), s.run(2, 2, addr("10.30.1.2"))
	s.service(service, far.addr)
	client.Exec(t, "ping", "-c1", "-W2", service)
	client.Exec(t, "ping", "-c1", "-W2", "10.18.2.2")
	s.workers[0].Exec(t, "ping", "-c1", "-W2", "10.18.2.1")

	server := listenPacket(t, far.Host, ":53")
	defer server.Close()
	go func() {
		buf := make([]byte, 1500)
		for {
			_, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := server.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from); err != nil {
				return // the client misses the answer
			}
		}
	}()
	c, err := client.Dial(net.Dialer{}, "udp4", service+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "10.30.1.1" {
		t.Errorf("UDP: %q, %v", buf[:n], err)
	}
	serve(t, s.outside, "outside")
	expectSeen(t, client.Host, "192.0.2.200:80", "outside", "192.0.2.1")
}

// Rules of others that would break the overlay do not: a masquerade of
// everything, a closed FORWARD and INPUT, a firewall that drops our chains.
func TestForeignRules(t *testing.T) {
	s := newSite(t, 2)
	client, far := s.run(1, 2, addr("10.30.1.1")), s.run(2, 2, addr("10.30.1.2"))
	nameless := s.run(1, 3, netip.Addr{})
	serve(t, far.Host, "far")
	s.service(service, far.addr)
	for _, w := range s.workers {
		w.Exec(t, "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
		w.Exec(t, "iptables", "-P", "FORWARD", "DROP")
		w.Exec(t, "iptables", "-P", "INPUT", "DROP")
		w.Exec(t, "iptables", "-F", "FORWARD")
		w.Exec(t, "iptables", "-F", "INPUT")
		w.Exec(t, "iptables", "-t", "mangle", "-F")
		dumpOnFailure(t, w.Host)
		// The watch puts ours back.
		testkit.Eventually(t, patience, func() error {
			out := w.Exec(t, "iptables", "-S") + w.Exec(t, "iptables", "-t", "mangle", "-S")
			for _, want := range []string{"-A FORWARD -j OAK-FORWARD", "-A INPUT -j OAK-INPUT", "-A PREROUTING -j OAK-HOLD", "-A OUTPUT -j OAK-HOLD", "-A OAK-HOLD -m mark"} {
				if !strings.Contains(out, want) {
					return fmt.Errorf("%q is missing in\n%s", want, out)
				}
			}
			return nil
		})
	}
	expectSeen(t, client.Host, service+":80", "far", "10.30.1.1")
	expectSeen(t, nameless.Host, service+":80", "far", "10.18.1.3")
}

// Where the machine's rules are in the legacy variant, ours go there.
func TestLegacyIptables(t *testing.T) {
	testkit.RequireRoot(t, "ip", "iptables-legacy", "iptables-legacy-save")
	s := newSite(t, 1)
	client, server := s.run(1, 2, addr("10.30.1.1")), s.run(1, 3, addr("10.30.1.2"))
	serve(t, server.Host, "server")
	w := s.workers[0]
	if err := w.h.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.Exec(t, "iptables-legacy", "-P", "FORWARD", "DROP")
	w.Exec(t, "iptables-legacy", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
	w.apply()
	for _, b := range []*box{client, server} {
		if _, err := w.h.Attach(context.Background(), b.attachment); err != nil {
			t.Fatal(err)
		}
	}
	if out := w.Exec(t, "iptables-legacy", "-S"); !strings.Contains(out, "-A FORWARD -j OAK-FORWARD") {
		t.Errorf("legacy rules:\n%s", out)
	}
	w.answer(0, map[string][]netip.Addr{service: {server.addr}})
	expectSeen(t, client.Host, service+":80", "server", "10.30.1.1")
	w.Exec(t, "iptables-legacy", "-F", "OAK-FORWARD")
	testkit.Eventually(t, patience, func() error {
		if out := w.Exec(t, "iptables-legacy", "-S", "OAK-FORWARD"); !strings.Contains(out, "-A OAK-FORWARD -i oakbr0 -j ACCEPT") {
			return fmt.Errorf("not put back:\n%s", out)
		}
		return nil
	})
}

// Strangers can neither tunnel to us nor claim to be another worker's container.
func TestTunnelKnowsItsSenders(t *testing.T) {
	s := newSite(t, 2)
	client, far := s.run(1, 2, netip.Addr{}), s.run(2, 2, netip.Addr{})
	server := listenPacket(t, far.Host, ":9000")
	defer server.Close()
	w := s.workers[1]
	for _, c := range []struct {
		name string
		peer rules.Peer
		want bool
	}{
		{"peer", rules.Peer{Subnet: subnet(1), HostIP: underlay(1)}, true},
		{"sender that is no peer", rules.Peer{Subnet: subnet(1), HostIP: underlay(77)}, false},
		{"source outside the peer's subnet", rules.Peer{Subnet: subnet(9), HostIP: underlay(1)}, false},
		{"peer again", rules.Peer{Subnet: subnet(1), HostIP: underlay(1)}, true},
	} {
		w.want.Peers = []rules.Peer{c.peer}
		w.apply()
		if got := arrives(t, client.Host, server, "10.18.2.2:9000"); got != c.want {
			t.Errorf("%s: arrives %t", c.name, got)
		}
	}
}

// TestEchoes: a worker's bridge answers through the tunnel, also where INPUT is
// closed and whatever other pings there are; one whose cable is out does not.
func TestEchoes(t *testing.T) {
	s := newSite(t, 2)
	w, other := s.workers[0], s.workers[1]
	other.Exec(t, "iptables", "-P", "INPUT", "DROP")
	there := rules.Gateway(subnet(2))
	asks := func() (answered bool) {
		t.Helper()
		if err := w.h.Echo(context.Background(), []netip.Addr{there, rules.Gateway(subnet(3))}); err != nil {
			t.Fatal(err)
		}
		select {
		case a := <-w.h.Echoes():
			if a != there {
				t.Errorf("%s answered", a)
			}
			return true
		case <-time.After(500 * time.Millisecond):
			return false
		}
	}
	testkit.Eventually(t, patience, func() error {
		if !asks() {
			return fmt.Errorf("no answer")
		}
		return nil
	})
	w.Exec(t, "ping", "-c1", "-W2", there.String())
	select {
	case a := <-w.h.Echoes():
		t.Errorf("the answer to another program's ping was taken: %s", a)
	default:
	}
	other.Exec(t, "ip", "link", "set", "up0", "down")
	if asks() {
		t.Error("a worker without its cable answered")
	}
}

// TestReroute: a connection that is being opened to a worker whose cable is out
// reaches another backend with its next packet once the service has no other;
// one that is open stays.
func TestReroute(t *testing.T) {
	s := newSite(t, 2)
	w := s.workers[0]
	client, near, far := s.run(1, 2, addr("10.30.1.1")), s.run(1, 3, addr("10.30.1.2")), s.run(2, 2, addr("10.30.1.3"))
	serve(t, near.Host, "near")
	serve(t, far.Host, "far")
	w.service(service, far.addr)
	open, reader, name, _, err := open(client.Host, service+":80")
	if err != nil || name != "far" {
		t.Fatalf("%s, %v", name, err)
	}
	defer open.Close()
	s.workers[1].Exec(t, "ip", "link", "set", "up0", "down")
	got := make(chan string, 1)
	go func() {
		name, _, err := ask(client.Host, service+":80")
		got <- fmt.Sprint(name, err)
	}()
	testkit.Eventually(t, patience, func() error {
		if !strings.Contains(w.Exec(t, "conntrack", "-L", "-p", "tcp", "--state", "SYN_SENT"), far.addr.String()) {
			return fmt.Errorf("nothing is being opened")
		}
		return nil
	})
	w.service(service, near.addr)
	way := []host.Way{{Service: addr(service), Backend: far.addr}}
	if err := w.h.Reroute(context.Background(), way); err != nil {
		t.Fatal(err)
	}
	if answer := <-got; answer != "near<nil>" {
		t.Errorf("the connection that was being opened: %s", answer)
	}
	s.workers[1].Exec(t, "ip", "link", "set", "up0", "up")
	if err := echo(open, reader); err != nil {
		t.Errorf("the open connection: %v", err)
	}
}
