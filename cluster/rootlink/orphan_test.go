package rootlink

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func (empty) EndOrphan(context.Context, fleet.Orphan) error   { return nil }
func (*holder) EndOrphan(context.Context, fleet.Orphan) error { return nil }

// ender notes what it is told to end.
type ender struct {
	empty
	ended []fleet.Orphan
	err   error
}

func (e *ender) EndOrphan(_ context.Context, o fleet.Orphan) error {
	e.ended = append(e.ended, o)
	return e.err
}

// What is reported of an orphan comes back in the order to end it, and the
// answer says how that went.
func TestAnOrphanTravelsUpAndDown(t *testing.T) {
	o := fleet.Orphan{Node: "w1", Instance: model.InstanceID{Service: "s", Number: 3}, Name: "a.b.c.d", Epoch: instance.Epoch{Grant: instance.MakeGrant(2, 5), Try: 7}}
	up := reportTo(true, nil, &[]fleet.Orphan{o}).GetReport().GetOrphans()[0]
	for class, result := range map[error]linkv1.OrderResult{
		nil: linkv1.OrderResult_ORDER_RESULT_DONE, errs.NotFound: linkv1.OrderResult_ORDER_RESULT_NOT_FOUND, errs.Conflict: linkv1.OrderResult_ORDER_RESULT_CONFLICT,
	} {
		e := &ender{}
		if class != nil {
			e.err = fmt.Errorf("because: %w", class)
		}
		answers := make(chan *linkv1.Up, 1)
		s := &session{fleet: e}
		order := &linkv1.NodeOrder{Id: "7", NodeId: up.GetNodeId(), Verb: linkv1.NodeVerb_NODE_VERB_END_ORPHAN, Orphan: up}
		if err := s.answer(t.Context(), &linkv1.Down{Body: &linkv1.Down_NodeOrder{NodeOrder: order}}, answers); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]fleet.Orphan{o}, e.ended); d != "" {
			t.Errorf("want - ended +\n%s", d)
		}
		if a := (<-answers).GetNodeOrdered(); a.GetId() != "7" || a.GetResult() != result {
			t.Errorf("%v: answered %v", class, a)
		}
	}
	o.Ending = true
	if !reportTo(true, nil, &[]fleet.Orphan{o}).GetReport().GetOrphans()[0].GetEnding() {
		t.Error("that it ends is not reported")
	}
}
