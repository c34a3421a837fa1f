package linktest

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// patience bounds every wait for a message that must come.
const patience = 10 * time.Second

// Agent is the worker's side: both agents of one node.
type Agent interface {
	// Send hands a message to the manager.
	Send(t testing.TB, in nodelink.Inbound)
	// Recv waits for a message; ok is false when ctx ends first.
	Recv(ctx context.Context) (m nodelink.Outbound, ok bool)
}

// Rig is a running link and the means to be a worker on it.
type Rig struct {
	Link nodelink.Link
	// Agent connects the agents of a node; it returns once they hear.
	Agent func(t testing.TB, id model.NodeID) Agent
	// Restart takes the broker away and brings it back, with all agents
	// connected again; nil when the link has none.
	Restart func(t testing.TB)
}

// Run checks a link. factory makes a fresh one, running, for every test.
func Run(t *testing.T, factory func(t *testing.T) Rig) {
	tests := []struct {
		name string
		run  func(t *testing.T, r Rig)
	}{
		{"Up", testUp}, {"Down", testDown}, {"Order", testOrder}, {"Strangers", testStrangers},
		{"Absent", testAbsent}, {"Bells", testBells}, {"Restart", testRestart},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			r := factory(t)
			if in := next(t, r.Link); in.Serving == nil {
				t.Fatalf("first message is %+v, want Serving", in)
			}
			c.run(t, r)
		})
	}
}

var equal = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func next(t testing.TB, l nodelink.Link) nodelink.Inbound {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case in := <-l.Inbound():
		return in
	case <-timer.C:
		t.Fatal("no message from the link")
		return nodelink.Inbound{}
	}
}

func recv(t testing.TB, a Agent) nodelink.Outbound {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, ok := a.Recv(ctx)
	if !ok {
		t.Fatal("no message for the worker")
	}
	return m
}

