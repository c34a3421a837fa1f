package clusters

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// handle takes one message of a cluster. An error ends the stream; the cluster
// comes back and says everything again.
func (s *Server) handle(ctx context.Context, sess *session, id model.ClusterID, m *linkv1.Up) error {
	switch body := m.GetBody().(type) {
	case *linkv1.Up_Heartbeat:
		if !body.Heartbeat.GetEcho() {
			sess.replace("heartbeat", &linkv1.Down{Body: &linkv1.Down_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: body.Heartbeat.GetSeq(), Echo: true}}})
		}
	case *linkv1.Up_Report:
		s.report(id, body.Report)
	case *linkv1.Up_Aggregate:
		s.book.setRoom(id, roomFrom(body.Aggregate))
		s.desk.Moved(id)
		s.tables.review(id, sess)
	case *linkv1.Up_Nodes:
		s.nodes(id, body.Nodes)
	case *linkv1.Up_Claims:
		return s.claims(ctx, sess, id, body.Claims)
	case *linkv1.Up_BlockRequest:
		return s.lease(ctx, sess, id, body.BlockRequest)
	case *linkv1.Up_Slice:
		s.tables.slice(id, sess, body.Slice)
	case *linkv1.Up_Interest:
		s.tables.interest(id, sess, body.Interest)
	case *linkv1.Up_TableApplied:
		s.tables.applied(id, sess, body.TableApplied)
	case *linkv1.Up_Event:
		s.noted(id, body.Event)
	case *linkv1.Up_NodeOrdered:
		s.orders.answered(sess, body.NodeOrdered)
	case *linkv1.Up_Explained:
		s.asked.answered(sess, body.Explained)
	case *linkv1.Up_Applied, *linkv1.Up_Hello, nil:
		// Applied is informative; a second Hello changes nothing; nil is a
		// message of a newer version.
	}
	return nil
}

func (s *Server) report(id model.ClusterID, r *linkv1.Report) {
	facts := make([]Facts, 0, len(r.GetInstances()))
	for _, f := range r.GetInstances() {
		facts = append(facts, factsFrom(f))
	}
	var orphans []control.UnknownView
	for _, o := range r.GetOrphans() {
		orphans = append(orphans, orphanFrom(o, id))
	}
	news := s.book.report(id, r.GetSnapshot(), facts, orphans)
	if r.GetSnapshot() {
		s.tables.hosted(id, facts)
	}
	s.tellChanges(id, news)
	s.desk.Reported(id, facts)
}

func (s *Server) nodes(id model.ClusterID, u *linkv1.NodeUpdate) {
	var nodes []control.NodeView
	for _, n := range u.GetNodes() {
		nodes = append(nodes, nodeFrom(n, id, ""))
	}
	var removed []model.NodeID
	for _, n := range u.GetRemoved() {
		removed = append(removed, model.NodeID(n))
	}
	s.book.setNodes(id, u.GetSnapshot(), nodes, removed)
}

// claims adopts what a cluster holds once all of it is here, then tells it the
// root's wishes, which now include what was adopted.
func (s *Server) claims(ctx context.Context, sess *session, id model.ClusterID, m *linkv1.Claims) error {
	sess.claims.bytes += proto.Size(m)
	if sess.claims.bytes > mostClaimed {
		return fmt.Errorf("cluster %s claims more than %d MiB: %w", id, mostClaimed>>20, errs.Exhausted)
	}
	c := claimsFrom(m, id, sess.claims.Claims)
	if m.GetMore() {
		sess.claims.Claims = c
		return nil
	}
	sess.claims = claimed{}
	if err := s.desk.Adopt(ctx, id, c); err != nil {
		return err
	}
	s.log.Info("adopted what a cluster holds", "cluster", id, "instances", len(c.Orders), "blocks", len(c.Blocks))
	held := make([]Held, 0, len(c.Orders))
	for _, in := range c.Orders {
		held = append(held, Held{Instance: in.ID, Grant: in.Grant, Revision: in.Revision})
	}
	return s.desk.Resync(ctx, id, held, sess.tell)
}

func (s *Server) lease(ctx context.Context, sess *session, id model.ClusterID, m *linkv1.BlockRequest) error {
	blocks, err := s.desk.Lease(ctx, id, prefixes(m.GetHeld()))
	grant := &linkv1.BlockGrant{Blocks: prefixTexts(blocks)}
	switch {
	case errors.Is(err, errs.Unavailable), errors.Is(err, errs.Exhausted):
		grant.Error = err.Error()
	case err != nil:
		return err
	}
	sess.replace("blocks", &linkv1.Down{Body: &linkv1.Down_Blocks{Blocks: grant}})
	return nil
}

func welcomeTo(w Welcome) *linkv1.Down {
	return &linkv1.Down{Body: &linkv1.Down_Welcome{Welcome: &linkv1.Welcome{
		ClusterId: string(w.ID), Incarnation: w.Incarnation, Recovery: w.Recovery, HeartbeatMs: uint32(heartbeat.Milliseconds()),
		Abilities: []string{linkv1.AbilityParts},
	}}}
}
