package clusterlink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"oakestra/api/mqtt"
	"oakestra/netmanager"
	"oakestra/netmanager/clusterlink"
	"oakestra/netmanager/host/hostfake"
	"oakestra/netmanager/local"
	"oakestra/netmanager/plan"
	"oakestra/netmanager/state"
	"oakestra/pkg/testkit"
)

// broker is an MQTT broker in this process that notes what agents say.
type broker struct {
	t      *testing.T
	addr   string
	server *mochi.Server

	mu      sync.Mutex
	heard   []message
	clients []credentials
}

type message struct{ topic, payload string }

type credentials struct{ id, user, password string }

// door lets everybody in and notes who came.
type door struct {
	mochi.HookBase
	b *broker
}

func (d *door) ID() string { return "door" }
func (d *door) Provides(b byte) bool {
	return slices.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish}, b)
}
func (d *door) OnACLCheck(*mochi.Client, string, bool) bool { return true }
func (d *door) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	d.b.clients = append(d.b.clients, credentials{cl.ID, string(pk.Connect.Username), string(pk.Connect.Password)})
	return true
}

func newBroker(t *testing.T) *broker {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, addr: ln.Addr().String()}
	ln.Close()
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	s := mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	err := s.AddHook(&door{b: b}, nil)
	if err == nil {
		err = s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: b.addr}))
	}
	if err == nil {
		err = s.Subscribe("nodes/#", 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.heard = append(b.heard, message{pk.TopicName, string(pk.Payload)})
		})
	}
	if err == nil {
		err = s.Serve()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.server = s
}

func (b *broker) stop() {
	if b.server != nil {
		if err := b.server.Close(); err != nil {
			b.t.Error(err)
		}
		b.server = nil
	}
}

func (b *broker) say(suffix, payload string) {
	b.t.Helper()
	if err := b.server.Publish(mqtt.NodeTopic("n1", suffix), []byte(payload), false, 0); err != nil {
		b.t.Fatal(err)
	}
}

// said lists the payloads on one of n1's topics.
func (b *broker) said(suffix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, m := range b.heard {
		if m.topic == mqtt.NodeTopic("n1", suffix) {
			out = append(out, m.payload)
		}
	}
	return out
}

func (b *broker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = nil
}

