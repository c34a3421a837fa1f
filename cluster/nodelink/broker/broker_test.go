package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oakestra/pkg/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heard collects what the manager's side hears.
type heard struct {
	mu     sync.Mutex
	topics []string
	bell   chan struct{}
}

func (h *heard) take(topic string, _ []byte) {
	h.mu.Lock()
	h.topics = append(h.topics, topic)
	h.mu.Unlock()
	h.bell <- struct{}{}
}

func serve(t *testing.T, cfg Config) (*Broker, *heard) {
	cfg.Listen = "127.0.0.1:0"
	b := New(cfg, nil)
	h := &heard{bell: make(chan struct{}, 10000)}
	b.Subscribe([]string{"nodes/+/job"}, h.take)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-b.Ready()
	return b, h
}

// raw is an MQTT 3.1.1 client made of bytes, so that it can misbehave.
type raw struct {
	net.Conn
	t testing.TB
}

func dial(t testing.TB, b *Broker, from string) raw {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	return raw{c, t}
}

func field(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func (r raw) packet(kind byte, body string) {
	head := []byte{kind}
	for n := len(body); ; {
		b := byte(n % 128)
		if n /= 128; n > 0 {
			b |= 128
		}
		if head = append(head, b); n == 0 {
			break
		}
	}
	_, _ = r.Write(append(head, body...)) // a refused client finds out by reading
}

// connect says who it is and returns the code of the answer, or -1 when the
// connection ends.
func (r raw) connect(id, willTopic string) int { return r.start(id, willTopic, "gone") }

// start is connect with the text of the will.
func (r raw) start(id, willTopic, text string) int {
	flags, will := byte(2), ""
	if willTopic != "" {
		flags, will = 6, field(willTopic)+field(text)
	}
	r.packet(0x10, field("MQTT")+string([]byte{4, flags, 0, 30})+field(id)+will)
	var ack [4]byte
	if _, err := io.ReadFull(r, ack[:]); err != nil {
		return -1
	}
	return int(ack[3])
}

func (r raw) publish(topic string) { r.packet(0x30, field(topic)+"{}") }

// subscribe returns the granted QoS, or 128.
func (r raw) subscribe(filter string) int {
	r.packet(0x82, "\x00\x01"+field(filter)+"\x00")
	var ack [5]byte
	if _, err := io.ReadFull(r, ack[:]); err != nil {
		return -1
	}
	return int(ack[4])
}

// ended waits for the broker to close the connection.
func (r raw) ended() bool {
	_, err := io.Copy(io.Discard, r)
	var timeout net.Error
	return err == nil || !errors.As(err, &timeout) || !timeout.Timeout()
}

func TestACL(t *testing.T) {
	for _, c := range []struct {
		id, topic     string
		publish, read bool
	}{
		{"w1-ne", "nodes/w1/information", true, true},
		{"w1-net", "nodes/w1/net/report", true, true},
		{"w1", "nodes/w1/net/subnet", true, true}, // an original NetManager
		{"w1-ne", "nodes/w1/control/deploy", false, true},
		{"w1-ne", "nodes/w1/control/#", false, true},
		{"w1-ne", "nodes/w2/information", false, false},
		{"w1-ne", "nodes/+/information", false, false},
		{"w1-ne", "nodes/#", false, false},
		{"w1-ne", "#", false, false},
		{"w1-ne", "$SYS/broker/uptime", false, false},
		{"w1-ne", "jobs/a.b.c.d/updates_available", false, true},
		{"w1-ne", "jobs/+/updates_available", false, true},
		{"w1-ne", "jobs/#", false, false},
		{"w1-ne", "jobs/a/other", false, false},
		{"a-net", "nodes/a-net/net/subnet", true, true}, // the original one of node "a-net"
		{"-ne", "nodes//information", false, false},
	} {
		if got := mayPublish(c.id, c.topic); got != c.publish {
			t.Errorf("%s publishes %s: %v", c.id, c.topic, got)
		}
		if got := mayRead(c.id, c.topic); got != c.read {
			t.Errorf("%s reads %s: %v", c.id, c.topic, got)
		}
	}
}

// TestForeignTopics: by effect, on a running broker.
func TestForeignTopics(t *testing.T) {
	b, h := serve(t, Config{})
	c := dial(t, b, "127.0.0.1")
	if code := c.connect("w1-ne", "nodes/w1/gone"); code != 0 {
		t.Fatalf("connect: %d", code)
	}
	if got := c.subscribe("nodes/w2/control/deploy"); got != 128 {
		t.Fatalf("subscribing to another node's commands: %d", got)
	}
	if got := c.subscribe("nodes/w1/control/deploy"); got != 0 {
		t.Fatalf("subscribing to its own commands: %d", got)
	}
	c.publish("nodes/w2/job")
	c.publish("nodes/w1/job")
	<-h.bell
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.Join(h.topics, " ") != "nodes/w1/job" {
		t.Fatalf("heard %v", h.topics)
	}
	if b.Stats().Refused != 2 {
		t.Fatalf("stats %+v", b.Stats())
	}
}

// TestConnectRefused: no id, an id that would change topics, a will for
// somebody else, a node that may not come from there.
func TestConnectRefused(t *testing.T) {
	b, _ := serve(t, Config{Admit: func(node string, from netip.Addr) bool {
		return node != "banned" && from == netip.MustParseAddr("127.0.0.1")
	}})
	for _, c := range []struct {
		id, will string
		ok       bool
	}{
		{"w1-ne", "nodes/w1/gone", true},
		{"w2-ne", "nodes/w1/gone", false},
		{"w2-ne", "nodes/w2/control/delete", false},
		{"", "", false},
		{"a/b", "", false},
		{"+", "", false},
		{"banned", "", false},
	} {
		if code := dial(t, b, "127.0.0.1").connect(c.id, c.will); (code == 0) != c.ok {
			t.Errorf("client %q with will %q: code %d", c.id, c.will, code)
		}
	}
}

// TestIncumbent: a client id belongs to who has it while it is heard; the same
// address takes over at once.
func TestIncumbent(t *testing.T) {
	b, _ := serve(t, Config{})
	first := dial(t, b, "127.0.0.1")
	if code := first.connect("w1-ne", ""); code != 0 {
		t.Fatalf("connect: %d", code)
	}
	if code := dial(t, b, "127.0.0.2").connect("w1-ne", ""); code == 0 {
		t.Fatal("another address took the id")
	}
	if code := dial(t, b, "127.0.0.1").connect("w1-ne", ""); code != 0 {
		t.Fatalf("the same address was refused: %d", code)
	}
	if !first.ended() {
		t.Fatal("two sessions with one id")
	}
}

// TestTwoStartsAtOneAddress: another start of an agent does not push out one
// that is heard, even from its address, where a gateway may stand before both.
func TestTwoStartsAtOneAddress(t *testing.T) {
	b, _ := serve(t, Config{})
	connect := func(boot string) (raw, int) {
		c := dial(t, b, "127.0.0.1")
		return c, c.start("w1-ne", "nodes/w1/gone", `{"agent":"node","boot":"`+boot+`"}`)
	}
	first, code := connect("b1")
	if code != 0 {
		t.Fatalf("connect: %d", code)
	}
	if _, code := connect("b2"); code == 0 {
		t.Fatal("another start took the id")
	}
	again, code := connect("b1")
	if code != 0 || !first.ended() {
		t.Fatalf("the same start came again: %d", code)
	}
	_ = again.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until the broker has noticed
		if _, code = connect("b2"); code == 0 || time.Now().After(end) {
			break
		}
	}
	if code != 0 {
		t.Fatalf("the first one is gone: %d", code)
	}
}

