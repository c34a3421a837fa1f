package clusters

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// orderWait is how long a cluster may take to store an order.
const orderWait = 10 * time.Second

// orders are messages to clusters that wait for their answer. They are kept by
// nobody: who asked is told when the cluster does not answer, and asks again.
type orders[T interface{ GetId() string }] struct {
	mu      sync.Mutex
	waiting map[string]waiting[T]
}

type waiting[T any] struct {
	sess *session
	done chan T // closed when the stream ends
}

func newOrders[T interface{ GetId() string }]() *orders[T] {
	return &orders[T]{waiting: map[string]waiting[T]{}}
}

func (o *orders[T]) add(id string, s *session) <-chan T {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := waiting[T]{s, make(chan T, 1)}
	o.waiting[id] = w
	return w.done
}

func (o *orders[T]) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, id)
}

// answered hands an answer to who waits; one that nobody waits for
// came too late.
func (o *orders[T]) answered(s *session, a T) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w, ok := o.waiting[a.GetId()]; ok && w.sess == s {
		delete(o.waiting, a.GetId())
		w.done <- a
	}
}

// left fails what waits for a stream that has ended.
func (o *orders[T]) left(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, w := range o.waiting {
		if w.sess == s {
			delete(o.waiting, id)
			close(w.done)
		}
	}
}

var verbs = map[control.NodeVerb]linkv1.NodeVerb{
	control.Cordon: linkv1.NodeVerb_NODE_VERB_CORDON, control.Uncordon: linkv1.NodeVerb_NODE_VERB_UNCORDON,
	control.Drain: linkv1.NodeVerb_NODE_VERB_DRAIN, control.RemoveNode: linkv1.NodeVerb_NODE_VERB_REMOVE,
	control.ConfirmLoss: linkv1.NodeVerb_NODE_VERB_CONFIRM_LOSS,
}

// OrderNode has a cluster change how one of its workers is used, and returns
// when the cluster has stored it. Errors: Unavailable when the cluster is away
// or does not answer, NotFound and Conflict as the cluster says.
func (s *Server) OrderNode(ctx context.Context, cluster model.ClusterID, node model.NodeID, verb control.NodeVerb) (control.Ordered, error) {
	return s.order(ctx, cluster, "", &linkv1.NodeOrder{NodeId: string(node), Verb: verbs[verb]})
}

// order sends an order that needs an ability, or none, and waits for its answer.
func (s *Server) order(ctx context.Context, cluster model.ClusterID, ability string, o *linkv1.NodeOrder) (control.Ordered, error) {
	name := s.book.name(cluster)
	sess := s.book.sessions()[cluster]
	if sess == nil || !s.book.Active(cluster) {
		return control.Ordered{}, fmt.Errorf("cluster %s is not connected; the order can only be carried out there, try again when it is back: %w", name, errs.Unavailable)
	}
	if ability != "" && !slices.Contains(sess.abilities, ability) {
		return control.Ordered{}, fmt.Errorf("cluster %s runs a version that does not know this order: %w", name, errs.Conflict)
	}
	o.Id = rand.Text()
	done := s.orders.add(o.Id, sess)
	defer s.orders.forget(o.Id)
	sess.queue(&linkv1.Down{Body: &linkv1.Down_NodeOrder{NodeOrder: o}})
	timeout := time.NewTimer(orderWait)
	defer timeout.Stop()
	select {
	case a, ok := <-done:
		if !ok {
			return control.Ordered{}, fmt.Errorf("the link to cluster %s broke before it answered; ask again when it is back: %w", name, errs.Unavailable)
		}
		return orderedFrom(a)
	case <-timeout.C:
		return control.Ordered{}, fmt.Errorf("cluster %s did not answer within %s; it may carry the order out yet: %w", name, orderWait, errs.Unavailable)
	case <-ctx.Done():
		return control.Ordered{}, fmt.Errorf("order to cluster %s: %w: %w", name, ctx.Err(), errs.Unavailable)
	}
}

func orderedFrom(a *linkv1.NodeOrdered) (control.Ordered, error) {
	switch a.GetResult() {
	case linkv1.OrderResult_ORDER_RESULT_NOT_FOUND:
		return control.Ordered{}, fmt.Errorf("%s: %w", a.GetMessage(), errs.NotFound)
	case linkv1.OrderResult_ORDER_RESULT_CONFLICT:
		return control.Ordered{}, fmt.Errorf("%s: %w", a.GetMessage(), errs.Conflict)
	case linkv1.OrderResult_ORDER_RESULT_DONE:
	}
	out := control.Ordered{Said: a.GetMessage()}
	for _, i := range a.GetInstances() {
		out.Moves = append(out.Moves, control.Move{Instance: slot(i.GetServiceId(), i.GetNumber()), To: model.NodeID(i.GetToNodeId()), Reason: i.GetReason()})
	}
	return out, nil
}

// Forget drops what was kept of a cluster that was removed.
func (s *Server) Forget(id model.ClusterID) {
	s.book.remove(id)
	s.tables.forgetCluster(id)
}
