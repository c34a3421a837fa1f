package linux_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

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
		l := w.Listen(t, "tcp4", "127.0.0.1:9000")
		go func() { l.Accept() }()
		client.Exec(t, "ip", "route", "add", "127.1.0.0/16", "via", "10.18.1.1", "table", "5")
		client.Exec(t, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
		client.Exec(t, "ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
		client.Exec(t, "ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local")
		if c, err := client.Dial(net.Dialer{Timeout: 300 * time.Millisecond}, "tcp4", "127.0.0.1:9000"); err == nil {
			c.Close()
			t.Error("a container reached the node's loopback")
		}
	})
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
			server.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from)
		}
	}()
	c, err := client.Dial(net.Dialer{}, "udp4", service+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	c.Write([]byte("?"))
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

// Strangers can neither tunnel to us nor claim to be another worker's container.
func TestTunnelKnowsItsSenders(t *testing.T) {
	s := newSite(t, 2)
	client, far := s.run(1, 2, addr("10.30.1.1")), s.run(2, 2, addr("10.30.1.2"))
	serve(t, far.Host, "far")
	s.service(service, far.addr)
	expectSeen(t, client.Host, service+":80", "far", "10.30.1.1")
	w := s.workers[1]
	w.want.Peers[0].HostIP = underlay(77)
	w.apply()
	c, err := client.Dial(net.Dialer{Timeout: 300 * time.Millisecond}, "tcp4", service+":80")
	if err == nil {
		c.Close()
		t.Error("a sender that is no peer got through")
	}
	w.want.Peers[0].HostIP = underlay(1)
	w.want.Peers[0].Subnet = subnet(9)
	w.apply()
	if c, err = client.Dial(net.Dialer{Timeout: 300 * time.Millisecond}, "tcp4", service+":80"); err == nil {
		io.Copy(io.Discard, c)
		c.Close()
		t.Error("a source outside the peer's subnet got through")
	}
}