// TestIncumbentSilent: who is not heard any more loses the id.
func TestIncumbentSilent(t *testing.T) {
	b, _ := serve(t, Config{Incumbent: time.Nanosecond})
	if code := dial(t, b, "127.0.0.1").connect("w1-ne", ""); code != 0 {
		t.Fatalf("connect: %d", code)
	}
	if code := dial(t, b, "127.0.0.2").connect("w1-ne", ""); code != 0 {
		t.Fatalf("the silent incumbent kept the id: %d", code)
	}
}

// TestStrangers: who says nothing is cut, and takes no more room than allowed.
func TestStrangers(t *testing.T) {
	b, _ := serve(t, Config{ConnectTimeout: 200 * time.Millisecond, MaxPending: 4})
	var silent []raw
	for range 4 {
		silent = append(silent, dial(t, b, "127.0.0.1"))
	}
	if !dial(t, b, "127.0.0.1").ended() {
		t.Fatal("a fifth stranger was let wait")
	}
	if code := dial(t, b, "127.0.0.2").connect("w2-ne", ""); code != 0 {
		t.Fatalf("another address suffers: %d", code)
	}
	for _, s := range silent {
		if !s.ended() {
			t.Fatal("a silent stranger stays")
		}
	}
	if code := dial(t, b, "127.0.0.1").connect("w1-ne", ""); code != 0 {
		t.Fatalf("after the strangers left: %d", code)
	}
}

