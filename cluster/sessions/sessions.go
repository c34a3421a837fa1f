package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"oakestra/api/mqtt"
	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
)

const (
	// dialWithin is how long a worker that was rung may take.
	dialWithin = 10 * time.Second
	// lookEvery is how often it is asked whether the worker is still there.
	lookEvery = 2 * time.Second
)

// Fleet knows where instances are and how their workers do; see the methods of
// the same names of fleet.Fleet.
type Fleet struct {
	Seat     func(ctx context.Context, id model.InstanceID) (fleet.Seat, error)
	Liveness func(ctx context.Context, id model.NodeID) (instance.Liveness, error)
}

// Bell reaches workers; nodelink.Link is one.
type Bell interface {
	Send(ctx context.Context, node model.NodeID, m nodelink.Outbound) error
}

// Ask is what a user wants of an instance.
type Ask struct {
	Kind     string // mqtt.AbilityLogs or mqtt.AbilityExec
	Instance model.InstanceID

	Follow  bool
	Tail    int64 // lines, 0: all
	SinceMS int64 // 0: all

	Command       []string
	Stdin, TTY    bool
	Columns, Rows uint32
}

// Sessions joins them. Make it with New.
type Sessions struct {
	fleet Fleet
	bell  Bell
	log   *slog.Logger

	mu      sync.Mutex
	waiting map[string]chan *session.Socket // by id; nil is sent when the dial failed
}

// New makes Sessions. It starts nothing.
func New(f Fleet, bell Bell, logger *slog.Logger) *Sessions {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Sessions{fleet: f, bell: bell, log: logger.With("part", "sessions"), waiting: map[string]chan *session.Socket{}}
}

// Serve answers a session: up is who asked. It returns when up was told the
// end, or is gone.
func (s *Sessions) Serve(ctx context.Context, a Ask, up session.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seat, err := s.seat(ctx, a)
	switch {
	case err != nil:
		s.end(ctx, a, seat, up, err)
		return
	case seat.Original:
		s.end(ctx, a, seat, up, original(ctx, a, seat, up))
		return
	}
	down, err := s.ring(ctx, a, seat)
	if err != nil {
		s.end(ctx, a, seat, up, err)
		return
	}
	defer down.Close()
	s.log.Info("session begins", "kind", a.Kind, "instance", a.Instance, "node", seat.Node)
	relay, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go s.watch(relay, seat, stop)
	err = session.Relay(relay, up, down)
	switch lost := context.Cause(relay); {
	case err == nil:
		s.log.Info("session ends", "kind", a.Kind, "instance", a.Instance, "node", seat.Node)
	case errors.Is(lost, errLost):
		s.end(ctx, a, seat, up, fmt.Errorf("worker %s is lost: %w", seat.Node, errs.Unavailable))
	case session.UpGone(err):
		s.log.Info("session ends: who asked is gone", "kind", a.Kind, "instance", a.Instance, "node", seat.Node)
	default:
		s.end(ctx, a, seat, up, fmt.Errorf("worker %s has broken the session off: %w", seat.Node, errs.Unavailable))
	}
}

// end tells the end, unless End was passed on.
func (s *Sessions) end(ctx context.Context, a Ask, seat fleet.Seat, up session.Conn, err error) {
	f := session.Frame{Kind: session.End}
	if err != nil {
		f = session.EndWith(err)
	}
	s.log.Info("session ends", "kind", a.Kind, "instance", a.Instance, "node", seat.Node, "reason", f.Message)
	_ = up.Send(ctx, f) // it may be gone
}

// seat finds a worker that can be asked, or an original one.
func (s *Sessions) seat(ctx context.Context, a Ask) (fleet.Seat, error) {
	seat, err := s.fleet.Seat(ctx, a.Instance)
	switch {
	case err != nil:
		return seat, err
	case seat.Node == "":
		return seat, fmt.Errorf("instance %d is on no worker yet: %w", a.Instance.Number, errs.Conflict)
	case seat.Live == instance.Lost:
		return seat, fmt.Errorf("worker %s is lost: %w", seat.Node, errs.Unavailable)
	case seat.State == instance.Creating:
		return seat, fmt.Errorf("instance %d is still being created: %w", a.Instance.Number, errs.Conflict)
	case a.Kind == mqtt.AbilityExec && seat.State.Terminal():
		return seat, ended(a.Instance, seat)
	case !seat.Original && !slices.Contains(seat.Abilities, a.Kind):
		return seat, fmt.Errorf("worker %s runs NodeEngine %s, which cannot serve %s: upgrade it: %w", seat.Node, seat.Version, a.Kind, errs.Conflict)
	}
	return seat, nil
}

