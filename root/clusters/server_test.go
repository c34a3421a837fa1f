package clusters

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// ended checks how a stream ended.
func (p *caller) ended(code codes.Code, word string) {
	p.t.Helper()
	if err := p.why(); status.Code(err) != code || err != nil && !strings.Contains(err.Error(), word) {
		p.t.Errorf("ended with %v, want %s with %q", err, code, word)
	}
}

func TestTheFirstMessageIsHello(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false)
		p.beat(1)
		p.ended(codes.InvalidArgument, "Hello")

		mute := r.dial(false)
		time.Sleep(streamSilent + time.Second)
		mute.ended(codes.InvalidArgument, "Hello")

		r.dial(false).hello("a").ended(codes.OK, "")
		if len(r.book.Clusters()) != 1 {
			t.Errorf("%+v", r.book.Clusters())
		}
	})
}

func TestARefusalNamesItsReason(t *testing.T) {
	for class, code := range map[error]codes.Code{
		errs.Conflict: codes.AlreadyExists, errs.Invalid: codes.InvalidArgument, errs.Unavailable: codes.Unavailable, errs.Forbidden: codes.PermissionDenied,
		errs.Unauthenticated: codes.Unauthenticated, errs.Exhausted: codes.ResourceExhausted, errs.NotFound: codes.NotFound,
	} {
		bubble(t, func(t *testing.T, r *rig) {
			r.desk.refusal = fmt.Errorf("another name, please: %w", class)
			r.dial(false).hello("a").ended(code, "another name")
			if len(r.book.Clusters()) != 0 {
				t.Errorf("%+v", r.book.Clusters())
			}
		})
	}
}

func TestWelcomeThenTheSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).hello("a", &linkv1.Held{ServiceId: "s", Number: 3, Grant: 7<<32 + 5, Revision: 2})
		h := p.heard()
		if len(h) != 2 || h[0].GetWelcome().GetClusterId() != "a" || h[0].GetWelcome().GetIncarnation() != 7 || h[0].GetWelcome().GetHeartbeatMs() != 5000 {
			t.Fatalf("%v", h)
		}
		want := Held{Instance: id("s", 3), Grant: instance.MakeGrant(7, 5), Revision: 2}
		if s := r.desk.synced; len(s) != 1 || len(s[0]) != 1 || s[0][0] != want {
			t.Errorf("held %v", s)
		}
		if d := h[1].GetDesired(); !d.GetSnapshot() || len(d.GetUnknown()) != 1 || d.GetUnknown()[0].GetNumber() != 3 {
			t.Errorf("%v", d)
		}
		p.beat(9)
		if h = p.heard(); len(h) != 1 || h[0].GetHeartbeat().GetSeq() != 9 || !h[0].GetHeartbeat().GetEcho() {
			t.Errorf("echo %v", h)
		}
		p.say(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: 9, Echo: true}}})
		p.say(&linkv1.Up{}) // of a newer version
		if h = p.heard(); len(h) != 0 {
			t.Errorf("an echo is answered with %v", h)
		}
		p.ended(codes.OK, "")
	})
}

// In recovery the wishes come after the claims.
func TestInRecoveryClaimsComeFirst(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.desk.recovery = true
		p := r.dial(false).hello("a", &linkv1.Held{ServiceId: "s"})
		if h := p.heard(); len(h) != 1 || !h[0].GetWelcome().GetRecovery() || len(r.desk.synced) != 0 {
			t.Fatalf("%v, synced %v", h, r.desk.synced)
		}
		claims := &linkv1.Up{Body: &linkv1.Up_Claims{Claims: &linkv1.Claims{
			Blocks:      []string{"10.18.0.0/22", "nonsense"},
			Assignments: []*linkv1.Assignment{{ServiceId: "s", Number: 1, Grant: 4, Revision: 3, InstanceAddress: "10.30.0.1", Spec: &linkv1.ServiceSpec{ApplicationId: "app", AppDescription: "about", ServiceAddress: "10.30.0.2"}}},
		}}}
		p.say(claims)
		if c := r.desk.claims; len(c) != 1 || len(c[0].Blocks) != 1 || len(c[0].Orders) != 1 || c[0].Orders[0].Cluster != "a" ||
			c[0].Orders[0].Address != netip.MustParseAddr("10.30.0.1") || c[0].Orders[0].Service.NextNumber != 2 || c[0].Applications["app"].Description != "about" {
			t.Fatalf("%+v", c)
		}
		if h := p.heard(); len(h) != 1 || !h[0].GetDesired().GetSnapshot() || len(r.desk.synced) != 1 || r.desk.synced[0][0].Revision != 3 {
			t.Errorf("%v, synced %v", h, r.desk.synced)
		}
		r.desk.mu.Lock()
		r.desk.adoption = fmt.Errorf("the disk is full: %w", errs.Unavailable)
		r.desk.mu.Unlock()
		p.say(claims)
		p.ended(codes.Unavailable, "disk")
	})
}

