package rootlink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/store"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// session is one stream to the root, from Hello to its end.
type session struct {
	link     *Link
	book     store.Store
	fleet    Fleet
	tables   Tables
	id       *store.Identity
	welcomed func()
	pace     chan struct{} // beat has changed
	beat     atomic.Int64  // ns between heartbeats
	busy     atomic.Bool   // with what the root said
	sent     atomic.Int64  // the last message has gone, in ns since link.began
	answered atomic.Int64  // the same of what answers the root
}

func (s *session) run(ctx context.Context, client linkv1.LinkClient) error {
	s.pace = make(chan struct{}, 1)
	s.beat.Store(int64(beat))
	g, ctx := errgroup.WithContext(ctx)
	stream, err := client.Control(ctx)
	if err != nil {
		return err
	}
	s.link.out.collect()
	held, err := s.fleet.Holdings(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(helloTo(s.link.cfg, *s.id, s.link.session, held)); err != nil {
		_, err = stream.Recv()
		return err
	}
	s.link.hear()
	up := make(chan *linkv1.Up, 16)
	g.Go(func() error { return s.receive(ctx, stream, up) })
	g.Go(func() error { return s.transmit(ctx, stream, up) })
	g.Go(func() error { return s.watch(ctx) })
	return g.Wait()
}

func (s *session) receive(ctx context.Context, stream linkv1.Link_ControlClient, up chan<- *linkv1.Up) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.link.hear()
		s.busy.Store(true)
		if err := s.handle(ctx, m, up); err != nil {
			return err
		}
		s.link.hear() // what it says meanwhile waits to be read
		s.busy.Store(false)
	}
}

// obey takes the root's wish for heartbeats, within bounds. One that names none
// has the usual one.
func (s *session) obey(ms uint32) {
	if ms == 0 {
		return
	}
	s.beat.Store(int64(min(max(time.Duration(ms)*time.Millisecond, beatMin), beat)))
	select {
	case s.pace <- struct{}{}:
	default:
	}
}

// watch ends a session whose root is silent. While it takes a long answer it is
// not: what it says is read after that, or comes behind it.
func (s *session) watch(ctx context.Context) error {
	tick := time.NewTicker(beatMin)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			last := max(s.link.heard.Load(), s.answered.Load())
			if s.busy.Load() {
				last = max(last, s.sent.Load())
			}
			if patience := missed * time.Duration(s.beat.Load()); now.Sub(s.link.began)-time.Duration(last) > patience {
				return fmt.Errorf("the root has been silent for %s: %w", patience, errs.Unavailable)
			}
		}
	}
}

