package boltstore

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func TestReopenReadsWhatWasWritten(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, errs.Conflict) {
		t.Fatalf("second open: %v", err)
	}
	rev, blocks := uint64(9), []netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")}
	slot := store.Slot{Instance: model.InstanceID{Service: "s", Number: 3}, Grant: instance.MakeGrant(5, 1), Address: netip.MustParseAddr("10.30.0.9"),
		Placement: instance.Placement{Try: 2, Node: "w1", Verdict: instance.Placed, HostIP: netip.MustParseAddr("192.0.2.1")}, LastTry: 2,
		Old:   []store.Old{{Epoch: instance.Epoch{Grant: 4, Try: 1}, Node: "w2"}},
		Pulls: []store.Pull{{Old: store.Old{Epoch: instance.Epoch{Grant: 4, Try: 1}, Node: "w2"}, At: time.Unix(1_700_000_000, 5).UTC()}}}
	gone := store.Slot{Instance: model.InstanceID{Service: "s", Number: 4}}
	node := store.Node{Node: model.Node{ID: "w1", Host: "w1", Cordoned: true}, Key: "k"}
	for _, b := range []store.Batch{{Slots: []store.Slot{slot, gone}, Nodes: []store.Node{node}, Blocks: &blocks, Revision: &rev},
		{DropSlots: []model.InstanceID{gone.Instance}, DropNodes: []model.NodeID{"never"}}} {
		if err := s.Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	id := store.Identity{Cluster: "c", Key: "k", Name: "n", Incarnation: 5}
	if err := errors.Join(s.SaveIdentity(ctx, id), s.SaveSubnet(ctx, "w1", netip.MustParsePrefix("10.18.0.64/26")),
		s.SaveSubnet(ctx, "w2", blocks[0]), s.DropSubnet(ctx, "w2"), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Load(ctx)
	want := store.State{Identity: id, Slots: []store.Slot{slot}, Nodes: []store.Node{node}, Blocks: blocks, Revision: rev}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || d != "" {
		t.Fatalf("%v\n%s", err, d)
	}
	if m, err := s.LoadSubnets(ctx); err != nil || len(m) != 1 || m["w1"].String() != "10.18.0.64/26" {
		t.Fatal(m, err)
	}
}
