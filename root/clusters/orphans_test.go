package clusters

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// What a cluster reports of an orphan is what it is told to end; an older one
// is not asked, and one that is away is not either.
func TestTheOrderToEndAnOrphan(t *testing.T) {
	for _, c := range []struct {
		name      string
		abilities []string
		joined    bool
		result    linkv1.OrderResult
		class     error
		text      string
	}{
		{"done", []string{"explain", "orphans"}, true, linkv1.OrderResult_ORDER_RESULT_DONE, nil, ""},
		{"it belongs to a slot", []string{"orphans"}, true, linkv1.OrderResult_ORDER_RESULT_CONFLICT, errs.Conflict, "because"},
		{"it is gone", []string{"orphans"}, true, linkv1.OrderResult_ORDER_RESULT_NOT_FOUND, errs.NotFound, "because"},
		{"an older cluster", []string{"explain"}, true, 0, errs.Conflict, "cluster kitchen runs a version"},
		{"away", nil, false, 0, errs.Unavailable, "cluster kitchen is not connected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reported := &linkv1.Orphan{NodeId: "w1", ServiceId: "s", ServiceName: "a.b.c.d", Number: 3, Grant: uint64(instance.MakeGrant(2, 1)), Try: 4}
				s := NewServer(NewBook(nil), nil, slog.New(slog.DiscardHandler))
				sess := newSession(func(error) {})
				sess.abilities = c.abilities
				s.book.join(model.Cluster{ID: "c1", Name: "kitchen"}, sess)
				if !c.joined {
					s.book.leave("c1", sess)
				}
				done := make(chan error, 1)
				go func() { done <- s.EndOrphan(t.Context(), orphanFrom(reported, "c1")) }()
				synctest.Wait()
				if list := sess.take(); len(list) > 0 {
					o := list[0].GetNodeOrder()
					if d := cmp.Diff(&linkv1.NodeOrder{Id: o.GetId(), NodeId: "w1", Verb: linkv1.NodeVerb_NODE_VERB_END_ORPHAN, Orphan: reported}, o, protocmp.Transform()); d != "" {
						t.Errorf("want - sent +\n%s", d)
					}
					s.orders.answered(sess, &linkv1.NodeOrdered{Id: o.GetId(), Result: c.result, Message: "because"})
				}
				if err := <-done; !errors.Is(err, c.class) || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %v with %q", err, c.class, c.text)
				}
			})
		})
	}
}

// An orphan is listed since it was listed first, whatever else comes and goes.
func TestSinceWhenAnOrphanIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(nil)
		nobody := func(model.InstanceID) bool { return false }
		first := control.UnknownView{Cluster: "a", Node: "w1", ServiceName: "a.b.c.d", Epoch: instance.Epoch{}}
		second := control.UnknownView{Cluster: "a", Node: "w1", Instance: id("o", 1), Epoch: instance.Epoch{Grant: 1, Try: 1}}
		for _, c := range []struct {
			report []control.UnknownView
			ages   []time.Duration
		}{
			{[]control.UnknownView{first}, []time.Duration{0}},
			{[]control.UnknownView{first, second}, []time.Duration{time.Minute, 0}},
			{[]control.UnknownView{second}, []time.Duration{time.Minute}},
			{[]control.UnknownView{first, second}, []time.Duration{0, 2 * time.Minute}},
		} {
			b.report("a", true, nil, c.report)
			var ages []time.Duration
			for _, u := range b.Unexplained(nobody) {
				ages = append(ages, time.Since(u.Since))
			}
			if d := cmp.Diff(c.ages, ages); d != "" {
				t.Errorf("want - ages +\n%s", d)
			}
			time.Sleep(time.Minute)
		}
	})
}
