package assign_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// fake is a cluster manager as the root sees one: it keeps orders, follows the
// grant rules of a real one, and reports.
type fake struct {
	name, key   string
	start       string // of its process
	place       string
	id          string
	incarnation uint32

	mu      sync.Mutex
	held    map[string]*linkv1.Assignment
	blocks  []string
	runs    map[string]bool // what executes
	past    []event         // what began and was ended, in order
	lost    []*linkv1.Orphan
	peak    int              // most orders placed at once
	refuse  bool             // answers every order with a refusal
	because []*linkv1.Reason // of a refusal; one about memory when empty
	keeps   bool             // and goes on with what it ran before
	mute    bool             // keeps orders, answers nothing
	quiet   bool             // sends no heartbeats
	nodes   int              // workers of 4 vcpus and 4 000 MiB each
	// workers, when set, are the workers instead, and what they report is the
	// present protocol's.
	workers  *placement.Index
	number   uint64 // of the last aggregate
	refused  int
	capacity *linkv1.Resources

	downs  []*linkv1.Down // received on the present stream
	stream linkv1.Link_ControlClient
	sendMu sync.Mutex
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	ended  chan error
}

// event is the begin or the end of what a cluster runs in a slot.
type event struct {
	slot  string
	grant uint64
	ended bool
	at    time.Time
}

func newFake(name string) *fake {
	return &fake{name: name, key: "the-key-of-" + name + "-0123456789", held: map[string]*linkv1.Assignment{}, runs: map[string]bool{}, nodes: 4}
}

// join connects to a root and waits until nothing moves.
func (f *fake) join(r *rig) *fake {
	r.t.Helper()
	f.connect(r)
	synctest.Wait()
	return f
}

// connect opens the stream and says hello.
func (f *fake) connect(r *rig) {
	r.t.Helper()
	f.conn = r.dial()
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	stream, err := linkv1.NewLinkClient(f.conn).Control(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	f.mu.Lock()
	f.stream, f.downs, f.ended = stream, nil, make(chan error, 1)
	hello := &linkv1.Hello{
		ClusterName: f.name, Location: f.place, ClusterId: f.id, ClusterKey: f.key, Session: f.start, Version: "test",
		RootIncarnation: f.incarnation, Blocks: f.blocks,
	}
	for _, k := range slices.Sorted(maps.Keys(f.held)) {
		a := f.held[k]
		hello.Held = append(hello.Held, &linkv1.Held{ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant, Revision: a.Revision})
	}
	ended := f.ended
	f.mu.Unlock()
	if err := stream.Send(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: hello}}); err != nil {
		r.t.Fatal(err)
	}
	go f.receive(stream, ended)
	go f.beat(ctx)
	conn := f.conn
	r.t.Cleanup(func() { cancel(); _ = conn.Close() })
}

// leave cuts the stream; what the cluster holds stays.
func (f *fake) leave() *fake {
	f.cancel()
	_ = f.conn.Close()
	synctest.Wait()
	return f
}

func (f *fake) receive(stream linkv1.Link_ControlClient, ended chan error) {
	for {
		m, err := stream.Recv()
		if err != nil {
			ended <- err
			return
		}
		f.mu.Lock()
		f.downs = append(f.downs, m)
		ups := f.take(m)
		f.mu.Unlock()
		f.send(ups...)
	}
}

func (f *fake) beat(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for seq := uint64(1); ; seq++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		quiet, agg := f.quiet, f.aggregate()
		f.mu.Unlock()
		if !quiet {
			f.send(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: seq}}}, agg)
		}
	}
}

func (f *fake) send(ups ...*linkv1.Up) {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	for _, u := range ups {
		if u != nil {
			_ = f.stream.Send(u) // a cut stream is noticed by receive
		}
	}
}

// take handles one message and returns the answers. f.mu is held.
func (f *fake) take(m *linkv1.Down) []*linkv1.Up {
	switch b := m.GetBody().(type) {
	case *linkv1.Down_Welcome:
		f.id, f.incarnation = b.Welcome.ClusterId, b.Welcome.Incarnation
		var ups []*linkv1.Up
		if b.Welcome.Recovery {
			ups = append(ups, f.claims())
		}
		return append(ups, f.report(true), f.aggregate())
	case *linkv1.Down_Desired:
		report := &linkv1.Report{}
		for _, a := range b.Desired.Changed {
			if fact := f.order(a); fact != nil {
				report.Instances = append(report.Instances, fact)
			}
		}
		if len(report.Instances) > 0 {
			return []*linkv1.Up{{Body: &linkv1.Up_Report{Report: report}}}
		}
	case *linkv1.Down_Blocks:
		if b.Blocks.Error == "" {
			f.blocks = b.Blocks.Blocks
		}
	}
	return nil
}