func send(t testing.TB, l nodelink.Link, n model.NodeID, m nodelink.Outbound) {
	t.Helper()
	if err := l.Send(t.Context(), n, m); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// Ups is one message of every kind that comes from a worker.
func Ups() []nodelink.Inbound {
	observed := instance.Observed{
		Epoch: instance.Epoch{Grant: instance.MakeGrant(1, 9), Try: 2}, State: instance.Running, Seq: 4, Reason: "r", Exit: 3,
	}
	ep := nodelink.Endpoint{
		Service: "5f", JobName: "a.b.c.d", Number: 3, Epoch: observed.Epoch,
		NamespaceIP: netip.MustParseAddr("10.18.0.2"), HostIP: netip.MustParseAddr("192.0.2.7"), HostPort: 50103,
	}
	gone := ep
	gone.HostIP, gone.HostPort = netip.Addr{}, 0
	return []nodelink.Inbound{
		{Report: &nodelink.NodeReport{
			Boot: "b", Seq: 7, Usage: model.Usage{CPUPercent: 12.5, MemoryPercent: 50}, FreeMemory: 900, Complete: true,
			Containers: []nodelink.Container{{
				Service: "5f", JobName: "a.b.c.d", Number: 3, Observed: observed,
				Vital: instance.Vital{
					Boot: "b", Seq: 7, Usage: model.Usage{CPUPercent: 1.5, MemoryBytes: 4096, DiskBytes: 5},
					NamespaceIP: ep.NamespaceIP, Healthy: true, LogTail: "tail",
				},
			}},
		}},
		{Change: &nodelink.StateChange{
			Service: "5f", JobName: "a.b.c.d", Number: 3, Observed: observed, Word: "RUNNING", PublicIP: "192.0.2.7",
		}},
		{Gone: &nodelink.Gone{Agent: "net", Boot: "b"}},
		{Net: &nodelink.NetReport{
			Boot: "b", Seq: 8, Snapshot: true, Dataplane: model.DataplaneVXLAN, HostIP: netip.MustParseAddr("192.0.2.7"),
			HostPort: 50103, Subnet: netip.MustParsePrefix("10.18.0.0/26"), Applied: 1 << 50,
			Endpoints: []nodelink.Endpoint{ep}, Interests: []string{"a.b.c.d"},
		}},
		{Subnet: &nodelink.SubnetRequest{}},
		{Deployed: &ep},
		{Undeployed: &gone},
		{Query: &nodelink.TableQuery{Name: "a.b.c.d", Key: "a.b.c.d"}},
		{Query: &nodelink.TableQuery{Address: netip.MustParseAddr("10.30.30.30"), Key: "10.30.30.30"}},
		{Uninterest: &nodelink.Uninterest{Name: "a.b.c.d"}},
		{Ack: &nodelink.NetAck{Boot: "b", Version: 1 << 50, Error: "why"}},
	}
}

func testUp(t *testing.T, r Rig) {
	r.Link.Allow([]model.NodeID{"w1"})
	a := r.Agent(t, "w1")
	for _, want := range Ups() {
		a.Send(t, want)
		want.Node = "w1"
		if d := cmp.Diff(want, next(t, r.Link), equal); d != "" {
			t.Errorf("message changed on its way (-sent +arrived):\n%s", d)
		}
	}
}

// Downs is one message of every kind that goes to one worker.
func Downs() []nodelink.Outbound {
	at := instance.Attempt{
		Instance: model.InstanceID{Service: "5f", Number: 3},
		Epoch:    instance.Epoch{Grant: instance.MakeGrant(1, 9), Try: 2},
	}
	name, _ := model.ParseServiceName("a.b.c.d")
	table := nodelink.Table{
		Service: "5f", Name: name, Address: netip.MustParseAddr("10.30.30.30"), Tenant: "Admin",
		Entries: []nodelink.TableEntry{{
			Number: 3, InstanceAddress: netip.MustParseAddr("10.30.0.22"), NamespaceIP: netip.MustParseAddr("10.18.0.66"), Node: "w2",
		}},
	}
	answer := table
	answer.Tenant = ""
	answer.Entries = []nodelink.TableEntry{{
		Number: 3, InstanceAddress: netip.MustParseAddr("10.30.0.22"), NamespaceIP: netip.MustParseAddr("10.18.0.66"),
		HostIP: netip.MustParseAddr("192.0.2.8"), HostPort: 50103,
	}}
	return []nodelink.Outbound{
		{Deploy: &nodelink.Deploy{
			Attempt: at, Name: name, Runtime: "docker",
			Spec: model.ServiceSpec{
				Image: "docker.io/library/nginx:latest", Command: []string{"sh", "-c", "x"}, Environment: []string{"A=b"},
				Demand: model.Resources{MilliCPU: 1500, MemoryMB: 100, GPUs: 1, DiskMB: 7}, PortText: "6080:60/tcp", OneShot: true,
			},
			ServiceAddress: table.Address, InstanceAddress: table.Entries[0].InstanceAddress, Tenant: "Admin",
		}},
		{Delete: &nodelink.Delete{Attempt: at, Name: name, Runtime: "docker", GraceMS: 500}},
		{Probe: &nodelink.Probe{}},
		{Session: &nodelink.Session{ID: "0af1", Kind: "logs", Attempt: at, Follow: true, Tail: 10, SinceMS: 60000}},
		{Session: &nodelink.Session{ID: "0af2", Kind: "exec", Attempt: at, Command: []string{"sh", "-c", "x"}, Stdin: true, TTY: true, Columns: 80, Rows: 24}},
		{Subnet: &nodelink.SubnetResult{Subnet: netip.MustParsePrefix("10.18.0.64/26")}},
		{Subnet: &nodelink.SubnetResult{Error: "none yet"}},
		{Table: &nodelink.TableResult{Key: "10.30.30.30", Known: true, Service: answer, Version: 1 << 50}},
		{Table: &nodelink.TableResult{Key: "10.30.30.31"}},
		{Net: &nodelink.NetState{
			Epoch: "e", Base: 4, Version: 5, Tables: []nodelink.Table{table}, GoneTables: []model.ServiceID{"60"},
			Peers: []nodelink.Peer{{
				Node: "w2", HostIP: netip.MustParseAddr("192.0.2.8"), HostPort: 50103,
				Subnet: netip.MustParsePrefix("10.18.0.64/26"), Dataplane: model.DataplaneVXLAN,
				Identities: []nodelink.Identity{{
					NamespaceIP: netip.MustParseAddr("10.18.0.66"), InstanceAddress: netip.MustParseAddr("10.30.0.22"), Tenant: "Admin",
				}},
			}},
			GonePeers: []model.NodeID{"c2/w9"},
		}},
	}
}

func testDown(t *testing.T, r Rig) {
	r.Link.Allow([]model.NodeID{"w1"})
	a := r.Agent(t, "w1")
	for _, want := range Downs() {
		send(t, r.Link, "w1", want)
		if d := cmp.Diff(want, recv(t, a), equal); d != "" {
			t.Errorf("message changed on its way (-sent +arrived):\n%s", d)
		}
	}
}

// testOrder: per worker, whatever the others do.
func testOrder(t *testing.T, r Rig) {
	nodes, each := []model.NodeID{"w1", "w2", "w3", "w4"}, uint64(300)
	r.Link.Allow(nodes)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, n := range nodes {
		a := r.Agent(t, n)
		wg.Go(func() {
			for v := range each {
				a.Send(t, nodelink.Inbound{Ack: &nodelink.NetAck{Version: v}})
			}
		})
	}
	seen := map[model.NodeID]uint64{}
	for range len(nodes) * int(each) {
		in := next(t, r.Link)
		if in.Ack == nil || in.Ack.Version != seen[in.Node] {
			t.Fatalf("%s sent %+v, want version %d", in.Node, in.Ack, seen[in.Node])
		}
		seen[in.Node]++
	}
}

// testStrangers: only nodes that exist are heard.
func testStrangers(t *testing.T, r Rig) {
	r.Link.Allow([]model.NodeID{"w1"})
	stranger, known := r.Agent(t, "w2"), r.Agent(t, "w1")
	ack := nodelink.Inbound{Ack: &nodelink.NetAck{Version: 1}}
	stranger.Send(t, ack)
	known.Send(t, ack)
	if in := next(t, r.Link); in.Node != "w1" {
		t.Fatalf("heard %s", in.Node)
	}
	r.Link.Allow([]model.NodeID{"w1", "w2"})
	stranger.Send(t, ack)
	if in := next(t, r.Link); in.Node != "w2" {
		t.Fatalf("heard %s", in.Node)
	}
}

// testAbsent: nothing is kept for a worker that is not there.
func testAbsent(t *testing.T, r Rig) {
	r.Link.Allow([]model.NodeID{"w1", "w2"})
	other := r.Agent(t, "w2")
	send(t, r.Link, "w1", nodelink.Outbound{Subnet: &nodelink.SubnetResult{Error: "early"}})
	send(t, r.Link, "w2", nodelink.Outbound{Probe: &nodelink.Probe{}})
	recv(t, other) // so the early one has been handed out, too
	a := r.Agent(t, "w1")
	send(t, r.Link, "w1", nodelink.Outbound{Probe: &nodelink.Probe{}})
	if m := recv(t, a); m.Probe == nil {
		t.Fatalf("kept for an absent worker: %+v", m)
	}
}

// testBells: UpdatesAvailable reaches everybody.
func testBells(t *testing.T, r Rig) {
	r.Link.Allow([]model.NodeID{"w1", "w2"})
	want := nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: "a.b.c.d", Removed: true}}
	agents := []Agent{r.Agent(t, "w1"), r.Agent(t, "w2")}
	send(t, r.Link, "", want)
	for _, a := range agents {
		if d := cmp.Diff(want, recv(t, a), equal); d != "" {
			t.Errorf("bell changed on its way:\n%s", d)
		}
	}
}

// testRestart: the link says Deaf, then Serving again, and carries messages again.
func testRestart(t *testing.T, r Rig) {
	if r.Restart == nil {
		t.Skip("SKIPPED: this link has no broker to restart")
	}
	r.Link.Allow([]model.NodeID{"w1"})
	a := r.Agent(t, "w1")
	r.Restart(t)
	deaf := false
	for in := next(t, r.Link); in.Serving == nil; in = next(t, r.Link) {
		deaf = deaf || in.Deaf != nil
	}
	if !deaf {
		t.Error("Serving again without Deaf before")
	}
	send(t, r.Link, "w1", nodelink.Outbound{Probe: &nodelink.Probe{}})
	if m := recv(t, a); m.Probe == nil {
		t.Fatalf("after the restart: %+v", m)
	}
	a.Send(t, nodelink.Inbound{Gone: &nodelink.Gone{Agent: "node", Boot: "b"}})
	if in := next(t, r.Link); in.Gone == nil {
		t.Fatalf("after the restart: %+v", in)
	}
}
