package linux_test

import (
	"context"
	"testing"

	"oakestra/netmanager/host"
)

// What listens in a container shows; what merely talks does not.
func TestListens(t *testing.T) {
	s := newSite(t, 1)
	server, udp, client := s.run(1, 2, addr("10.30.1.1")), s.run(1, 3, addr("10.30.1.2")), s.run(1, 4, addr("10.30.1.3"))
	listens := func(b *box) bool {
		t.Helper()
		got, err := s.workers[0].h.Listens(context.Background(), b.attachment)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, b := range []*box{server, udp, client} {
		if listens(b) {
			t.Errorf("%s: something listens in a new container", b.addr)
		}
	}
	serve(t, server.Host, "s")
	packets := listenPacket(t, udp.Host, ":53")
	defer packets.Close()
	c, _, _, _, err := open(client.Host, server.addr.String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !listens(server) || !listens(udp) || listens(client) {
		t.Errorf("listens: TCP server %v, UDP server %v, client %v; want true, true, false", listens(server), listens(udp), listens(client))
	}
	if _, err := s.workers[0].h.Listens(context.Background(), host.Attachment{Name: "x", Pid: 1 << 30}); err == nil {
		t.Error("a process that is not there has sockets")
	}
}