// order follows one assignment: a lower grant is passed over, a tombstone
// ends, everything else is placed.
func (f *fake) order(a *linkv1.Assignment) *linkv1.InstanceFacts {
	k := key(a.ServiceId, int(a.Number))
	if have := f.held[k]; have != nil && a.Grant < have.Grant {
		return nil
	}
	f.held[k] = proto.CloneOf(a)
	if f.mute {
		return nil
	}
	if a.Tombstone {
		return f.end(k)
	}
	return f.answer(k)
}

// end carries a tombstone out.
func (f *fake) end(k string) *linkv1.InstanceFacts {
	a := f.held[k]
	if f.runs[k] {
		f.past = append(f.past, event{k, a.Grant, true, time.Now()})
	}
	if f.workers != nil {
		f.workers.Release(k)
	}
	delete(f.held, k)
	delete(f.runs, k)
	return &linkv1.InstanceFacts{ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant, Gone: true}
}

// answer places or refuses an order.
func (f *fake) answer(k string) *linkv1.InstanceFacts {
	a := f.held[k]
	fact := &linkv1.InstanceFacts{ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant}
	if f.refuse || f.workers != nil && !f.finds(k) {
		f.refused++
		if f.keeps && f.runs[k] {
			fact.Observed = &linkv1.Observed{Grant: a.Grant - 1, Try: 1, State: linkv1.State_STATE_RUNNING, Seq: 1}
		} else {
			delete(f.runs, k)
		}
		fact.Placement = &linkv1.Placement{Try: 1, Verdict: linkv1.Verdict_VERDICT_REFUSED, Reasons: []*linkv1.Reason{{Name: "memory", Count: 1, Detail: "w1"}}}
		if len(f.because) > 0 {
			fact.Placement.Reasons = f.because
		}
		return fact
	}
	f.runs[k] = true
	f.past = append(f.past, event{k, a.Grant, false, time.Now()})
	f.peak = max(f.peak, len(f.runs))
	return f.running(a)
}

// finds reserves room for an order, as a fleet does.
func (f *fake) finds(k string) bool {
	a := f.held[k]
	d := a.GetSpec().GetDemand()
	r := placement.Request{Service: model.ServiceID(a.ServiceId), Runtime: "container",
		Demand: model.Resources{MilliCPU: d.GetMilliCpu(), MemoryMB: d.GetMemoryMb()}}
	f.workers.Release(k)
	choice, err := f.workers.Place(r)
	if err == nil {
		f.workers.Reserve(k, choice.ID, r)
	}
	return err == nil
}

func (f *fake) running(a *linkv1.Assignment) *linkv1.InstanceFacts {
	fact := running(a, 1)
	if f.workers != nil {
		fact.CountedBy = f.number + 1
	}
	return fact
}

func running(a *linkv1.Assignment, try uint32) *linkv1.InstanceFacts {
	return &linkv1.InstanceFacts{
		ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant, NodeLiveness: linkv1.NodeLiveness_NODE_LIVENESS_ALIVE,
		Placement: &linkv1.Placement{Try: try, NodeId: "w1", NodeHost: "w1", Verdict: linkv1.Verdict_VERDICT_PLACED},
		Observed:  &linkv1.Observed{Grant: a.Grant, Try: try, State: linkv1.State_STATE_RUNNING, Seq: 1},
	}
}

// report tells what runs. f.mu is held.
func (f *fake) report(snapshot bool) *linkv1.Up {
	r := &linkv1.Report{Snapshot: snapshot, Orphans: f.lost}
	for _, k := range slices.Sorted(maps.Keys(f.held)) {
		a := f.held[k]
		switch {
		case a.Tombstone && !f.mute:
			r.Instances = append(r.Instances, f.end(k))
		case f.runs[k]:
			r.Instances = append(r.Instances, f.running(a))
		case !f.mute:
			r.Instances = append(r.Instances, f.answer(k))
		default:
			r.Instances = append(r.Instances, &linkv1.InstanceFacts{ServiceId: a.ServiceId, Number: a.Number, Grant: a.Grant})
		}
	}
	return &linkv1.Up{Body: &linkv1.Up_Report{Report: r}}
}

