package rootlink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

const (
	// beat is between heartbeats. A root may ask for more of them, not for fewer:
	// the fleet takes a root that is not heard for 7 s for one it cannot reach.
	beat    = 5 * time.Second
	beatMin = time.Second
	missed  = 3 // beats without a word, and the root is given up

	// maxMessage is the root's limit, too: all orders of a large cluster are one
	// message. gRPC's own limit for clients is 4 MiB.
	maxMessage = 64 << 20

	// Between tries to reach the root. For some time after a loss they come
	// quickly: another system manager takes over within 4 s, an uplink is back,
	// and to dial a root is cheap for both.
	pauseMin = 500 * time.Millisecond
	pauseMax = 2 * time.Second
	quick    = 15 * time.Second

	// sayAgain is how often the same failure of these tries is logged.
	sayAgain = time.Minute
)

// dialTime is how long a dial to a machine that is gone takes.
const dialTime = 3 * time.Second

// connecting leaves the pauses to Run: between two tries gRPC has forgotten
// that the one before failed.
var connecting = grpc.ConnectParams{MinConnectTimeout: dialTime, Backoff: backoff.Config{BaseDelay: pauseMin / 5, Multiplier: 1, MaxDelay: pauseMin / 5}}

// Config says where the root is and who we are.
type Config struct {
	Root     string // host, host:port or URL; port 10000 when it has none
	Name     string
	Location string
	Version  string
	Port     uint16 // of our HTTP
	// Client opens streams; nil: gRPC to Root.
	Client linkv1.LinkClient
	// Sessions answers logs and exec; nil: the root is told that we cannot.
	Sessions Sessions
}

// Target is host:port of a root as users write it.
func Target(s string) (string, error) {
	s = strings.TrimSpace(s)
	if _, rest, ok := strings.Cut(s, "://"); ok {
		u, err := url.Parse("//" + rest)
		if err != nil {
			return "", fmt.Errorf("root %q: %w: %w", s, err, errs.Invalid)
		}
		s = u.Host
	}
	s = strings.TrimSuffix(s, "/")
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(a.String(), "10000"), nil
	}
	if s == "" || strings.ContainsAny(s, " /") {
		return "", fmt.Errorf("root %q: want host, host:port or URL: %w", s, errs.Invalid)
	}
	if !strings.Contains(s, ":") {
		return net.JoinHostPort(s, "10000"), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return "", fmt.Errorf("root %q: want host, host:port or URL: %w", s, errs.Invalid)
	}
	return s, nil
}

// Fleet is what the link needs of the workers' side.
type Fleet interface {
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	Holdings(ctx context.Context) (fleet.Holdings, error)
	Desired(ctx context.Context, d fleet.Desired) error
	Blocks(ctx context.Context, g fleet.Grants) error
	Order(ctx context.Context, id model.NodeID, v fleet.Verb) (fleet.Ordered, error)
	EndOrphan(ctx context.Context, o fleet.Orphan) error
	Explain(ctx context.Context, q fleet.Question) (fleet.Explanation, error)
}

// Tables is what the link needs of the network plane.
type Tables interface {
	RootTable(t tables.RootTable)
	RootPeers(service model.ServiceID, peers []Peer)
	SliceApplied(service model.ServiceID, by model.ClusterID, version uint64)
}

// Link is the way to the root: fleet.Root and tables.Uplink.
type Link struct {
	cfg       Config
	log       *slog.Logger
	session   string
	out       outbox
	connected atomic.Bool
	began     time.Time
	heard     atomic.Int64                                                // the root, in ns since began: the wall clock may jump
	cluster   atomic.Value                                                // string
	dial      func(ctx context.Context, address string) (net.Conn, error) // nil: TCP
	asked     chan *linkv1.Attach
	ends      sync.Map // of open sessions: a context.CancelFunc by id
	said      struct { // of Run: the last reason logged
		text string
		at   time.Time
	}
}

