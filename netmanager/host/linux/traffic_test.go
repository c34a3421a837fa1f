package linux_test

import (
	"net/netip"
	"testing"
)

const service = "10.30.0.10"

// Servers see instance addresses, wherever client and server are.
func TestServersSeeInstanceAddresses(t *testing.T) {
	s := newSite(t, 2)
	client := s.run(1, 2, addr("10.30.1.1"))
	near := s.run(1, 3, addr("10.30.1.2"))
	far := s.run(2, 2, addr("10.30.1.3"))
	nameless := s.run(1, 4, netip.Addr{})
	dumpOnFailure(t, s.workers[0].Host)
	dumpOnFailure(t, s.workers[1].Host)
	serve(t, near.Host, "near")
	serve(t, far.Host, "far")
	serve(t, client.Host, "self")

	for _, c := range []struct {
		name    string
		from    *box
		backend *box
		server  string
		seen    string
	}{
		{"cross node", client, far, "far", "10.30.1.1"},
		{"same node", client, near, "near", "10.30.1.1"},
		{"hairpin", client, client, "self", "10.30.1.1"},
		{"back", far, client, "self", "10.30.1.3"},
		{"without identity, cross node", nameless, far, "far", "10.18.1.4"},
		{"without identity, same node", nameless, near, "near", "10.18.1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.service(service, c.backend.addr)
			expectSeen(t, c.from.Host, service+":80", c.server, c.seen)
		})
	}
	t.Run("node itself", func(t *testing.T) {
		s.service(service, far.addr)
		expectSeen(t, s.workers[0].Host, service+":80", "far", "10.18.1.1")
		s.service(service, near.addr)
		expectSeen(t, s.workers[0].Host, service+":80", "near", "10.18.1.1")
	})
}
