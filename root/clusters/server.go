package clusters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/events"
)

// Times of a stream. A heartbeat comes from the cluster every heartbeat; a
// stream that is silent for three of them is cut.
const (
	heartbeat    = 5 * time.Second
	streamSilent = 3 * heartbeat
	maxMessage   = 64 << 20 // a resync of a cluster that does not take parts is one message
	window       = 512 << 10
)

var (
	errSlow     = fmt.Errorf("the cluster has not read what it was sent for %s", streamSilent)
	errSilent   = fmt.Errorf("the cluster has been silent for %s", streamSilent)
	errReplaced = errors.New("a newer stream of the same cluster replaced this one")
)

// Server answers clusters.
type Server struct {
	linkv1.UnimplementedLinkServer
	book    *Book
	desk    Desk
	tables  *tables
	orders  *orders[*linkv1.NodeOrdered]
	asked   *orders[*linkv1.Explained]
	dialogs *dialogs
	events  events.Recorder
	log     *slog.Logger

	refusals *refusals
}

// NewServer answers with what desk decides and writes reports into book. A
// Recorder, if one is given, is told what happens.
func NewServer(book *Book, desk Desk, logger *slog.Logger, tell ...events.Recorder) *Server {
	s := &Server{book: book, desk: desk, tables: newTables(book, desk), orders: newOrders[*linkv1.NodeOrdered](), asked: newOrders[*linkv1.Explained](), dialogs: newDialogs(), events: events.Discard{}, log: logger.With("part", "clusters"), refusals: newRefusals()}
	if len(tell) > 0 {
		s.events = tell[0]
	}
	return s
}

// GRPC makes a gRPC server with the options the link needs and this Server
// registered.
func (s *Server) GRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(64),
		grpc.ConnectionTimeout(10*time.Second), // 120 s, else, for one that only says hello
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Links are few and long: small buffers keep an idle root small.
		grpc.ReadBufferSize(8<<10), grpc.WriteBufferSize(8<<10),
		// Else they grow to 16 MiB by themselves, for each session whose user
		// reads slowly. A message that is larger has room all the same.
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
	)
	linkv1.RegisterLinkServer(g, s)
	return g
}

// Control is the life of one cluster's stream.
func (s *Server) Control(stream grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) error {
	ctx, cut := context.WithCancelCause(stream.Context())
	defer cut(nil)
	sess := newSession(cut)
	incoming := receive(ctx, stream)

	hello, err := s.first(ctx, incoming)
	if err != nil {
		return toStatus(err)
	}
	sess.key, sess.start, sess.abilities = hello.Key, hello.Session, hello.Abilities
	welcome, err := s.welcome(ctx, hello)
	if err != nil {
		return toStatus(err)
	}
	sess.queue(welcomeTo(welcome)) // before anybody else can reach the session
	s.arrived(sess, hello, welcome)
	if err = s.resync(ctx, sess, hello, welcome); err == nil {
		s.desk.Moved(welcome.ID)
		// The writer may hang in Send when the cluster does not read. Only the end
		// of this function frees it, so nobody waits for it here.
		go func() {
			if err := sess.write(ctx, stream.Send); err != nil {
				sess.end(err)
			}
		}()
		err = s.serve(ctx, sess, welcome.ID, incoming)
	}
	sess.end(err)
	s.departed(sess, hello, welcome.ID, context.Cause(ctx))
	return toStatus(err)
}

// welcome asks the desk who a cluster is, and tells of whom it refuses.
func (s *Server) welcome(ctx context.Context, hello Hello) (w Welcome, err error) {
	if err = s.single(ctx, hello); err == nil {
		w, err = s.desk.Welcome(ctx, hello)
	}
	if err == nil {
		return w, nil
	}
	s.tellRefused(hello, err)
	if tries := s.refusals.tried(refusal{hello.Name, hello.Key, err.Error()}); tries > 0 {
		s.log.Warn("cluster refused", "cluster", hello.Name, "from", hello.Address.String(), "error", err, "tries", tries)
	}
	return w, err
}