func decodeAll[T any](t *testing.T, payloads []string) []T {
	t.Helper()
	out := make([]T, len(payloads))
	for i, p := range payloads {
		if err := json.Unmarshal([]byte(p), &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (b *broker) reports() []mqtt.NetReport {
	return decodeAll[mqtt.NetReport](b.t, b.said(mqtt.UpNetReport))
}

// acked waits for an acknowledgement of the version, with or without an error.
func (b *broker) acked(version uint64, refused bool) {
	b.t.Helper()
	b.eventually(func() bool {
		return slices.ContainsFunc(decodeAll[mqtt.NetAck](b.t, b.said(mqtt.UpNetAck)), func(a mqtt.NetAck) bool {
			return a.Version == version && (a.Error != "") == refused
		})
	})
}

func (b *broker) eventually(ok func() bool) {
	b.t.Helper()
	testkit.Eventually(b.t, 10*time.Second, func() error {
		if ok() {
			return nil
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return fmt.Errorf("heard so far: %v", b.heard)
	})
}

// node is a whole NetManager on a machine in memory.
type node struct {
	t      *testing.T
	broker *broker
	host   *hostfake.Host
	daemon *netmanager.Daemon
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const secret = "the-key-of-this-node"

func startNode(t *testing.T, b *broker) *node {
	t.Helper()
	n := &node{t: t, broker: b, host: hostfake.New(), log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n.daemon = netmanager.New(netmanager.DefaultConfig(), netmanager.Deps{
		Host: n.host, File: state.Open(t.TempDir()), Logger: log,
		Dial: func(target netmanager.Target) netmanager.Uplink { return clusterlink.New(target, log) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.daemon.Loop(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(n.log)
		}
	})
	return n
}

// register asks in the background; the answer comes with the subnet.
func (n *node) register() <-chan error {
	n.t.Helper()
	host, port, _ := net.SplitHostPort(n.broker.addr)
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		n.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		got, err := n.daemon.Register(context.Background(), local.Registration{Node: "n1", Cluster: host, Port: number, Key: secret})
		if err == nil && got.Subnet.String() != "10.18.0.64/26" {
			err = fmt.Errorf("registered with %s", got.Subnet)
		}
		done <- err
	}()
	return done
}

const subnetAnswer = `{"address":"10.18.0.64","addressv6":"fc00::100","bits":26}`

func (n *node) ready() {
	n.t.Helper()
	done := n.register()
	n.broker.eventually(func() bool { return len(n.broker.said(mqtt.UpSubnet)) > 0 })
	n.broker.say(mqtt.DownSubnet, subnetAnswer)
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// holds waits until the kernel has the service with that many backends.
func (n *node) holds(service string, backends int) {
	n.t.Helper()
	n.broker.eventually(func() bool {
		for _, s := range n.host.Desired().Services {
			if s.Address.String() == service {
				return len(s.Backends) == backends
			}
		}
		return backends < 0
	})
}

func TestTheSubnetIsAskedForUntilAnswered(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	n := startNode(t, b)
	done := n.register()
	b.eventually(func() bool { return len(b.said(mqtt.UpSubnet)) >= 3 })
	b.say(mqtt.DownSubnet, `{"address":"","addressv6":"","error":"no block yet"}`)
	b.say(mqtt.DownSubnet, `nonsense`)
	b.eventually(func() bool {
		err := n.daemon.Ready(context.Background())
		return err != nil && strings.Contains(err.Error(), "no block yet")
	})
	b.say(mqtt.DownSubnet, subnetAnswer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Reports go on every 2 s, in order, the first one alone in full.
	b.eventually(func() bool { return len(b.reports()) >= 4 })
	for i, r := range b.reports() {
		if r.Snapshot != (i == 0) || r.Seq != uint64(i+1) || r.Boot != b.reports()[0].Boot {
			t.Errorf("report %d: %+v", i, r)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := (credentials{"n1-net", "n1", secret}); !slices.Equal(b.clients, []credentials{want}) {
		t.Errorf("clients %v, want %v", b.clients, want)
	}
	if strings.Contains(n.log.String(), secret) {
		t.Errorf("the key is in the log:\n%s", n.log)
	}
	if text := n.log.String(); strings.Contains(text, "invalid IP") || strings.Contains(text, "invalid Prefix") {
		t.Errorf("the log prints what is not there:\n%s", text)
	}
	if !strings.Contains(n.log.String(), "message from the cluster makes no sense") {
		t.Errorf("the nonsense is not logged:\n%s", n.log)
	}
}

const web = `"tables":[{"service_id":"5f","name":"a.n.s.n","address":"10.30.30.30","entries":[{"instance":0,"instance_ip":"10.30.0.22","nsip":"10.18.4.2","node":"w2"}]}],
	"peers":[{"node":"w2","host_ip":"192.0.2.8","host_port":50103,"subnet":"10.18.4.0/26","dataplane":"vxlan"}]`

func TestStatesAreAppliedAndAcknowledged(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	n := startNode(t, b)
	n.ready()
	snapshots := func() int {
		count := 0
		for _, r := range b.reports() {
			if r.Snapshot {
				count++
			}
		}
		return count
	}
	b.eventually(func() bool { return snapshots() == 1 })

	// A change before any snapshot is a gap.
	b.say(mqtt.DownNetState, `{"epoch":"e1","base":3,"version":4,`+web+`}`)
	b.eventually(func() bool { return snapshots() == 2 })
	b.say(mqtt.DownNetState, `{"epoch":"e1","version":5,"snapshot":true,`+web+`}`)
	b.acked(5, false)
	n.holds("10.30.30.30", 1)
	b.say(mqtt.DownNetState, `{"epoch":"e1","base":5,"version":6,"tables":[{"service_id":"5f","name":"a.n.s.n","address":"10.30.30.30"}]}`)
	b.acked(6, false)
	n.holds("10.30.30.30", 0)
	b.say(mqtt.DownNetState, `{"epoch":"e1","base":5,"version":6,"gone_tables":["5f"]}`) // once more: old
	b.say(mqtt.DownNetState, `{"epoch":"e1","base":8,"version":9,"gone_tables":["5f"]}`)
	b.eventually(func() bool { return snapshots() == 3 })
	n.holds("10.30.30.30", 0)
	b.say(mqtt.DownNetState, `{"epoch":"e2","base":6,"version":7,"gone_tables":["5f"]}`) // of another start
	b.eventually(func() bool { return snapshots() == 4 })
	b.say(mqtt.DownNetState, `{"epoch":`)
	b.say(mqtt.DownNetState, `{"epoch":"e2","version":2,"snapshot":true,`+web+`}`)
	b.acked(2, false)
	n.holds("10.30.30.30", 1)

	// What the kernel refuses is said so, and acknowledged once it is in.
	n.host.Fail("Apply", fmt.Errorf("no memory"))
	b.say(mqtt.DownNetState, `{"epoch":"e2","base":2,"version":3,"gone_tables":["5f"]}`)
	b.acked(3, true)
	n.host.Fail("Apply", nil)
	b.acked(3, false)
	n.holds("10.30.30.30", -1)
	for _, a := range decodeAll[mqtt.NetAck](t, b.said(mqtt.UpNetAck)) {
		if a.Version == 9 || a.Version == 7 {
			t.Errorf("acknowledged %d, which was never taken", a.Version)
		}
	}
	b.eventually(func() bool {
		last := b.reports()
		return last[len(last)-1].Applied == 3
	})
}

func TestABrokerThatIsAwayChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	n := startNode(t, b)
	n.ready()
	b.say(mqtt.DownNetState, `{"epoch":"e1","version":5,"snapshot":true,`+web+`}`)
	b.acked(5, false)
	b.stop()
	deployed, err := n.daemon.Deploy(context.Background(), local.Deployment{Pid: 4711, Endpoint: endpointOf("b.n.s.n")})
	if err != nil {
		t.Fatal(err)
	}
	n.holds("10.30.30.30", 1)
	b.forget()
	b.start()
	b.eventually(func() bool { return len(b.reports()) >= 2 })
	first := b.reports()[0]
	if !first.Snapshot || len(first.Endpoints) != 1 || first.Endpoints[0].NamespaceIP != deployed.Address.String() {
		t.Errorf("first report of the new session: %+v", first)
	}
	if b.reports()[1].Snapshot {
		t.Error("the second report is in full, too")
	}
	if early := b.said(mqtt.UpDeployed); len(early) != 0 {
		t.Errorf("told apart what the first report says: %v", early)
	}
	// What came before the new session's snapshot does not count as its base.
	b.say(mqtt.DownNetState, `{"epoch":"e1","base":5,"version":6,"gone_tables":["5f"]}`)
	b.eventually(func() bool {
		list := b.reports()
		return list[len(list)-1].Snapshot
	})
	n.holds("10.30.30.30", 1)
}

func TestTheWillIsSentWhenTheConnectionBreaksOnly(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	log := testkit.Logger(t)
	host, port, _ := net.SplitHostPort(b.addr)
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	link := clusterlink.New(netmanager.Target{Node: "n1", Host: host, Port: number}, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- link.Run(ctx) }()
	session := func() {
		t.Helper()
		if m := <-link.Inbound(); !m.Session {
			t.Fatalf("first %+v", m)
		}
	}
	session()
	client, ok := b.server.Clients.Get("n1-net")
	if !ok {
		t.Fatal("the broker does not know the client")
	}
	// Not client.Stop: the broker may take that for a clean end.
	if err := client.Net.Conn.Close(); err != nil {
		t.Fatal(err)
	}
	b.eventually(func() bool { return len(b.said(mqtt.UpGone)) == 1 })
	session()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.eventually(func() bool { return b.server.Clients.Len() == 1 || client.Closed() })
	gone := decodeAll[mqtt.Gone](t, b.said(mqtt.UpGone))
	if len(gone) != 1 || gone[0].Agent != "net" || gone[0].Boot == "" {
		t.Errorf("wills %+v, want one of net", gone)
	}
}

func endpointOf(name string) plan.Endpoint {
	return plan.Endpoint{Service: "id-" + name, Name: name}
}