func push(ctx context.Context, up chan<- *linkv1.Up, m *linkv1.Up) error {
	select {
	case up <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) handle(ctx context.Context, m *linkv1.Down, up chan<- *linkv1.Up) error {
	switch b := m.GetBody().(type) {
	case *linkv1.Down_Welcome:
		return s.welcome(ctx, b.Welcome, up)
	case *linkv1.Down_Desired:
		if err := s.fleet.Desired(ctx, desiredFrom(b.Desired)); err != nil {
			return err
		}
		return push(ctx, up, &linkv1.Up{Body: &linkv1.Up_Applied{Applied: &linkv1.Applied{Revision: b.Desired.GetRevision()}}})
	case *linkv1.Down_Heartbeat:
		if !b.Heartbeat.GetEcho() {
			return push(ctx, up, heartbeat(b.Heartbeat.GetSeq(), true))
		}
		s.link.out.echoed(b.Heartbeat.GetSeq())
	case *linkv1.Down_NodeOrder, *linkv1.Down_Explain:
		return s.answer(ctx, m, up)
	case *linkv1.Down_Table:
		s.tables.RootTable(tableFrom(b.Table))
	case *linkv1.Down_Peers:
		s.tables.RootPeers(model.ServiceID(b.Peers.GetServiceId()), peersFrom(b.Peers.GetPeers()))
	case *linkv1.Down_SliceApplied:
		a := b.SliceApplied
		s.tables.SliceApplied(model.ServiceID(a.GetServiceId()), model.ClusterID(a.GetClusterId()), a.GetVersion())
	case *linkv1.Down_Blocks:
		if b.Blocks.GetError() != "" {
			s.link.log.Warn("the root gives no address block", "error", b.Blocks.GetError())
		}
		if list := prefixes(b.Blocks.GetBlocks()); len(list) > 0 {
			return s.fleet.Blocks(ctx, list)
		}
	case *linkv1.Down_Attach:
		s.link.attach(b.Attach)
	}
	return nil
}

// answer handles what the root waits for.
func (s *session) answer(ctx context.Context, m *linkv1.Down, up chan<- *linkv1.Up) error {
	switch b := m.GetBody().(type) {
	case *linkv1.Down_NodeOrder:
		done, err := s.order(ctx, b.NodeOrder)
		if errors.Is(err, errs.Unavailable) {
			return err
		}
		return push(ctx, up, orderedTo(b.NodeOrder.GetId(), done, err))
	case *linkv1.Down_Explain:
		e, err := s.fleet.Explain(ctx, questionFrom(b.Explain))
		if err != nil {
			return err
		}
		return push(ctx, up, explainedTo(b.Explain.GetId(), e))
	}
	return nil
}

func (s *session) welcome(ctx context.Context, w *linkv1.Welcome, up chan<- *linkv1.Up) error {
	if s.id.Incarnation != 0 && s.id.Incarnation != w.GetIncarnation() {
		s.link.log.Warn("the root's store is another one; everything here goes on", "from", s.id.Incarnation, "to", w.GetIncarnation())
	}
	next := *s.id
	next.Cluster, next.Incarnation = model.ClusterID(w.GetClusterId()), w.GetIncarnation()
	if next != *s.id {
		if err := s.book.SaveIdentity(ctx, next); err != nil {
			return err
		}
		*s.id = next
	}
	s.link.cluster.Store(w.GetClusterId())
	s.obey(w.GetHeartbeatMs())
	if w.GetRecovery() {
		held, err := s.fleet.Holdings(ctx)
		if err != nil {
			return err
		}
		for m := range claimsTo(held, slices.Contains(w.GetAbilities(), linkv1.AbilityParts)) {
			if err := push(ctx, up, m); err != nil {
				return err
			}
		}
	}
	s.link.out.connect()
	snap, err := s.fleet.Snapshot(ctx)
	if err != nil {
		return err
	}
	for _, m := range snapshotTo(snap) {
		if err := push(ctx, up, m); err != nil {
			return err
		}
	}
	s.link.connected.Store(true)
	s.link.out.summed(snap.Sums.Number) // and send what came meanwhile
	s.welcomed()
	s.link.log.Info("linked to the root", "cluster", w.GetClusterId(), "incarnation", w.GetIncarnation(), "recovery", w.GetRecovery())
	return nil
}

func heartbeat(seq uint64, echo bool) *linkv1.Up {
	return &linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: seq, Echo: echo}}}
}

func (s *session) transmit(ctx context.Context, stream linkv1.Link_ControlClient, up <-chan *linkv1.Up) error {
	tick := time.NewTicker(time.Duration(s.beat.Load()))
	defer tick.Stop()
	for {
		var beats, answers, news []*linkv1.Up
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-up:
			answers = append(answers, m)
		case <-s.link.out.bell:
			answers, news = s.changes(up)
		case <-s.pace:
			tick.Reset(time.Duration(s.beat.Load()))
		case <-tick.C:
			beats = append(beats, heartbeat(s.link.out.beat(), false))
			answers, news = s.changes(up)
		}
		for _, part := range []struct {
			list []*linkv1.Up
			gone *atomic.Int64
		}{{beats, &s.sent}, {answers, &s.answered}, {news, &s.sent}} {
			for _, m := range part.list {
				if err := stream.Send(m); err != nil {
					return err
				}
				part.gone.Store(int64(time.Since(s.link.began)))
			}
		}
	}
}

// changes takes what is to be sent; the snapshot, still in up, goes first.
func (s *session) changes(up <-chan *linkv1.Up) (answers, news []*linkv1.Up) {
	if !s.link.connected.Load() {
		return nil, nil
	}
	for {
		select {
		case m := <-up:
			answers = append(answers, m)
			continue
		default:
		}
		return answers, s.link.out.take()
	}
}
