package fleet

import (
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// TestTombstoneWaitsForALateWorker: after a restart a tombstone waits for
// everybody who may still hold something, and ends when the last has reported.
func TestTombstoneWaitsForALateWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(true)
		time.Sleep(time.Second)
		r.stop()
		s := r.book.slot(slotID)
		s.Instance, s.Grant, s.Tombstone = slotID, 7, true
		r.book.slots[slotID] = s
		r.nodes["w2"].link.Disconnect()
		r.start()
		r.desire(true)
		time.Sleep(5 * time.Second)
		if r.root.get(slotID).Gone {
			t.Fatal("done without having heard of w2")
		}
		r.nodes["w2"].link.Connect()
		time.Sleep(5 * time.Second)
		if !r.root.get(slotID).Gone || len(r.book.all()) != 0 {
			t.Fatal("the tombstone is not carried out")
		}
	})
}

// TestLateReportProvesNothing: reports that were overtaken, or come twice, or
// are those of an agent that was replaced since, do not say what is there now.
func TestLateReportProvesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.registers("w1")
		r.desire(false)
		time.Sleep(10 * time.Second)
		for range 3 {
			r.nodes["w1"].link.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: 1, Complete: true}})
			r.nodes["w1"].link.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "earlier", Seq: 1000, Complete: true}})
		}
		time.Sleep(20 * time.Second)
		r.wantTotal(1, 1)
	})
}

// TestReportsBeforeAStateChange: a change of state may overtake reports that
// were sent before it; they do not mean that the attempt has vanished.
func TestReportsBeforeAStateChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.registers("w1")
		report := func(seq uint64, list ...nodelink.Container) {
			w.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: seq, Complete: true, Containers: list}})
			time.Sleep(100 * time.Millisecond)
		}
		report(1)
		r.desire(false)
		time.Sleep(time.Second)
		var at instance.Attempt
		for _, m := range w.Pending() {
			if m.Deploy != nil {
				at = m.Deploy.Attempt
			}
		}
		running := instance.Observed{Epoch: at.Epoch, State: instance.Running, Seq: 1}
		w.Send(nodelink.Inbound{Change: &nodelink.StateChange{Service: slotID.Service, Observed: running}})
		report(2)
		report(3)
		time.Sleep(1500 * time.Millisecond)
		for seq := uint64(4); seq < 14; seq++ {
			report(seq, nodelink.Container{Service: slotID.Service, Observed: running})
			time.Sleep(time.Second)
		}
		for _, m := range w.Pending() {
			if m.Deploy != nil && m.Deploy.Attempt != at || m.Delete != nil {
				t.Errorf("sent %+v %+v", m.Deploy, m.Delete)
			}
		}
		if f := r.root.get(slotID); f.Placement.Try != 1 {
			t.Errorf("facts %+v", f)
		}
		for seq := uint64(14); seq < 30; seq++ { // now it has vanished
			report(seq)
			time.Sleep(time.Second)
		}
		if f := r.root.get(slotID); f.Placement.Try < 2 {
			t.Errorf("facts %+v", f)
		}
	})
}

// TestReturnedServesWhileItsReplacementIsMade: a lost worker comes back while
// the replacement of what it runs is being made: that is given up, and what
// runs is never stopped.
func TestReturnedServesWhileItsReplacementIsMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		from := r.where()
		to := r.nodes[other(from)]
		to.starts(instance.Creating)
		r.nodes[from].link.Disconnect()
		time.Sleep(20 * time.Second)
		if f := r.root.get(slotID); f.Observed.State != instance.Creating {
			t.Fatalf("facts %+v", f)
		}
		r.nodes[from].link.Connect()
		for range 40 {
			time.Sleep(250 * time.Millisecond)
			r.wantTotal(1, 2)
		}
		if r.where() != from {
			t.Error("the replacement did not run and was not given up")
		}
	})
}

// TestRestartDoesNotTakeBackWhatRuns: after a restart of the manager the
// returned worker speaks before the one that has the replacement: nothing is
// known of that yet, which does not mean that it does not run.
func TestRestartDoesNotTakeBackWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		from := r.where()
		r.nodes[from].link.Disconnect()
		time.Sleep(20 * time.Second)
		r.wantTotal(2, 2)
		r.stop()
		r.nodes[from].link.Connect()
		r.nodes[other(from)].link.Disconnect()
		r.start()
		r.desire(false)
		time.Sleep(4 * time.Second)
		r.nodes[other(from)].link.Connect()
		time.Sleep(20 * time.Second)
		r.wantTotal(1, 2)
		if r.where() == from {
			t.Error("the replacement was taken back")
		}
	})
}

