package memlink_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/linktest"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent makes a node the linktest.Agent.
type agent struct{ *memlink.Node }

func (a agent) Send(_ testing.TB, in nodelink.Inbound) { a.Node.Send(in) }

func run(t *testing.T) *memlink.Hub {
	hub := memlink.New()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = hub.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return hub
}

func TestLink(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Rig {
		hub := run(t)
		return linktest.Rig{
			Link:  hub,
			Agent: func(_ testing.TB, id model.NodeID) linktest.Agent { return agent{hub.Node(id)} },
			Restart: func(testing.TB) {
				hub.Break()
				hub.Restart()
				hub.Node("w1").Connect()
			},
		}
	})
}

// TestFaults: each fault does what it says, and only that.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults memlink.Faults
		check  func(got []uint64) bool
	}{
		{"drop", memlink.Faults{Drop: 0.5}, func(got []uint64) bool { return len(got) > 20 && len(got) < 80 }},
		{"dup", memlink.Faults{Dup: 0.5}, func(got []uint64) bool { return len(got) > 120 && len(got) < 180 }},
		{"reorder", memlink.Faults{Reorder: 0.5}, func(got []uint64) bool {
			for i := 1; i < len(got); i++ {
				if got[i] < got[i-1] {
					return true
				}
			}
			return false
		}},
		{"window", memlink.Faults{Reorder: 0.3, Window: 16}, func(got []uint64) bool {
			late := uint64(0) // the furthest that a message was passed by
			for i, v := range got {
				for _, w := range got[:i] {
					if w > v {
						late = max(late, w-v)
					}
				}
			}
			return late > 8 && late <= 32
		}},
		{"none", memlink.Faults{}, func(got []uint64) bool { return len(got) == 100 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := run(t)
			hub.Fault(3, memlink.Faults{}, c.faults)
			n := hub.Node("w")
			for v := range uint64(100) {
				if err := hub.Send(t.Context(), "w", nodelink.Outbound{Table: &nodelink.TableResult{Version: v}}); err != nil {
					t.Fatal(err)
				}
			}
			var got []uint64
			for _, m := range n.Pending() {
				got = append(got, m.Table.Version)
			}
			if !c.check(got) {
				t.Errorf("%d arrived: %v", len(got), got)
			}
		})
	}
}

// TestDisconnect loses what is on its way and what follows.
func TestDisconnect(t *testing.T) {
	hub := run(t)
	n := hub.Node("w")
	probe := nodelink.Outbound{Probe: &nodelink.Probe{}}
	_ = hub.Send(t.Context(), "w", probe)
	n.Disconnect()
	_ = hub.Send(t.Context(), "w", probe)
	n.Connect()
	if got := n.Pending(); len(got) != 0 || hub.Lost() != 1 {
		t.Fatalf("arrived %d, lost %d", len(got), hub.Lost())
	}
}

// TestACalmBusHoldsNothing: what waits comes when nothing is reordered any more.
func TestACalmBusHoldsNothing(t *testing.T) {
	hub := run(t)
	hub.Fault(3, memlink.Faults{}, memlink.Faults{Reorder: 1, Window: 16})
	n := hub.Node("w")
	_ = hub.Send(t.Context(), "w", nodelink.Outbound{Probe: &nodelink.Probe{}})
	if got := n.Pending(); len(got) != 0 {
		t.Fatalf("arrived %d", len(got))
	}
	hub.Fault(3, memlink.Faults{}, memlink.Faults{})
	if got := n.Pending(); len(got) != 1 {
		t.Fatalf("arrived %d", len(got))
	}
}
