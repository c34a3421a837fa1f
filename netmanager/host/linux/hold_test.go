package linux_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oakestra/pkg/testkit/nshost"
)

// answer does what NetManager does with unknown addresses, until t ends: after
// pause it programs what known holds, or says that nobody knows.
func (w *worker) answer(pause time.Duration, known map[string][]netip.Addr) (asked func() int) {
	stop, done := make(chan struct{}), make(chan struct{})
	n := make(chan int, 1)
	n <- 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case a := <-w.h.Unknown():
				n <- <-n + 1
				time.Sleep(pause) // the cluster's answer takes its time
				backends, ok := known[a.String()]
				if ok {
					w.service(a.String(), backends...)
				}
				w.h.Release(a, ok)
			}
		}
	}()
	w.t.Cleanup(func() { close(stop); <-done })
	return func() int { v := <-n; n <- v; return v }
}

// The first packet to an unknown address waits for the rules and connects,
// also under strict reverse path checks and from the node itself.
func TestFirstPacketWaitsForTheRules(t *testing.T) {
	s := newSite(t, 2)
	w := s.workers[0]
	for _, x := range s.workers {
		x.Exec(t, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
	}
	client, far := s.run(1, 2, addr("10.30.1.1")), s.run(2, 2, addr("10.30.1.2"))
	serve(t, far.Host, "far")
	dumpOnFailure(t, w.Host)
	w.answer(3*time.Millisecond, map[string][]netip.Addr{"10.30.0.20": {far.addr}, "10.30.0.21": {far.addr}})
	for _, c := range []struct {
		from     *nshost.Host
		to, seen string
	}{{client.Host, "10.30.0.20", "10.30.1.1"}, {w.Host, "10.30.0.21", "10.18.1.1"}} {
		start := time.Now()
		expectSeen(t, c.from, c.to+":80", "far", c.seen)
		// A lost first packet would be sent again after a second.
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("%s: first connection took %s", c.to, took)
		}
	}
}

// Nobody knows it: refused at once, and for 5 s without asking again.
func TestUnknownIsRefused(t *testing.T) {
	s := newSite(t, 1)
	client := s.run(1, 2, addr("10.30.1.1"))
	asked := s.workers[0].answer(0, nil)
	expectRefused(t, client.Host, "10.30.0.30:80")
	expectRefused(t, client.Host, "10.30.0.30:80")
	if n := asked(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	expectRefused(t, s.workers[0].Host, "10.30.0.31:80")
	s.service("10.30.0.32")
	expectRefused(t, client.Host, "10.30.0.32:80")
	if n := asked(); n != 2 {
		t.Errorf("asked %d times, want 2: an empty service is known", n)
	}
}

// Nobody answers: the packet waits HoldFor and is refused.
func TestSilenceEndsInRefusal(t *testing.T) {
	s := newSite(t, 1)
	client := s.run(1, 2, addr("10.30.1.1"))
	start := time.Now()
	_, _, err := ask(client.Host, "10.30.0.40:80")
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("got %v, want a refusal", err)
	}
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("refused after %s, before the hold ended", took)
	}
}

// Without the reader, nothing is held.
func TestNoReaderRefusesAtOnce(t *testing.T) {
	s := newSite(t, 1)
	client := s.run(1, 2, addr("10.30.1.1"))
	w := s.workers[0]
	w.stop()
	expectRefused(t, client.Host, "10.30.0.41:80")
}

// A scan asks at most 50 times a second and does not keep others from
// connecting, however many packets it sends before anyone looks at them.
func TestScanDoesNotStarveOthers(t *testing.T) {
	s := newSite(t, 1)
	w := s.workers[0]
	scanner, client, server := s.run(1, 2, addr("10.30.1.1")), s.run(1, 3, addr("10.30.1.2")), s.run(1, 4, addr("10.30.1.3"))
	serve(t, server.Host, "server")
	asked := w.answer(0, map[string][]netip.Addr{"10.30.0.50": {server.addr}})
	c := listenPacket(t, scanner.Host, ":0")
	defer c.Close()
	start := time.Now()
	for i := range 20_000 {
		_, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 30, byte(100+i/250), byte(1+i%250)), Port: 9})
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) { // an earlier packet was refused
			t.Fatal(err)
		}
	}
	expectSeen(t, client.Host, "10.30.0.50:80", "server", "10.30.1.2")
	if n, limit := asked(), 51+50*int(1+time.Since(start)/time.Second); n > limit {
		t.Errorf("asked %d times, want at most %d", n, limit)
	}
}