// TestRefusedSuccessorLeavesWhatRuns: there is no room for what the root wants
// now; what ran before goes on, and the root is told that it does.
func TestRefusedSuccessorLeavesWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		time.Sleep(10 * time.Second)
		want := func(tombstone bool) {
			t.Helper()
			err := r.f.Desired(r.ctx, Desired{Revision: 2, Changed: []Assignment{{
				Instance: slotID, Grant: 8, Revision: 2, Tombstone: tombstone,
				Service: model.Service{ID: slotID.Service, Name: r.book.slot(slotID).Service.Name,
					Spec: model.ServiceSpec{Runtime: "container", Demand: model.Resources{MemoryMB: 100000}}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		want(false)
		time.Sleep(30 * time.Second)
		r.wantTotal(1, 1)
		f := r.root.get(slotID)
		if f.Grant != 8 || f.Placement.Verdict != instance.Refused || f.Observed.State != instance.Running || f.Observed.Epoch.Grant != 7 {
			t.Fatalf("facts %+v", f)
		}
		want(true)
		time.Sleep(10 * time.Second)
		r.wantTotal(0, 1)
		if !r.root.get(slotID).Gone {
			t.Error("the tombstone is not carried out")
		}
	})
}

// TestNothingIsRefusedBeforeWorkersWereHeard: a manager that has just started
// does not know what room there is.
func TestNothingIsRefusedBeforeWorkersWereHeard(t *testing.T) {
	for _, returns := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "w1")
			time.Sleep(5 * time.Second)
			r.stop()
			r.nodes["w1"].link.Disconnect()
			r.start()
			r.desire(false)
			time.Sleep(5 * time.Second)
			if f := r.root.get(slotID); f.Placement.Verdict != instance.Pending {
				t.Fatalf("facts %+v", f)
			}
			want := instance.Refused
			if returns {
				r.nodes["w1"].link.Connect()
				want = instance.Placed
			}
			time.Sleep(20 * time.Second)
			if f := r.root.get(slotID); f.Placement.Verdict != want {
				t.Fatalf("facts %+v, want %d", f, want)
			}
		})
	}
}

// noting is a network plane that checks what services it is told.
type noting struct {
	quiet
	t *testing.T
}

func (n noting) SetService(s tables.Service) {
	if s.Name.Service != "c" {
		n.t.Errorf("the network plane was told %+v", s)
	}
}

// TestTombstoneOfAStray: the root ends a container that nobody here knows; its
// order names no service, which must not change that of the others.
func TestTombstoneOfAStray(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.stop()
		r.network = noting{t: t}
		r.start()
		r.desire(false)
		stray := model.InstanceID{Service: slotID.Service, Number: 5}
		w := r.nodes["w1"]
		w.mu.Lock()
		w.has[instance.Attempt{Instance: stray, Epoch: instance.Epoch{Grant: 6, Try: 1}}] = instance.Running
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		r.wantTotal(2, 1)
		err := r.f.Desired(r.ctx, Desired{Revision: 3, Changed: []Assignment{{Instance: stray, Grant: 6, Tombstone: true, Service: model.Service{ID: stray.Service}}}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r.wantTotal(1, 1)
		if !r.root.get(stray).Gone || len(r.book.all()) != 1 {
			t.Errorf("facts %+v", r.root.get(stray))
		}
	})
}

// TestWhatAChangeShowedIsThere: a worker is cut off after it said that the
// attempt runs and before its next full report. When NetManager is heard first
// nothing is sent, and once its reports are not old ones the attempt is taken up
// again.
func TestWhatAChangeShowedIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.registers("w1")
		w.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: 1, Complete: true}})
		time.Sleep(time.Second)
		r.desire(false)
		time.Sleep(time.Second)
		var at instance.Attempt
		for _, m := range w.Pending() {
			if m.Deploy != nil {
				at = m.Deploy.Attempt
			}
		}
		w.Send(nodelink.Inbound{Change: &nodelink.StateChange{Service: slotID.Service, Observed: instance.Observed{Epoch: at.Epoch, State: instance.Running, Seq: 1}}})
		time.Sleep(30 * time.Second)
		if f := r.root.get(slotID); f.Placement.Verdict != instance.Refused {
			t.Fatalf("facts %+v", f)
		}
		w.Pending()
		w.Send(nodelink.Inbound{Net: &nodelink.NetReport{}})
		time.Sleep(time.Second)
		for seq := range uint64(3) {
			w.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: 2 + seq, Complete: true, Containers: []nodelink.Container{
				{Service: slotID.Service, Observed: instance.Observed{Epoch: at.Epoch, State: instance.Running, Seq: 1}}}}})
			time.Sleep(time.Second)
		}
		for _, m := range w.Pending() {
			if m.Deploy != nil || m.Delete != nil {
				t.Errorf("sent %+v %+v", m.Deploy, m.Delete)
			}
		}
		if f := r.root.get(slotID); f.Placement.Verdict != instance.Placed || f.Observed.State != instance.Running {
			t.Errorf("facts %+v", f)
		}
	})
}

