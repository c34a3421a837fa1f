package clusters

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
	"oakestra/root/events"
)

// desk answers as it is told and notes what it is asked. A cluster's id is its
// name.
type desk struct {
	mu       sync.Mutex
	services []model.Service
	refusal  error // of Welcome
	recovery bool
	blocks   []netip.Prefix
	lease    error
	adoption error

	moved    []model.ClusterID
	reported []Facts
	claims   []Claims
	synced   [][]Held
}

func (d *desk) Welcome(_ context.Context, h Hello) (Welcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Welcome{ID: model.ClusterID(h.Name), Incarnation: 7, Recovery: d.recovery}, d.refusal
}

func (d *desk) Resync(_ context.Context, _ model.ClusterID, held []Held, tell func(Desired)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = append(d.synced, held)
	tell(Desired{Snapshot: true, Unknown: held})
	return nil
}

func (d *desk) Adopt(_ context.Context, _ model.ClusterID, c Claims) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.claims = append(d.claims, c)
	return d.adoption
}

func (d *desk) Reported(_ model.ClusterID, facts []Facts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reported = append(d.reported, facts...)
}

func (d *desk) Moved(id model.ClusterID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved = append(d.moved, id)
}

func (d *desk) Lease(_ context.Context, _ model.ClusterID, held []netip.Prefix) ([]netip.Prefix, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Concat(held, d.blocks), d.lease
}

func (d *desk) Resolve(query string) (model.Service, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.services {
		if s.Name.String() == query || s.Address.String() == query {
			return s, true
		}
	}
	return model.Service{}, false
}

func (d *desk) Service(id model.ServiceID) (model.Service, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.services {
		if s.ID == id {
			return s, true
		}
	}
	return model.Service{}, false
}

// rig is a server with its desk and book.
type rig struct {
	t      *testing.T
	desk   *desk
	book   *Book
	wire   *bufconn.Listener
	told   told
	server *Server
}

// told keeps events.
type told struct {
	mu   sync.Mutex
	list []events.Event
}

func (e *told) Record(v events.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, v)
}

// of lists the messages of one word about a cluster.
func (e *told) of(id, reason string) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.list {
		if v.Subject.Type == events.Cluster && v.Subject.ID == id && v.Reason == reason {
			out = append(out, v.Message)
		}
	}
	return out
}

// bubble runs a test against a server in virtual time.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, desk: &desk{}, book: NewBook(nil), wire: bufconn.Listen(64 << 10)}
		r.server = NewServer(r.book, r.desk, testkit.Logger(t), &r.told)
		server := r.server.GRPC()
		var done sync.WaitGroup
		done.Go(func() { _ = server.Serve(r.wire) })
		t.Cleanup(func() {
			server.Stop()
			done.Wait()
			_ = r.wire.Close()
		})
		f(t, r)
	})
}

// caller is the other end of one stream.
type caller struct {
	t      *testing.T
	stream linkv1.Link_ControlClient
	cancel context.CancelFunc
	mu     sync.Mutex
	downs  []*linkv1.Down
	err    error // how the stream ended
	echo   bool
}

// dial opens a stream and says nothing. A caller that is deaf never reads.
func (r *rig) dial(deaf bool) *caller {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///root", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.wire.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(func() { cancel(); _ = conn.Close() })
	p := &caller{t: r.t, cancel: cancel}
	if p.stream, err = linkv1.NewLinkClient(conn).Control(ctx); err != nil {
		r.t.Fatal(err)
	}
	if !deaf {
		go p.receive()
	}
	return p
}

func (p *caller) receive() {
	for {
		m, err := p.stream.Recv()
		p.mu.Lock()
		if err != nil {
			p.err = err
			p.mu.Unlock()
			return
		}
		p.downs = append(p.downs, m)
		echo := p.echo
		p.mu.Unlock()
		if h := m.GetHeartbeat(); echo && h != nil && !h.GetEcho() {
			_ = p.stream.Send(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: h.GetSeq(), Echo: true}}})
		}
	}
}

// say sends a message and waits until nothing moves.
func (p *caller) say(u *linkv1.Up) {
	_ = p.stream.Send(u) // the end of a stream is read, not written
	synctest.Wait()
}

func (p *caller) hello(name string, held ...*linkv1.Held) *caller {
	p.say(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: &linkv1.Hello{ClusterName: name, Held: held}}})
	return p
}

// present says hello as a process of a cluster with a key.
func (p *caller) present(name, key, process string) *caller {
	p.say(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: &linkv1.Hello{ClusterName: name, ClusterKey: key, Session: process}}})
	return p
}

// echoes makes the caller answer heartbeats from now on, as a manager does.
func (p *caller) echoes() *caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echo = true
	return p
}

func (p *caller) beat(seq uint64) {
	p.say(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: seq}}})
}

// why is how the stream ended; nil while it lasts.
func (p *caller) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// heard takes what was received.
func (p *caller) heard() []*linkv1.Down {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.downs
	p.downs = nil
	return list
}
