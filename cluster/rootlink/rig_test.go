package rootlink

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
)

// root is a scripted root: every stream is noted with what it said.
type root struct {
	linkv1.UnimplementedLinkServer
	mu       sync.Mutex
	streams  []*stream
	refusal  error // of every Hello
	mute     bool  // answers nothing after the snapshot
	recovery bool
	changed  []*linkv1.Assignment         // in the snapshot
	orders   iter.Seq[*linkv1.Assignment] // in parts, instead
	parts    bool                         // says that it takes parts
	beats    uint32                       // ms, of Welcome
	claimed  func(*linkv1.Claims, int)    // gets claims and their size, which are then not noted
	wire     *bufconn.Listener
	server   *grpc.Server
	dialogs  chan dialog
}

type stream struct {
	at  time.Time
	ups []*linkv1.Up // the first is Hello
	end chan struct{}
}

func (r *root) Control(s grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) error {
	this := &stream{at: time.Now(), end: make(chan struct{})}
	r.mu.Lock()
	r.streams = append(r.streams, this)
	refusal := r.refusal
	r.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	said := make(chan error, 1)
	go func() {
		for {
			m, err := s.Recv()
			if err != nil {
				said <- err
				return
			}
			if c := m.GetClaims(); c != nil && r.claimed != nil {
				r.claimed(c, proto.Size(c))
				continue
			}
			r.mu.Lock()
			this.ups = append(this.ups, m)
			mute := r.mute
			r.mu.Unlock()
			if h := m.GetHeartbeat(); h != nil && !h.GetEcho() && !mute {
				_ = s.Send(&linkv1.Down{Body: &linkv1.Down_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: h.GetSeq(), Echo: true}}})
			}
		}
	}()
	if err := r.greet(s); err != nil {
		return err
	}
	select {
	case err := <-said:
		return err
	case <-this.end:
		return nil
	}
}

// greet says Welcome and what is wanted.
func (r *root) greet(s grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) error {
	welcome := &linkv1.Welcome{ClusterId: "c1", Incarnation: 3, Recovery: r.recovery, HeartbeatMs: cmp.Or(r.beats, 5000)}
	if r.parts {
		welcome.Abilities = []string{linkv1.AbilityParts}
	}
	if err := s.Send(&linkv1.Down{Body: &linkv1.Down_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	if r.orders == nil {
		return s.Send(&linkv1.Down{Body: &linkv1.Down_Desired{Desired: &linkv1.Desired{Snapshot: true, Revision: 5, Changed: r.changed}}})
	}
	for part, more := range linkv1.Parts(r.orders, linkv1.PartBytes) {
		if err := s.Send(&linkv1.Down{Body: &linkv1.Down_Desired{Desired: &linkv1.Desired{Snapshot: true, Revision: 5, Changed: part, More: more}}}); err != nil {
			return err
		}
	}
	return nil
}

// of is what a stream said, by kind.
func (r *root) of(n int) (hello *linkv1.Hello, counts map[string]int, ups []*linkv1.Up) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ups = append(ups, r.streams[n].ups...)
	counts = map[string]int{}
	for _, u := range ups {
		switch u.GetBody().(type) {
		case *linkv1.Up_Hello:
			counts["hello"]++
		case *linkv1.Up_Report:
			counts["report"]++
		case *linkv1.Up_Nodes:
			counts["nodes"]++
		case *linkv1.Up_Applied:
			counts["applied"]++
		case *linkv1.Up_Aggregate:
			counts["aggregate"]++
		case *linkv1.Up_Claims:
			counts["claims"]++
		default:
			counts["other"]++
		}
	}
	return ups[0].GetHello(), counts, ups
}

// times is when each stream began.
func (r *root) times() (out []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		out = append(out, s.at)
	}
	return out
}

func (r *root) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams)
}

// holder is a fleet that holds slots, and the network plane.
type holder struct {
	mu      sync.Mutex
	slots   []store.Slot
	desired []fleet.Desired
	ordered func(fleet.Desired) // gets orders, which are then not kept
}

func (h *holder) Snapshot(context.Context) (fleet.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var s fleet.Snapshot
	for _, v := range h.slots {
		s.Facts = append(s.Facts, fleet.Facts{Instance: v.Instance, Grant: v.Grant})
	}
	s.Nodes = []fleet.NodeView{{Node: model.Node{ID: "w1"}}}
	return s, nil
}

func (h *holder) Explain(context.Context, fleet.Question) (fleet.Explanation, error) {
	return fleet.Explanation{}, nil
}

func (h *holder) SliceApplied(model.ServiceID, model.ClusterID, uint64) {}

func (h *holder) Holdings(context.Context) (fleet.Holdings, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fleet.Holdings{Slots: h.slots, Blocks: []netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")}}, nil
}

func (h *holder) Desired(_ context.Context, d fleet.Desired) error {
	if h.ordered != nil {
		h.ordered(d)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.desired = append(h.desired, d)
	return nil
}

func (*holder) Blocks(context.Context, fleet.Grants) error { return nil }
func (*holder) Order(context.Context, model.NodeID, fleet.Verb) (fleet.Ordered, error) {
	return fleet.Ordered{}, nil
}
func (*holder) RootTable(tables.RootTable)        {}
func (*holder) RootPeers(model.ServiceID, []Peer) {}

// book keeps an identity.
type book struct {
	store.Store
	mu sync.Mutex
	id store.Identity
}

func (b *book) Load(context.Context) (store.State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return store.State{Identity: b.id}, nil
}

func (b *book) SaveIdentity(_ context.Context, id store.Identity) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id = id
	return nil
}

type rig struct {
	t        *testing.T
	root     *root
	holder   *holder
	book     *book
	link     *Link
	logger   *slog.Logger // nil: the test's
	sessions Sessions
	stop     func()
}

// bubble runs a test with a scripted root and a cluster that is linked to it,
// in virtual time.
func bubble(t *testing.T, prepare func(*rig), fn func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, root: &root{}, holder: &holder{}, book: &book{}}
		if prepare != nil {
			prepare(r)
		}
		r.root.serve()
		r.start("kitchen")
		fn(t, r)
		r.stop()
		r.root.server.Stop()
		_ = r.root.wire.Close()
	})
}

func (r *root) serve() {
	server, wire := grpc.NewServer(), bufconn.Listen(1<<20)
	r.mu.Lock()
	r.server, r.wire = server, wire
	r.mu.Unlock()
	linkv1.RegisterLinkServer(server, r)
	go func() { _ = server.Serve(wire) }()
}

// start runs a cluster manager's link over the book.
func (r *rig) start(name string) {
	log := r.logger
	if log == nil {
		log = testkit.Logger(r.t)
	}
	l := New(Config{Root: "root", Name: name, Location: "48.15,11.58,1000", Version: "test", Port: 10100, Sessions: r.sessions}, log)
	l.dial = func(ctx context.Context, _ string) (net.Conn, error) {
		r.root.mu.Lock()
		wire := r.root.wire
		r.root.mu.Unlock()
		return wire.DialContext(ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, r.book, r.holder, r.holder) }()
	r.link = l
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

// cut ends the present stream from the root's side.
func (r *rig) cut() {
	r.root.mu.Lock()
	defer r.root.mu.Unlock()
	close(r.root.streams[len(r.root.streams)-1].end)
}