// TestALostOrderIsSentAgainSoon: on a bus that loses much an order does not
// wait longer and longer while the worker reports that it does not have it.
func TestALostOrderIsSentAgainSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		time.Sleep(5 * time.Second)
		r.hub.Fault(1, memlink.Faults{}, memlink.Faults{Drop: 1})
		r.desire(false)
		time.Sleep(40 * time.Second)
		r.wantTotal(0, 0)
		r.hub.Fault(1, memlink.Faults{}, memlink.Faults{})
		time.Sleep(8 * time.Second)
		r.wantTotal(1, 1)
	})
}

// TestADrainedAttemptServesBeforeItWasHeard: the report that it runs was lost
// when its worker was drained.
func TestADrainedAttemptServesBeforeItWasHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		time.Sleep(5 * time.Second)
		for _, w := range r.nodes {
			w.starts(instance.Creating)
		}
		r.desire(false)
		time.Sleep(4 * time.Second)
		from := r.root.get(slotID).Placement.Host
		r.hub.Fault(1, memlink.Faults{Drop: 1}, memlink.Faults{})
		r.nodes[from].set(instance.Running)
		time.Sleep(2 * time.Second)
		r.order(from, Drain)
		time.Sleep(500 * time.Millisecond)
		r.hub.Fault(1, memlink.Faults{}, memlink.Faults{})
		for range 40 {
			time.Sleep(250 * time.Millisecond)
			if n, _ := r.nodes[from].count(); n != 1 {
				t.Fatal("stopped before its replacement runs")
			}
		}
		r.nodes[other(from)].set(instance.Running)
		time.Sleep(20 * time.Second)
		if r.where() != other(from) {
			t.Errorf("it lives at %q", r.where())
		}
	})
}

// TestALateChangeBringsNothingBack: the word that an attempt runs is held up
// until it has ended, was replaced and is forgotten.
func TestALateChangeBringsNothingBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		r.desire(false)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		from := r.where()
		first := r.root.get(slotID).Observed.Epoch
		r.nodes[from].set(instance.Failed)
		r.nodes[other(from)].starts(instance.Creating)
		time.Sleep(20 * time.Second)
		if f := r.root.get(slotID); f.Placement.Host != other(from) || f.Observed.State != instance.Creating {
			t.Fatalf("facts %+v", f)
		}
		second := r.root.get(slotID).Observed.Epoch
		say := func(worker string, o instance.Observed) {
			r.nodes[worker].link.Send(nodelink.Inbound{Change: &nodelink.StateChange{Service: slotID.Service, Observed: o}})
		}
		say(from, instance.Observed{Epoch: first, State: instance.Running, Seq: 1})
		say(other(from), instance.Observed{Epoch: second, State: instance.Created, Seq: 2}) // makes the manager look
		time.Sleep(time.Second)
		if f := r.root.get(slotID); f.Placement.Try != second.Try || f.Placement.Host != other(from) {
			t.Errorf("facts %+v", f)
		}
	})
}

// TestALateChangeOfAnEndedAttempt: the word that an attempt runs is held up
// until it has ended, is tried again and is not yet forgotten.
func TestALateChangeOfAnEndedAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.registers("w1")
		say := func(e instance.Epoch, s instance.State) {
			w.Send(nodelink.Inbound{Change: &nodelink.StateChange{Service: slotID.Service, Observed: instance.Observed{Epoch: e, State: s, Seq: 1}}})
		}
		w.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: 1, Complete: true}})
		time.Sleep(time.Second)
		r.desire(false)
		time.Sleep(time.Second)
		first := r.root.get(slotID)
		first.Observed.Epoch = instance.Epoch{Grant: first.Grant, Try: first.Placement.Try}
		say(first.Observed.Epoch, instance.Failed)
		w.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: "b", Seq: 2, Complete: true}})
		time.Sleep(1500 * time.Millisecond)
		second := r.root.get(slotID)
		if second.Placement.Try != first.Placement.Try+1 {
			t.Fatalf("facts %+v", second)
		}
		say(first.Observed.Epoch, instance.Running)
		time.Sleep(time.Second)
		if f := r.root.get(slotID); f.Placement.Try != second.Placement.Try {
			t.Errorf("facts %+v", f)
		}
		for _, m := range w.Pending() {
			if m.Delete != nil && m.Delete.Attempt.Epoch != first.Observed.Epoch {
				t.Errorf("ended %+v", m.Delete)
			}
		}
	})
}
