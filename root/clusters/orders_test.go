package clusters

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// ordered sends an order and lets answer react to what the cluster gets.
func ordered(t *testing.T, answer func(s *Server, sess *session, id string)) (done control.Ordered, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(NewBook(nil), nil, slog.New(slog.DiscardHandler))
		sess := newSession(func(error) {})
		s.book.join(model.Cluster{ID: "c1", Name: "kitchen"}, sess)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			done, err = s.OrderNode(t.Context(), "c1", "w1", control.Drain)
		}()
		synctest.Wait()
		list := sess.take()
		if len(list) != 1 || list[0].GetNodeOrder().GetVerb() != linkv1.NodeVerb_NODE_VERB_DRAIN || list[0].GetNodeOrder().GetNodeId() != "w1" {
			t.Fatalf("sent %v", list)
		}
		answer(s, sess, list[0].GetNodeOrder().GetId())
		<-ended
		if len(s.orders.waiting) != 0 {
			t.Error("the order still waits")
		}
	})
	return done, err
}

func TestAnOrderWaitsForItsAcknowledgement(t *testing.T) {
	done, err := ordered(t, func(s *Server, sess *session, id string) {
		s.orders.answered(newSession(nil), &linkv1.NodeOrdered{Id: id}) // another stream cannot
		s.orders.answered(sess, &linkv1.NodeOrdered{Id: "another"})
		s.orders.answered(sess, &linkv1.NodeOrdered{Id: id, Message: "said", Instances: []*linkv1.NodeInstance{{ServiceId: "s", Number: 2, ToNodeId: "w2"}}})
		s.orders.answered(sess, &linkv1.NodeOrdered{Id: id}) // twice
	})
	moves := done.Moves
	if err != nil || done.Said != "said" || len(moves) != 1 || moves[0].To != "w2" || moves[0].Instance.Number != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	for result, class := range map[linkv1.OrderResult]error{linkv1.OrderResult_ORDER_RESULT_CONFLICT: errs.Conflict, linkv1.OrderResult_ORDER_RESULT_NOT_FOUND: errs.NotFound} {
		_, err := ordered(t, func(s *Server, sess *session, id string) {
			s.orders.answered(sess, &linkv1.NodeOrdered{Id: id, Result: result, Message: "because"})
		})
		if !errors.Is(err, class) || !strings.Contains(err.Error(), "because") {
			t.Errorf("%v", err)
		}
	}
}

func TestAnOrderToAClusterThatGoesOrIsAwayIsUnavailable(t *testing.T) {
	_, broke := ordered(t, func(s *Server, sess *session, _ string) { s.orders.left(sess) })
	_, silent := ordered(t, func(*Server, *session, string) { time.Sleep(orderWait) })
	s := NewServer(NewBook(nil), nil, slog.New(slog.DiscardHandler))
	_, away := s.OrderNode(t.Context(), "c1", "w1", control.Cordon)
	for _, err := range []error{broke, silent, away} {
		if !errors.Is(err, errs.Unavailable) {
			t.Errorf("%v", err)
		}
	}
}
