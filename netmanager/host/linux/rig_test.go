package linux_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/host/linux"
	"oakestra/netmanager/rules"
	"oakestra/pkg/testkit"
	"oakestra/pkg/testkit/nshost"
)

const patience = 5 * time.Second

// worker is one machine with a Host, its containers and what it was told.
type worker struct {
	*nshost.Host
	t    testing.TB
	h    *linux.Host
	stop func() // ends Run and closes h
	want rules.Desired
}

// site is workers on one switch, and a machine beside them.
type site struct {
	t       testing.TB
	workers []*worker
	outside *nshost.Host
	sw      *nshost.Host
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func needKernel(t testing.TB) {
	t.Helper()
	testkit.RequireRoot(t, "ip", "iptables", "iptables-save")
}

// newSite makes n workers with the underlay 192.0.2.<i> and the subnets
// 10.18.<i>.0/26, which know one another.
func newSite(t testing.TB, n int) *site {
	t.Helper()
	needKernel(t)
	s := &site{t: t, sw: nshost.New(t)}
	s.sw.Bridge(t, "br0")
	for i := 1; i <= n; i++ {
		w := &worker{Host: nshost.New(t), t: t}
		s.plug(w.Host, fmt.Sprintf("192.0.2.%d/24", i))
		w.Exec(t, "ip", "route", "add", "default", "via", "192.0.2.250")
		w.want.Node = rules.Node{ID: fmt.Sprintf("node%d", i), Subnet: subnet(i), HostIP: underlay(i), Port: rules.DefaultPort}
		for j := 1; j <= n; j++ {
			if j != i {
				w.want.Peers = append(w.want.Peers, rules.Peer{ID: fmt.Sprintf("node%d", j), Subnet: subnet(j), HostIP: underlay(j), Port: rules.DefaultPort})
			}
		}
		s.workers = append(s.workers, w)
	}
	s.outside = nshost.New(t)
	s.plug(s.outside, "192.0.2.200/24")
	for _, w := range s.workers {
		w.open()
		w.apply()
	}
	return s
}

func subnet(i int) netip.Prefix     { return netip.MustParsePrefix(fmt.Sprintf("10.18.%d.0/26", i)) }
func underlay(i int) netip.Addr     { return addr(fmt.Sprintf("192.0.2.%d", i)) }
func container(i, k int) netip.Addr { return addr(fmt.Sprintf("10.18.%d.%d", i, k)) }

func (s *site) plug(h *nshost.Host, cidr string) {
	port := "p" + h.Name[strings.IndexByte(h.Name, '-')+1:]
	h.Join(s.t, "up0", s.sw, port)
	s.sw.Exec(s.t, "ip", "link", "set", port, "master", "br0")
	h.Address(s.t, "up0", cidr)
}

// open makes a Host over the kernel of the worker and runs it until t ends or
// w.stop is called.
func (w *worker) open() {
	w.t.Helper()
	h, err := linux.New(linux.Config{Netns: w.Path(), HoldFor: 2 * time.Second, Recheck: 100 * time.Millisecond}, testkit.Logger(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	w.h = h
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
		if err := h.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	}
	w.t.Cleanup(w.stop)
}

func (w *worker) apply() {
	w.t.Helper()
	if err := w.h.Apply(context.Background(), w.want); err != nil {
		w.t.Fatalf("apply: %v", err)
	}
}

// box is one container: a namespace that a process keeps.
type box struct {
	*nshost.Host
	attachment host.Attachment
	addr       netip.Addr
}

// run attaches a container and, with instance valid, gives it that identity
// on every worker of the site.
func (s *site) run(i, k int, instance netip.Addr) *box {
	s.t.Helper()
	w := s.workers[i-1]
	b := &box{Host: nshost.New(s.t), addr: container(i, k)}
	pid, _ := process(s.t, b.Host)
	b.attachment = host.Attachment{Name: b.Name, Pid: pid, Address: netip.PrefixFrom(b.addr, 26), Gateway: rules.Gateway(subnet(i))}
	got, err := w.h.Attach(context.Background(), b.attachment)
	if err != nil {
		s.t.Fatal(err)
	}
	b.attachment.StartTime, b.attachment.Netns = got.StartTime, got.Netns
	if instance.IsValid() {
		for _, w := range s.workers {
			w.want.Identities = append(w.want.Identities, rules.Identity{Container: b.addr, Instance: instance})
			w.apply()
		}
	}
	return b
}

// service tells every worker the service.
func (s *site) service(address string, backends ...netip.Addr) {
	s.t.Helper()
	for _, w := range s.workers {
		w.service(address, backends...)
	}
}

func (w *worker) service(address string, backends ...netip.Addr) {
	w.t.Helper()
	for i := range w.want.Services {
		if w.want.Services[i].Address == addr(address) {
			w.want.Services[i].Backends = backends
			w.apply()
			return
		}
	}
	w.want.Services = append(w.want.Services, rules.Service{Address: addr(address), Backends: backends})
	w.apply()
}

// listenPacket opens a UDP socket inside the namespace.
func listenPacket(t testing.TB, h *nshost.Host, address string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := h.In(func() (err error) { c, err = net.ListenPacket("udp4", address); return err }); err != nil {
		t.Fatal(err)
	}
	return c
}

// serve answers every connection with "<name> <who it sees>\n" and then echoes.
func serve(t testing.TB, h *nshost.Host, name string) {
	t.Helper()
	l := h.Listen(t, "tcp4", ":80")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr().(*net.TCPAddr).IP)
				_, _ = io.Copy(c, c) // until either end closes or resets it
			}()
		}
	}()
}

// ask connects and returns the server's name and who it sees.
func ask(from *nshost.Host, to string) (name, seen string, err error) {
	c, _, name, seen, err := open(from, to)
	if err == nil {
		c.Close()
	}
	return name, seen, err
}

func open(from *nshost.Host, to string) (net.Conn, *bufio.Reader, string, string, error) {
	c, err := from.Dial(net.Dialer{Timeout: patience}, "tcp4", to)
	if err != nil {
		return nil, nil, "", "", err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		c.Close()
		return nil, nil, "", "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		c.Close()
		return nil, nil, "", "", err
	}
	name, seen, _ := strings.Cut(strings.TrimSpace(line), " ")
	return c, r, name, seen, nil
}

// echo says whether the connection still works.
func echo(c net.Conn, r *bufio.Reader) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("still here\n")); err != nil {
		return err
	}
	line, err := r.ReadString('\n')
	if err == nil && line != "still here\n" {
		err = errors.New("echo of " + line)
	}
	return err
}

func expectSeen(t testing.TB, from *nshost.Host, to, wantName, wantSeen string) {
	t.Helper()
	name, seen, err := ask(from, to)
	if err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	if name != wantName || seen != wantSeen {
		t.Fatalf("%s: %s sees %s, want %s to see %s", to, name, seen, wantName, wantSeen)
	}
}

func expectRefused(t testing.TB, from *nshost.Host, to string) {
	t.Helper()
	start := time.Now()
	_, _, err := ask(from, to)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("%s: got %v, want a refusal", to, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Fatalf("%s: refused after %s, want at once", to, took)
	}
}

func dumpOnFailure(t testing.TB, h *nshost.Host) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, c := range []string{"nft list ruleset", "ip -d addr", "ip route", "conntrack -L", "iptables-save"} {
			out, _ := exec.Command("ip", append([]string{"netns", "exec", h.Name}, strings.Fields(c)...)...).CombinedOutput()
			t.Logf("%s: %s\n%s", h.Name, c, out)
		}
	})
}