func TestBlocksOrWhyNone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).hello("a")
		p.heard()
		ask := func(blocks []netip.Prefix, err error) []*linkv1.Down {
			r.desk.mu.Lock()
			r.desk.blocks, r.desk.lease = blocks, err
			r.desk.mu.Unlock()
			p.say(&linkv1.Up{Body: &linkv1.Up_BlockRequest{BlockRequest: &linkv1.BlockRequest{Held: []string{"10.18.0.0/22"}}}})
			return p.heard()
		}
		if h := ask([]netip.Prefix{netip.MustParsePrefix("10.18.4.0/22")}, nil); len(h) != 1 || len(h[0].GetBlocks().GetBlocks()) != 2 || h[0].GetBlocks().GetError() != "" {
			t.Errorf("%v", h)
		}
		for _, class := range []error{errs.Unavailable, errs.Exhausted} {
			if h := ask(nil, fmt.Errorf("no: %w", class)); len(h) != 1 || h[0].GetBlocks().GetError() == "" {
				t.Errorf("%v", h)
			}
		}
		ask(nil, errors.New("the disk is broken"))
		p.ended(codes.Unknown, "disk")
	})
}

func TestASilentClusterIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).hello("a")
		for seq := range uint64(10) {
			time.Sleep(streamSilent - time.Second)
			p.beat(seq)
		}
		p.ended(codes.OK, "")
		if !r.book.Active("a") {
			t.Error("not active")
		}
		r.desk.mu.Lock()
		r.desk.moved = nil
		r.desk.mu.Unlock()
		time.Sleep(streamSilent)
		synctest.Wait()
		p.ended(codes.Aborted, "silent")
		if r.book.Active("a") || len(r.desk.moved) != 1 {
			t.Errorf("active %v, moved %v", r.book.Active("a"), r.desk.moved)
		}
	})
}

// What an older stream of the same cluster still says does not count, and its
// end does not make the cluster look away.
func TestANewerStreamFencesTheOlder(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		first := r.dial(false).hello("a")
		second := r.dial(false).hello("a")
		first.ended(codes.Aborted, "newer")
		first.say(&linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{{ServiceId: "s", Grant: 1}}}}})
		if _, ok := r.book.Facts(id("s", 0)); ok || len(r.desk.reported) != 0 || !r.book.Active("a") {
			t.Errorf("reported %v, active %v", r.desk.reported, r.book.Active("a"))
		}
		second.say(&linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Instances: []*linkv1.InstanceFacts{{ServiceId: "s", Grant: 1}}}}})
		if _, ok := r.book.Facts(id("s", 0)); !ok || len(r.desk.reported) != 1 {
			t.Errorf("reported %v", r.desk.reported)
		}
		r.book.Send("a", Desired{})
		synctest.Wait()
		if h := second.heard(); len(h) != 3 {
			t.Errorf("the newer stream heard %v", h)
		}
	})
}

// A cluster that sends, but does not read, is cut, and holds up nobody.
func TestAClusterThatDoesNotReadIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, other := r.dial(true).hello("a"), r.dial(false).hello("b")
		big := Desired{Unknown: make([]Held, 1000)}
		for i := range big.Unknown {
			big.Unknown[i].Instance.Service = model.ServiceID(strings.Repeat("x", 100))
		}
		for seq := range uint64(3) {
			for range 20 {
				r.book.Send("a", big)
			}
			p.beat(seq)
			other.beat(seq)
			if !r.book.Active("a") {
				t.Fatal("cut at once")
			}
			time.Sleep(heartbeat)
		}
		for seq := range uint64(4) {
			p.beat(seq)
			other.beat(seq)
			time.Sleep(heartbeat)
		}
		if r.book.Active("a") || r.book.Send("a", big) {
			t.Error("it goes on")
		}
		if !r.book.Active("b") || other.why() != nil {
			t.Errorf("the other one: %v", other.why())
		}
		go p.receive()
		synctest.Wait()
		p.ended(codes.Aborted, "read")
	})
}

