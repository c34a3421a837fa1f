package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/netmanager/host/hostfake"
	"oakestra/netmanager/local"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/pkg/core/model"
)

// Machine is a worker: disk, kernel and containers, which outlive its agents.
type Machine struct {
	w       *World
	Name    string // host name
	Home    *Cluster
	Address netip.Addr
	Room    model.Resources
	Key     string
	dir     string
	cable   *cable // to the cluster
	Runtime *fakeruntime.Fake
	slow    *rand.Rand

	OffForGood bool // it never returns; set by the scenario

	mu     sync.Mutex
	on     bool
	boots  int
	kernel *hostfake.Host
	engine *process
	net    *process
	runner *runner.Runner
	api    http.Handler // of the running NetManager
	handle *memlink.Node
	toEng  chan nodelink.Outbound
	toNet  chan nodelink.Outbound
	id     model.NodeID // as the cluster gave it last
}

// process is something that runs until it is ended.
type process struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func launch(f func(ctx context.Context)) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel, make(chan struct{})}
	go func() { defer close(p.done); f(ctx) }()
	return p
}

func (p *process) end() {
	if p != nil {
		p.cancel()
		<-p.done
	}
}

// NewMachine makes a worker of a cluster; it is off.
func (w *World) NewMachine(home *Cluster, name string, room model.Resources) *Machine {
	w.t.Helper()
	n := len(w.Machines()) + 1
	m := &Machine{
		w: w, Name: name, Home: home, Room: room, Key: fmt.Sprintf("key of machine %d", n), cable: newCable(), Runtime: fakeruntime.New(),
		Address: netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)}), slow: rand.New(rand.NewPCG(w.Seed, uint64(n))),
		dir: filepath.Join(w.dir, fmt.Sprintf("machine%d", n)),
	}
	m.kernel = hostfake.New()
	m.kernel.SetUnderlay(m.Address, 1500)
	m.cable.onEdge = func(cut bool) {
		if h := m.node(); h != nil && cut {
			h.Disconnect()
		} else if h != nil {
			h.Connect()
		}
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.machines = append(w.machines, m)
	w.mu.Unlock()
	return m
}

func (m *Machine) node() *memlink.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handle
}

// PowerOn boots the machine and starts both agents.
func (m *Machine) PowerOn() {
	m.mu.Lock()
	if m.on {
		m.mu.Unlock()
		return
	}
	m.on = true
	m.boots++
	m.mu.Unlock()
	m.StartNet()
	m.StartEngine()
}

// PowerOff ends everything at once: agents, containers, kernel state.
func (m *Machine) PowerOff() {
	m.mu.Lock()
	m.on = false
	m.mu.Unlock()
	m.StopEngine(false)
	m.StopNet(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kernel = hostfake.New()
	m.kernel.SetUnderlay(m.Address, 1500)
	list, _ := m.Runtime.List(context.Background())
	for _, c := range list {
		if c.Pid != 0 {
			m.kernel.Kill(int(c.Pid))
		}
	}
	m.Runtime.Reboot()
}

// On says whether it has power.
func (m *Machine) On() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on
}

// StartEngine starts NodeEngine.
func (m *Machine) StartEngine() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on && m.engine == nil {
		m.toEng = make(chan nodelink.Outbound, 1024)
		e := m.newEngine(fmt.Sprintf("boot %d", m.boots), m.toEng)
		m.runner = e.runner
		m.engine = launch(e.run)
	}
}

// StopEngine kills NodeEngine; containers stay. will: the broker notices.
func (m *Machine) StopEngine(will bool) {
	m.mu.Lock()
	p := m.engine
	m.engine, m.runner, m.toEng = nil, nil, nil
	m.mu.Unlock()
	p.end()
	if p != nil && will {
		m.send(nodelink.Inbound{Gone: &nodelink.Gone{Agent: "node"}})
	}
}