// ended is why no command can run there any more.
func ended(id model.InstanceID, seat fleet.Seat) error {
	how := map[instance.State]string{instance.Completed: "completed", instance.Dead: "dead", instance.Failed: "failed", instance.Undeployed: "undeployed"}[seat.State]
	if seat.Reason != "" {
		how += ", " + seat.Reason
	}
	return fmt.Errorf("instance %d has ended: %s: %w", id.Number, how, errs.Conflict)
}

// original answers for an agent that cannot: the end of the output is all it
// reports.
func original(ctx context.Context, a Ask, seat fleet.Seat, up session.Conn) error {
	switch {
	case a.Kind != mqtt.AbilityLogs:
		return fmt.Errorf("worker %s is an original agent, which cannot run commands in instances: %w", seat.Node, errs.Conflict)
	case a.Follow:
		return fmt.Errorf("worker %s is an original agent: of its logs only the last 1024 bytes are known, without following: %w", seat.Node, errs.Conflict)
	}
	if err := up.Send(ctx, session.Frame{Kind: session.Ready}); err != nil {
		return err
	}
	return up.Send(ctx, session.Frame{Kind: session.Stdout, Data: []byte(lastLines(seat.LogTail, a.Tail))})
}

func lastLines(text string, lines int64) string {
	all := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if lines <= 0 || int64(len(all)) <= lines {
		return text
	}
	return strings.Join(all[int64(len(all))-lines:], "")
}

// ring has the worker dial, and waits for it.
func (s *Sessions) ring(ctx context.Context, a Ask, seat fleet.Seat) (*session.Socket, error) {
	id, dialled := session.NewID(), make(chan *session.Socket, 1)
	s.mu.Lock()
	s.waiting[id] = dialled
	s.mu.Unlock()
	err := s.bell.Send(ctx, seat.Node, nodelink.Outbound{Session: &nodelink.Session{
		ID: id, Kind: a.Kind, Attempt: seat.Attempt, Follow: a.Follow, Tail: a.Tail, SinceMS: a.SinceMS,
		Command: a.Command, Stdin: a.Stdin, TTY: a.TTY, Columns: a.Columns, Rows: a.Rows,
	}})
	limit := time.NewTimer(dialWithin)
	defer limit.Stop()
	if err == nil {
		select {
		case sock := <-dialled:
			return connected(sock, seat)
		case <-ctx.Done():
			err = fmt.Errorf("who asked is gone: %w", errs.Unavailable)
		case <-limit.C:
			err = fmt.Errorf("worker %s did not open the session within %s: %w", seat.Node, dialWithin, errs.Unavailable)
		}
	}
	if s.take(id) == nil { // it dials this very moment
		if sock := <-dialled; sock != nil {
			sock.Close()
		}
	}
	return nil, err
}

func connected(sock *session.Socket, seat fleet.Seat) (*session.Socket, error) {
	if sock == nil {
		return nil, fmt.Errorf("worker %s could not open the session: %w", seat.Node, errs.Unavailable)
	}
	return sock, nil
}

// take hands out who waits for an id, once.
func (s *Sessions) take(id string) chan *session.Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.waiting[id]
	delete(s.waiting, id)
	return c
}

// ServeHTTP is where workers dial.
func (s *Sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.take(strings.TrimPrefix(r.URL.Path, mqtt.SessionPath))
	if c == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "nobody waits for this session"}) // the peer is gone
		return
	}
	sock, err := session.Accept(w, r, nil)
	if err != nil {
		s.log.Warn("a worker could not open its session", "from", r.RemoteAddr, "error", err)
	}
	c <- sock
}

var errLost = errors.New("the worker is lost")

// watch ends a session whose worker is lost: without power it says nothing.
func (s *Sessions) watch(ctx context.Context, seat fleet.Seat, stop context.CancelCauseFunc) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if live, err := s.fleet.Liveness(ctx, seat.Node); err == nil && live == instance.Lost {
			stop(errLost)
			return
		}
	}
}