// claims is everything held, in full. f.mu is held.
func (f *fake) claims() *linkv1.Up {
	c := &linkv1.Claims{Blocks: f.blocks}
	for _, k := range slices.Sorted(maps.Keys(f.held)) {
		c.Assignments = append(c.Assignments, f.held[k])
	}
	return &linkv1.Up{Body: &linkv1.Up_Claims{Claims: c}}
}

const (
	nodeCPU    = 4000
	nodeMemory = 4000
)

// aggregate counts what runs as reserved. f.mu is held.
func (f *fake) aggregate() *linkv1.Up {
	a := &linkv1.Aggregate{
		ActiveNodes: uint32(f.nodes), NetworkNodes: uint32(f.nodes), Runtimes: []string{"container"}, Architectures: []string{"amd64"},
		Capacity: &linkv1.Resources{MilliCpu: int64(f.nodes * nodeCPU), MemoryMb: int64(f.nodes * nodeMemory)}, Reserved: &linkv1.Resources{},
	}
	for k := range f.runs {
		d := f.held[k].GetSpec().GetDemand()
		a.Reserved.MilliCpu += d.GetMilliCpu()
		a.Reserved.MemoryMb += d.GetMemoryMb()
	}
	if f.workers != nil {
		f.number++
		a.Number, a.Capacity, a.Kinds = f.number, f.capacity, []*linkv1.Kind{{Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true}}
		var rooms []placement.Room
		rooms, a.Partial = f.workers.Rooms(48)
		for _, r := range rooms {
			a.Kinds[0].Rooms = append(a.Kinds[0].Rooms, r.Free.MilliCPU, r.Free.MemoryMB, r.Free.GPUs, r.Free.DiskMB, int64(r.Count))
		}
		return &linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: a}}
	}
	if f.nodes > 0 {
		a.Largest = []*linkv1.Resources{{MilliCpu: nodeCPU, MemoryMb: nodeMemory}}
	}
	return &linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: a}}
}

func key(service string, number int) string { return fmt.Sprintf("%s/%d", service, number) }

// has says what the cluster holds of a slot.
func (f *fake) has(id model.ServiceID, number int) (grant instance.Grant, tombstone, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.held[key(string(id), number)]
	return instance.Grant(a.GetGrant()), a.GetTombstone(), ok
}

func (f *fake) executes(id model.ServiceID, number int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[key(string(id), number)]
}

// stopped lists the slots of which something that ran was ended.
func (f *fake) stopped() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.past {
		if e.ended {
			list = append(list, e.slot)
		}
	}
	return list
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.runs)
}

// set changes how the cluster behaves.
func (f *fake) set(change func(f *fake)) *fake {
	f.mu.Lock()
	change(f)
	f.mu.Unlock()
	return f
}

// tell sends what the cluster made of its state.
func (f *fake) tell(make func(f *fake) *linkv1.Up) {
	f.mu.Lock()
	u := make(f)
	f.mu.Unlock()
	f.send(u)
	synctest.Wait()
}

// got lists messages of the present stream.
func got[T any](f *fake, pick func(*linkv1.Down) (T, bool)) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []T
	for _, m := range f.downs {
		if v, ok := pick(m); ok {
			out = append(out, v)
		}
	}
	return out
}

func desired(m *linkv1.Down) (*linkv1.Desired, bool)  { return m.GetDesired(), m.GetDesired() != nil }
func welcomes(m *linkv1.Down) (*linkv1.Welcome, bool) { return m.GetWelcome(), m.GetWelcome() != nil }
func blockGrants(m *linkv1.Down) (*linkv1.BlockGrant, bool) {
	return m.GetBlocks(), m.GetBlocks() != nil
}

// orders are the slots ordered on the present stream, in order.
func (f *fake) orders() []*linkv1.Assignment {
	var out []*linkv1.Assignment
	for _, d := range got(f, desired) {
		out = append(out, d.Changed...)
	}
	return out
}

// why is how the stream ended; nil while it lasts.
func (f *fake) why() error {
	select {
	case err := <-f.ended:
		f.ended <- err
		return err
	default:
		return nil
	}
}
