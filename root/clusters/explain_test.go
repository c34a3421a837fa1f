package clusters

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
)

// asked asks a cluster with the given abilities and lets answer react.
func asked(t *testing.T, abilities []string, answer func(s *Server, sess *session, e *linkv1.Explain)) (out control.Answer) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(NewBook(nil), nil, slog.New(slog.DiscardHandler))
		sess := newSession(func(error) {})
		sess.abilities = abilities
		s.book.join(model.Cluster{ID: "c1", Name: "kitchen"}, sess)
		done := make(chan struct{})
		go func() {
			defer close(done)
			svc := model.Service{ID: "s1", Spec: model.ServiceSpec{Environment: []string{"PASSWORD=x"}, Demand: model.Resources{MemoryMB: 512}}}
			out = s.Ask(t.Context(), "c1", svc, 7)
		}()
		synctest.Wait()
		for _, m := range sess.take() {
			answer(s, sess, m.GetExplain())
		}
		<-done
		if len(s.asked.waiting) != 0 {
			t.Error("the question still waits")
		}
	})
	return out
}

func TestAClusterExplainsItsWorkers(t *testing.T) {
	got := asked(t, []string{"explain"}, func(s *Server, sess *session, e *linkv1.Explain) {
		if e.GetServiceId() != "s1" || e.GetMost() != 7 || e.GetSpec().GetDemand().GetMemoryMb() != 512 || len(e.GetSpec().GetEnvironment()) != 0 {
			t.Errorf("asked %v", e)
		}
		r := &linkv1.Reason{Name: "memory", Count: 1, Detail: "w3: 512 > 300 MiB free"}
		s.asked.answered(newSession(nil), &linkv1.Explained{Id: e.GetId()}) // another stream cannot
		s.asked.answered(sess, &linkv1.Explained{Id: e.GetId(), Workers: 9, Qualify: 8, NodeId: "w1", Reasons: []*linkv1.Reason{r},
			Judged: []*linkv1.Judged{{NodeId: "w1", Host: "h1"}, {NodeId: "w3", Reason: r}}})
	})
	memory := instance.Reason{Name: "memory", Count: 1, Detail: "w3: 512 > 300 MiB free"}
	want := control.Answer{State: control.Answered, Workers: 9, Qualify: 8, Node: "w1", Reasons: []instance.Reason{memory},
		Judged: []control.Judged{{Node: "w1", Host: "h1"}, {Node: "w3", Reason: &memory}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A cluster that does not answer, is too old to, or goes meanwhile is no error.
func TestAClusterThatDoesNotExplain(t *testing.T) {
	mute := func(*Server, *session, *linkv1.Explain) {}
	if got := asked(t, []string{"explain"}, mute); got.State != control.AnswerSilent {
		t.Errorf("silent: %+v", got)
	}
	older := asked(t, nil, func(*Server, *session, *linkv1.Explain) { t.Error("an older cluster was asked") })
	if older.State != control.AnswerOlder {
		t.Errorf("older: %+v", older)
	}
	if got := asked(t, []string{"explain"}, func(s *Server, sess *session, _ *linkv1.Explain) { s.asked.left(sess) }); got.State != control.AnswerAway {
		t.Errorf("gone: %+v", got)
	}
	s := NewServer(NewBook(nil), nil, slog.New(slog.DiscardHandler))
	if got := s.Ask(t.Context(), "c1", model.Service{}, 1); got.State != control.AnswerAway {
		t.Errorf("away: %+v", got)
	}
}