func TestReportsAggregatesAndNodesReachTheBook(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial(false).hello("a")
		p.say(&linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: &linkv1.NodeUpdate{Snapshot: true, Nodes: []*linkv1.Node{{Id: "w1", Subnet: "10.18.0.0/26"}, {Id: "w2", Subnet: "?"}}}}})
		p.say(&linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: &linkv1.NodeUpdate{Removed: []string{"w2"}}}})
		p.say(&linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: &linkv1.Aggregate{ActiveNodes: 1}}})
		p.say(&linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{
			Snapshot: true, Instances: []*linkv1.InstanceFacts{{ServiceId: "s", Grant: 1, Observed: &linkv1.Observed{Grant: 1, State: 99}}}, Orphans: []*linkv1.Orphan{{NodeId: "w1", ServiceId: "o"}},
		}}})
		if n := r.book.Nodes(); len(n) != 1 || n[0].ID != "w1" || n[0].ClusterName != "a" || n[0].Cluster != "a" {
			t.Errorf("nodes %+v", n)
		}
		if room, ok := r.book.Room("a"); !ok || room.ActiveNodes != 1 || room.Rooms == nil {
			t.Errorf("room %+v", room)
		}
		if v, ok := r.book.Facts(id("s", 0)); !ok || v.Observed.State != 0 {
			t.Errorf("a state of a newer version: %+v", v)
		}
		if u := r.book.Unexplained(func(model.InstanceID) bool { return true }); len(u) != 1 || u[0].Instance.Service != "o" || u[0].Cluster != "a" {
			t.Errorf("unexplained %+v", u)
		}
	})
}

// A table follows its cluster: away, back, and back without the service.
func TestTablesFollowTheStreams(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.desk.services = []model.Service{service("s", 1)}
		a, b := r.dial(false).hello("a"), r.dial(false).hello("b")
		b.say(&linkv1.Up{Body: &linkv1.Up_Interest{Interest: &linkv1.Interest{Query: "10.30.0.1", Peers: []*linkv1.Peer{{NodeId: "w2"}}}}})
		slice := &linkv1.Up{Body: &linkv1.Up_Slice{Slice: &linkv1.Slice{ServiceId: "s", Endpoints: []*linkv1.Endpoint{{Number: 1}}}}}
		a.say(slice)
		if h := a.heard(); len(h) != 3 || h[2].GetPeers().GetPeers()[0].GetClusterId() != "b" {
			t.Errorf("the host heard %v", h)
		}
		last := func(when string, slices int, stale bool) {
			t.Helper()
			h := b.heard()
			if len(h) == 0 {
				t.Fatalf("%s: nothing", when)
			}
			of := h[len(h)-1].GetTable().GetSlices()
			if len(of) != slices || slices > 0 && of[0].GetStale() != stale {
				t.Errorf("%s: %v", when, of)
			}
		}
		last("there", 1, false)
		_ = a.stream.CloseSend()
		synctest.Wait()
		last("away", 1, true)
		a = r.dial(false).hello("a")
		a.say(slice)
		last("back", 1, false)
		a.say(&linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Snapshot: true}}})
		last("without the service", 0, false)
		r.desk.mu.Lock()
		r.desk.services = nil
		r.desk.mu.Unlock()
		b.say(&linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: &linkv1.Aggregate{}}})
		if h := b.heard(); len(h) != 1 || h[0].GetTable().GetKnown() {
			t.Errorf("a deleted service: %v", h)
		}
	})
}

// What a cluster's workers have applied is told to the cluster whose slice it
// is, and to nobody else.
func TestWhatIsAppliedReachesTheHost(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.desk.services = []model.Service{service("s", 1)}
		a, b, c := r.dial(false).hello("a"), r.dial(false).hello("b"), r.dial(false).hello("c")
		for _, p := range []*caller{a, b, c} {
			p.heard()
		}
		b.say(&linkv1.Up{Body: &linkv1.Up_TableApplied{TableApplied: &linkv1.TableApplied{ServiceId: "s", Slices: []*linkv1.SliceVersion{
			{ClusterId: "a", Version: 7}, {ClusterId: "nobody", Version: 1},
		}}}})
		h := a.heard()
		if len(h) != 1 || h[0].GetSliceApplied().GetServiceId() != "s" || h[0].GetSliceApplied().GetClusterId() != "b" || h[0].GetSliceApplied().GetVersion() != 7 {
			t.Errorf("the host heard %v", h)
		}
		if hb, hc := b.heard(), c.heard(); len(hb)+len(hc) != 0 {
			t.Errorf("others heard %v %v", hb, hc)
		}
	})
}

// A manager that is stopped closes its stream or its connection: the event says
// that, not how this side notices.
func TestLeavingIsToldInWords(t *testing.T) {
	for name, leave := range map[string]func(*caller){
		"canceled": func(p *caller) { p.cancel() },
		"closed":   func(p *caller) { _ = p.stream.CloseSend() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				p := r.dial(false).hello("kitchen")
				leave(p)
				synctest.Wait()
				if got := r.told.of("kitchen", "Left"); !slices.Equal(got, []string{"closed its connection"}) {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}
