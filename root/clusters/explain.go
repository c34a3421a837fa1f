package clusters

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
)

const (
	// abilityExplain names clusters that answer Explain; others would stay
	// silent.
	abilityExplain = "explain"
	// explainWait is how long a user waits for a cluster that does not answer.
	explainWait = 2 * time.Second
)

// Ask has a cluster say which of its workers would take one more instance of a
// service, and lists up to most of them. A cluster that cannot say so within
// 2 s is no error: State tells.
func (s *Server) Ask(ctx context.Context, cluster model.ClusterID, svc model.Service, most int) control.Answer {
	sess := s.book.sessions()[cluster]
	switch {
	case sess == nil || !s.book.Active(cluster):
		return control.Answer{State: control.AnswerAway}
	case !slices.Contains(sess.abilities, abilityExplain):
		return control.Answer{State: control.AnswerOlder}
	}
	svc.Spec.Environment, svc.Spec.Command = nil, nil // may be secret, and places nothing
	id := rand.Text()
	done := s.asked.add(id, sess)
	defer s.asked.forget(id)
	sess.queue(&linkv1.Down{Body: &linkv1.Down_Explain{Explain: &linkv1.Explain{
		Id: id, ServiceId: string(svc.ID), Spec: specTo(svc, model.Application{}), Most: uint32(max(most, 0)),
	}}})
	timeout := time.NewTimer(explainWait)
	defer timeout.Stop()
	select {
	case a, ok := <-done:
		if !ok {
			return control.Answer{State: control.AnswerAway}
		}
		return answerFrom(a)
	case <-timeout.C:
	case <-ctx.Done():
	}
	return control.Answer{State: control.AnswerSilent}
}

func answerFrom(a *linkv1.Explained) control.Answer {
	out := control.Answer{State: control.Answered, Workers: int(a.GetWorkers()), Qualify: int(a.GetQualify()), Node: model.NodeID(a.GetNodeId())}
	for _, r := range a.GetReasons() {
		out.Reasons = append(out.Reasons, reasonFrom(r))
	}
	for _, j := range a.GetJudged() {
		v := control.Judged{Node: model.NodeID(j.GetNodeId()), Host: j.GetHost()}
		if j.GetReason() != nil {
			r := reasonFrom(j.GetReason())
			v.Reason = &r
		}
		out.Judged = append(out.Judged, v)
	}
	return out
}