var (
	_ fleet.Root    = (*Link)(nil)
	_ tables.Uplink = (*Link)(nil)
)

// New makes a link that does nothing until Run.
func New(cfg Config, logger *slog.Logger) *Link {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, log: logger.With("part", "rootlink"), session: random(), out: newOutbox(), began: time.Now(), asked: make(chan *linkv1.Attach, mostSessions)}
}

func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Connected says whether the root has welcomed us on the present stream.
func (l *Link) Connected() bool { return l.connected.Load() }

// Heard is when the root was heard last; a connected one is at least every 5 s.
// Zero before the first time, and while it is away.
func (l *Link) Heard() time.Time {
	if !l.connected.Load() {
		return time.Time{}
	}
	return l.lastHeard()
}

func (l *Link) lastHeard() time.Time { return l.began.Add(time.Duration(l.heard.Load())) }

func (l *Link) hear() { l.heard.Store(int64(time.Since(l.began))) }

// ClusterID is the id the root gave, "" before.
func (l *Link) ClusterID() string {
	s, _ := l.cluster.Load().(string)
	return s
}

// Run dials and serves until ctx ends.
func (l *Link) Run(ctx context.Context, book store.Store, f Fleet, t Tables) error {
	id, err := identity(ctx, book, l.cfg.Name)
	if err != nil {
		return err
	}
	l.cluster.Store(string(id.Cluster))
	var users sync.WaitGroup
	defer users.Wait()
	users.Go(func() { l.attend(ctx) })
	pause, lost := lifecycle.NewBackoff(pauseMin, pauseMax), time.Now()
	for {
		// Each session has a connection of its own: one that a cut has left
		// behind looks well for minutes, and would swallow stream after stream.
		client, hangUp, err := l.connect()
		if err != nil {
			return err
		}
		s := &session{link: l, book: book, fleet: f, tables: t, id: &id, welcomed: pause.Reset}
		err = s.run(ctx, client)
		hangUp()
		if l.connected.Swap(false) {
			lost = time.Now()
			l.said.text = ""
		}
		l.out.disconnect()
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(lost) < quick {
			pause.Reset()
		}
		wait := pause.Next()
		l.sayAlone(err, wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// sayAlone logs why there is no link: a new reason at once, the same one once a
// minute. Welcomed makes every reason new.
func (l *Link) sayAlone(err error, wait time.Duration) {
	text := fmt.Sprint(err)
	if text == l.said.text && time.Since(l.said.at) < sayAgain {
		return
	}
	l.said.text, l.said.at = text, time.Now()
	l.log.Warn("no link to the root; the cluster works on alone", "root", l.cfg.Root, "error", err, "again_in", wait)
}

// connect makes the client of the root and what ends it. It does not dial.
func (l *Link) connect(more ...grpc.DialOption) (c linkv1.LinkClient, hangUp func(), err error) {
	if l.cfg.Client != nil {
		return l.cfg.Client, func() {}, nil
	}
	target, err := Target(l.cfg.Root)
	if err != nil {
		return nil, nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(connecting),
	}
	options = append(options, more...)
	if l.dial != nil {
		options = append(options, grpc.WithContextDialer(l.dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+target, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("root %s: %w: %w", target, err, errs.Invalid)
	}
	return linkv1.NewLinkClient(conn), func() { _ = conn.Close() }, nil
}

// identity makes the cluster's key at the first start.
func identity(ctx context.Context, book store.Store, name string) (store.Identity, error) {
	state, err := book.Load(ctx)
	if err != nil {
		return store.Identity{}, fmt.Errorf("read the cluster's identity: %w", err)
	}
	id := state.Identity
	if id.Key == "" {
		id.Key = random()
	}
	if id.Name != name { // another name is another cluster to the root
		id.Name, id.Cluster = name, ""
	}
	if id != state.Identity {
		err = book.SaveIdentity(ctx, id)
	}
	return id, err
}