func (s *Server) arrived(sess *session, hello Hello, w Welcome) {
	if before := s.book.join(model.Cluster{ID: w.ID, Name: hello.Name, Location: hello.Location, Address: hello.Address}, sess); before != nil {
		before.end(errReplaced)
	}
	s.log.Info("cluster joined", "cluster", hello.Name, "id", w.ID, "from", hello.Address.String(), "version", hello.Version, "held", len(hello.Held), "recovery", w.Recovery)
	s.events.Record(events.OfCluster(w.ID, hello.Name).Say(events.Normal, "Joined", "from %s, version %s", hello.Address, hello.Version))
}

// resync tells a cluster its orders, unless it is asked for its claims first.
func (s *Server) resync(ctx context.Context, sess *session, hello Hello, w Welcome) error {
	if w.Recovery {
		return nil
	}
	return s.desk.Resync(ctx, w.ID, hello.Held, sess.tell)
}

func (s *Server) departed(sess *session, hello Hello, id model.ClusterID, cause error) {
	s.orders.left(sess)
	s.asked.left(sess)
	removed := errors.Is(cause, ErrRemoved)
	if removed && s.book.speaks(id, sess) {
		s.tables.forgetCluster(id)
	}
	if !s.book.leave(id, sess) {
		return
	}
	s.tables.left(id)
	s.desk.Moved(id)
	why := whyLeft(cause)
	s.log.Warn("cluster left", "cluster", hello.Name, "id", id, "reason", why)
	s.events.Record(events.OfCluster(id, hello.Name).Say(events.Warning, "Left", "%s", why))
	if removed {
		s.book.remove(id)
	}
}

// single refuses a second process with the key of a cluster whose first one
// answers: a copy of a data directory. A manager that dials anew is the same
// process, and one that was started anew has left no other behind.
func (s *Server) single(ctx context.Context, h Hello) error {
	first := s.book.holder(h.ID, h.Name)
	if first == nil || first.key != h.Key || first.start == h.Session || !first.answers(ctx) {
		return nil
	}
	return fmt.Errorf("another cluster manager with the key of %q is connected: stop one of the two, or give this one an empty data directory and another CLUSTER_NAME: %w", h.Name, errs.Conflict)
}

// receive reads the stream in a goroutine that ends with it, so that silence
// can be noticed.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) <-chan received {
	c := make(chan received)
	go func() {
		for {
			m, err := stream.Recv()
			select {
			case c <- received{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}

type received struct {
	m   *linkv1.Up
	err error
}

func (s *Server) first(ctx context.Context, incoming <-chan received) (Hello, error) {
	select {
	case <-ctx.Done():
		return Hello{}, context.Cause(ctx)
	case <-time.After(streamSilent):
		return Hello{}, fmt.Errorf("no Hello within %s: %w", streamSilent, errs.Invalid)
	case r := <-incoming:
		if r.err != nil {
			return Hello{}, r.err
		}
		h := r.m.GetHello()
		if h == nil {
			return Hello{}, fmt.Errorf("the first message must be Hello: %w", errs.Invalid)
		}
		return helloFrom(h, remote(ctx)), nil
	}
}

func remote(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func (s *Server) serve(ctx context.Context, sess *session, id model.ClusterID, incoming <-chan received) error {
	silent := time.NewTimer(streamSilent)
	defer silent.Stop()
	for {
		var r received
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case r = <-incoming:
		case <-silent.C:
			select {
			case r = <-incoming: // we were busy, the cluster was not silent
			default:
				return errSilent
			}
		}
		if r.err != nil {
			return r.err
		}
		if !s.book.speaks(id, sess) {
			return errReplaced // what it still says is old
		}
		sess.spoke()
		if s.book.seen(id) {
			s.desk.Moved(id)
		}
		if err := s.handle(ctx, sess, id, r.m); err != nil {
			return err
		}
		silent.Reset(streamSilent)
	}
}

func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for class, code := range map[error]codes.Code{
		errs.Invalid: codes.InvalidArgument, errs.Conflict: codes.AlreadyExists, errs.NotFound: codes.NotFound, errs.Unauthenticated: codes.Unauthenticated,
		errs.Forbidden: codes.PermissionDenied, errs.Exhausted: codes.ResourceExhausted, errs.Unavailable: codes.Unavailable,
	} {
		if errors.Is(err, class) {
			return status.Error(code, err.Error())
		}
	}
	for _, own := range []error{errSlow, errSilent, errReplaced, context.Canceled} {
		if errors.Is(err, own) {
			return status.Error(codes.Aborted, err.Error())
		}
	}
	return err
}
