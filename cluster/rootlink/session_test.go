package rootlink

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// wire is the root's side of one stream.
type wire struct {
	linkv1.LinkClient
	grpc.ClientStream
	ctx  context.Context
	up   chan *linkv1.Up
	down chan *linkv1.Down
}

func (w *wire) Control(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[linkv1.Up, linkv1.Down], error) {
	w.ctx = ctx
	return w, nil
}

func (w *wire) Send(m *linkv1.Up) error { w.up <- m; return nil }

func (w *wire) Recv() (*linkv1.Down, error) {
	select {
	case m := <-w.down:
		return m, nil
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
}

// empty is a book and a fleet with nothing in them.
type empty struct{ store.Store }

func (empty) Load(context.Context) (store.State, error)          { return store.State{}, nil }
func (empty) SaveIdentity(context.Context, store.Identity) error { return nil }
func (empty) Snapshot(context.Context) (fleet.Snapshot, error)   { return fleet.Snapshot{}, nil }
func (empty) Holdings(context.Context) (fleet.Holdings, error)   { return fleet.Holdings{}, nil }
func (empty) Desired(context.Context, fleet.Desired) error       { return nil }
func (empty) Blocks(context.Context, []netip.Prefix) error       { return nil }
func (empty) RootTable(tables.RootTable)                         {}
func (empty) RootPeers(model.ServiceID, []Peer)                  {}
func (empty) Order(context.Context, model.NodeID, fleet.Verb) (fleet.Ordered, error) {
	return fleet.Ordered{}, nil
}

func (empty) Explain(context.Context, fleet.Question) (fleet.Explanation, error) {
	return fleet.Explanation{}, nil
}
func (empty) SliceApplied(model.ServiceID, model.ClusterID, uint64) {}

// TestTheEndOfASlotBetweenHelloAndWelcome: Hello said that it is held, the
// snapshot does not name it any more; that it is gone is told all the same.
func TestTheEndOfASlotBetweenHelloAndWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &wire{up: make(chan *linkv1.Up, 100), down: make(chan *linkv1.Down, 10)}
		l := New(Config{Root: "root", Name: "c", Client: w}, nil)
		done := make(chan struct{})
		go func() { defer close(done); _ = l.Run(ctx, empty{}, empty{}, empty{}) }()
		synctest.Wait()
		l.Report([]fleet.Facts{{Instance: model.InstanceID{Service: "s", Number: 3}, Grant: instance.Grant(7), Gone: true}})
		w.down <- &linkv1.Down{Body: &linkv1.Down_Welcome{Welcome: &linkv1.Welcome{ClusterId: "c", Incarnation: 1}}}
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		close(w.up)
		var reports []*linkv1.Report
		for m := range w.up {
			if r := m.GetReport(); r != nil {
				reports = append(reports, r)
			}
		}
		gone := func(r *linkv1.Report) bool {
			return !r.GetSnapshot() && len(r.GetInstances()) == 1 && r.GetInstances()[0].GetGone() && r.GetInstances()[0].GetNumber() == 3
		}
		if len(reports) == 0 || !reports[0].GetSnapshot() || !slices.ContainsFunc(reports, gone) {
			t.Errorf("told %v", reports)
		}
	})
}