// StartNet starts NetManager.
func (m *Machine) StartNet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on && m.net == nil {
		m.toNet = make(chan nodelink.Outbound, 1024)
		n := m.newOverlay(m.kernel, m.toNet)
		m.api = local.Handler(n.daemon, m.log("net"))
		m.net = launch(n.run)
	}
}

// StopNet kills NetManager; the data plane stays.
func (m *Machine) StopNet(will bool) {
	m.mu.Lock()
	p := m.net
	m.net, m.api, m.toNet = nil, nil, nil
	m.mu.Unlock()
	p.end()
	if p != nil && will {
		m.send(nodelink.Inbound{Gone: &nodelink.Gone{Agent: "net"}})
	}
}

// attach opens a session with the broker of a cluster's present life.
func (m *Machine) attach(l *life, id model.NodeID) {
	h := l.hub.Node(id)
	m.mu.Lock()
	m.handle, m.id = h, id
	m.mu.Unlock()
	if !m.cable.isCut() {
		h.Connect()
	}
	l.route(id, m)
}

func (m *Machine) send(in nodelink.Inbound) {
	if h := m.node(); h != nil {
		h.Send(in)
	}
}

// deliver hands a message to the agent it is for, if that runs.
func (m *Machine) deliver(out nodelink.Outbound) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := m.toNet
	if out.Deploy != nil || out.Delete != nil || out.Probe != nil {
		to = m.toEng
	}
	select {
	case to <- out: // nil: the agent is down
	default:
	}
}

// RoundTrip is NodeEngine's way to NetManager on its machine.
func (m *Machine) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	api := m.api
	m.mu.Unlock()
	if api == nil {
		return nil, errRefused
	}
	out := httptest.NewRecorder()
	api.ServeHTTP(out, r)
	return out.Result(), nil
}

// Records is what the running NodeEngine knows; nil when it is down.
func (m *Machine) Records() []runner.Record {
	m.mu.Lock()
	r := m.runner
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.Snapshot()
}

// ID is how the cluster calls it.
func (m *Machine) ID() model.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Live lists the containers whose process runs.
func (m *Machine) Live() []runtime.Container {
	list, _ := m.Runtime.List(context.Background())
	var out []runtime.Container
	for _, c := range list {
		if c.Phase == runtime.Running {
			out = append(out, c)
		}
	}
	return out
}

// Exit ends a container by itself.
func (m *Machine) Exit(c runtime.Container, code int32) {
	m.mu.Lock()
	m.kernel.Kill(int(c.Pid))
	m.mu.Unlock()
	m.Runtime.Exit(c.Spec.ID(), code)
}

// tardy is a runtime that takes its time.
type tardy struct {
	*fakeruntime.Fake
	m *Machine
}

func (t tardy) Pull(ctx context.Context, image string, progress func(string)) error {
	t.m.mu.Lock()
	d := time.Duration(t.m.slow.IntN(1500)) * time.Millisecond
	t.m.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	return t.Fake.Pull(ctx, image, progress)
}

func (t tardy) Stop(ctx context.Context, id string, grace time.Duration) error {
	list, _ := t.List(ctx)
	for _, c := range list {
		if c.Spec.ID() == id {
			t.m.w.watch.stopping(t.m, c.Spec.Attempt())
		}
	}
	err := t.Fake.Stop(ctx, id, grace)
	for _, c := range list {
		if c.Spec.ID() == id && err == nil {
			t.m.mu.Lock()
			t.m.kernel.Kill(int(c.Pid))
			t.m.mu.Unlock()
		}
	}
	return err
}

func (t tardy) Start(ctx context.Context, id string) error {
	err := t.Fake.Start(ctx, id)
	if err != nil {
		return err
	}
	list, _ := t.List(ctx)
	for _, c := range list {
		if c.Spec.ID() == id {
			t.m.w.watch.started(t.m, c.Spec.Attempt())
		}
	}
	return nil
}