// TestTooLarge: a packet beyond the bound ends the connection unread.
func TestTooLarge(t *testing.T) {
	b, _ := serve(t, Config{MaxPacket: 1 << 12})
	c := dial(t, b, "127.0.0.1")
	if code := c.connect("w1-ne", ""); code != 0 {
		t.Fatalf("connect: %d", code)
	}
	c.packet(0x30, field("nodes/w1/job")+strings.Repeat("x", 1<<13))
	if !c.ended() {
		t.Fatal("the packet was taken")
	}
}

// TestSlowClient: who does not read is cut; publishing never waits, and others
// get theirs.
func TestSlowClient(t *testing.T) {
	b, _ := serve(t, Config{MaxQueued: 16, WriteTimeout: time.Hour})
	slow, good := dial(t, b, "127.0.0.1"), dial(t, b, "127.0.0.1")
	for _, c := range []struct {
		raw
		node string
	}{{slow, "slow"}, {good, "good"}} {
		if c.connect(c.node+"-ne", "") != 0 || c.subscribe("nodes/"+c.node+"/control/deploy") != 0 {
			t.Fatal("no session")
		}
	}
	payload := make([]byte, 1<<18)
	for i := 0; b.Stats().Dropped == 0; i++ {
		if i > 5000 {
			t.Fatal("the slow client is never cut")
		}
		began := time.Now()
		if err := b.Publish("nodes/slow/control/deploy", payload); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("publishing waited %s for the slow client", took)
		}
	}
	if err := b.Publish("nodes/good/control/deploy", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	want := field("nodes/good/control/deploy") + "hello"
	got := make([]byte, 2+len(want))
	if _, err := io.ReadFull(good, got); err != nil || string(got[2:]) != want {
		t.Fatalf("the good client got %q, %v", got, err)
	}
	if !slow.ended() {
		t.Fatal("the slow client still has its connection")
	}
}

// TestStuckWrite: a write that does not get through ends the connection even
// when the queue is never full.
func TestStuckWrite(t *testing.T) {
	b, _ := serve(t, Config{WriteTimeout: 100 * time.Millisecond})
	c := dial(t, b, "127.0.0.1")
	if c.connect("w-ne", "") != 0 || c.subscribe("nodes/w/control/deploy") != 0 {
		t.Fatal("no session")
	}
	payload := make([]byte, 1<<22)
	for range 8 { // more than two socket buffers
		if err := b.Publish("nodes/w/control/deploy", payload); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); b.Stats().Connected > 0; {
		if time.Now().After(end) {
			t.Fatal("the connection stays")
		}
		time.Sleep(10 * time.Millisecond) // real sockets: polled with a bound
	}
}

// TestFlood: many clients that come, talk and vanish at once leave nothing
// behind and stop nobody.
func TestFlood(t *testing.T) {
	b, h := serve(t, Config{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for range 20 {
				c := dial(t, b, "127.0.0.1")
				c.connect(string(rune('a'+i))+"-ne", "")
				c.publish("nodes/zz/job") // not its own
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	c := dial(t, b, "127.0.0.1")
	if code := c.connect("w1-ne", ""); code != 0 {
		t.Fatalf("connect after the flood: %d", code)
	}
	c.publish("nodes/w1/job")
	<-h.bell
	if b.current().Clients.Len() > 22 {
		t.Errorf("%d clients remembered", b.current().Clients.Len())
	}
}

func TestNotRunning(t *testing.T) {
	b := New(Config{Listen: "127.0.0.1:0"}, nil)
	if err := b.Publish("x", nil); !errors.Is(err, errs.Unavailable) {
		t.Errorf("publish before Run: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if err := New(Config{Listen: taken.Addr().String()}, nil).Run(t.Context()); !errors.Is(err, errs.Unavailable) {
		t.Errorf("run on a taken port: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := Config{Listen: "nowhere", MaxQueued: -1, MaxPacket: -1}.Validate()
	if !errors.Is(err, errs.Invalid) || strings.Count(err.Error(), ";") != 2 {
		t.Errorf("three mistakes: %v", err)
	}
}

// TestCloseDoesNotWait for clients that do not read.
func TestCloseDoesNotWait(t *testing.T) {
	b := New(Config{Listen: "127.0.0.1:0", WriteTimeout: time.Hour}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Ready()
	for _, id := range []string{"a", "b"} {
		c := dial(t, b, "127.0.0.1")
		if c.connect(id, "") != 0 || c.subscribe("nodes/"+id+"/control/deploy") != 0 {
			t.Fatal("no session")
		}
		for range 8 { // more than two socket buffers
			if err := b.Publish("nodes/"+id+"/control/deploy", make([]byte, 1<<22)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the broker does not end")
	}
}
