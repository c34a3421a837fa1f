package clusters

import (
	"context"
	"slices"
	"sync"
	"time"

	linkv1 "oakestra/api/link/v1"
)

// mostWaiting bounds what waits for one cluster. What replaces something that
// waits already takes no room, so this many different things wait only for a
// cluster that has stopped reading.
const mostWaiting = 1 << 16

// session is one Control stream. One goroutine writes; everybody else queues,
// and nobody waits. A stream that takes none of it for streamSilent is cut;
// the cluster hears everything again when it returns.
type session struct {
	cut   context.CancelCauseFunc
	bell  chan struct{}
	began time.Time
	// abilities are what the cluster can be asked besides; set before anybody
	// else can reach the session.
	abilities []string
	key       string // of the cluster
	claims    claimed
	start     string // of its manager: another one is another process

	mu   sync.Mutex    // guards what follows
	ask  chan struct{} // closed at the next message of the cluster; nil when nobody waits
	list []*linkv1.Down
	at   map[string]int // where a message with a key waits
	over bool
}

// claimed is what a cluster has claimed so far; only the stream's reader uses it.
type claimed struct {
	Claims
	bytes int
}

// mostClaimed bounds what a cluster may claim in parts.
const mostClaimed = 1 << 30

// order queues assignments; false when the stream has ended.
func (s *session) order(d Desired) bool {
	for _, m := range desiredTo(d, slices.Contains(s.abilities, linkv1.AbilityParts)) {
		if !s.queue(m) {
			return false
		}
	}
	return true
}

// tell is order for those who need not know whether it was heard.
func (s *session) tell(d Desired) { s.order(d) }

// probeWait is how long a cluster has to answer when another process says that
// it is the same cluster.
const probeWait = 2 * time.Second

// answers asks the cluster for a sign of life.
func (s *session) answers(ctx context.Context) bool {
	s.mu.Lock()
	if s.ask == nil {
		s.ask = make(chan struct{})
	}
	heard := s.ask
	s.mu.Unlock()
	if !s.queue(&linkv1.Down{Body: &linkv1.Down_Heartbeat{Heartbeat: &linkv1.Heartbeat{}}}) {
		return false
	}
	limit := time.NewTimer(probeWait)
	defer limit.Stop()
	select {
	case <-heard:
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

// spoke notes a message of the cluster.
func (s *session) spoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ask != nil {
		close(s.ask)
		s.ask = nil
	}
}

func newSession(cut context.CancelCauseFunc) *session {
	return &session{cut: cut, bell: make(chan struct{}, 1), began: time.Now(), at: map[string]int{}}
}

// queue hands a message to the writer; false when the stream has ended.
func (s *session) queue(m *linkv1.Down) bool { return s.replace("", m) }

// replace hands over a message that makes an earlier one of the same key
// superfluous, should that still wait.
func (s *session) replace(key string, m *linkv1.Down) bool {
	queued, full := s.append(key, m)
	if full {
		s.end(errSlow)
	}
	return queued
}

func (s *session) append(key string, m *linkv1.Down) (queued, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false, false
	}
	if i, waits := s.at[key]; waits {
		s.list[i] = m
		return true, false
	}
	if len(s.list) >= mostWaiting {
		return false, true
	}
	if key != "" {
		s.at[key] = len(s.list)
	}
	s.list = append(s.list, m)
	select {
	case s.bell <- struct{}{}:
	default:
	}
	return true, false
}

func (s *session) take() []*linkv1.Down {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	clear(s.at)
	return list
}

// end cuts the stream, once.
func (s *session) end(why error) {
	s.mu.Lock()
	first := !s.over
	s.over, s.list = true, nil
	clear(s.at)
	s.mu.Unlock()
	if first {
		s.cut(why)
	}
}

// write sends what is queued until the stream ends.
func (s *session) write(ctx context.Context, send func(*linkv1.Down) error) error {
	stuck := time.AfterFunc(streamSilent, func() { s.end(errSlow) })
	defer stuck.Stop()
	for {
		stuck.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.bell:
		}
		for _, m := range s.take() {
			stuck.Reset(streamSilent)
			if err := send(m); err != nil {
				return err
			}
		}
	}
}
