package clusters

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
	"oakestra/root/store"
)

// much is a snapshot of slots with specs of 30 KB.
func much(slots int) (d Desired) {
	long := strings.Repeat("e", 30<<10)
	d.Snapshot = true
	for i := range slots {
		id := model.ServiceID(fmt.Sprintf("%024x", i))
		d.Orders = append(d.Orders, store.Instance{ID: model.InstanceID{Service: id, Number: i}, Grant: 1, Service: model.Service{ID: id, Spec: model.ServiceSpec{Environment: []string{long}}}})
	}
	d.Unknown = []Held{{Instance: model.InstanceID{Service: "s", Number: 3}}}
	return d
}

// TestOrdersOfAnySize: whatever a cluster is to run goes in messages it can
// take, snapshots and changes alike.
func TestOrdersOfAnySize(t *testing.T) {
	s := newSession(func(error) {})
	s.abilities = []string{linkv1.AbilityParts}
	b := NewBook(nil)
	b.join(model.Cluster{ID: "c"}, s)
	for slots, snapshot := range map[int]bool{3000: true, 500: false} {
		d := much(slots)
		if d.Snapshot = snapshot; !b.Send("c", d) {
			t.Fatal("not sent")
		}
		next := 0
		list := s.take()
		for i, m := range list {
			data, err := proto.Marshal(m)
			if err != nil || len(data) > linkv1.PartBytes+1<<10 {
				t.Fatalf("message %d has %d bytes: %v", i, len(data), err)
			}
			var got linkv1.Down
			if err := proto.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			p, last := got.GetDesired(), i == len(list)-1
			if p.GetSnapshot() != snapshot || p.GetMore() == last || last != (len(p.GetUnknown()) == 1) {
				t.Fatalf("message %d of %d: snapshot %v, more %v, unknown %v", i, len(list), p.GetSnapshot(), p.GetMore(), p.GetUnknown())
			}
			linkv1.Whole(p.GetChanged())
			for _, a := range p.GetChanged() {
				if int(a.GetNumber()) != next || len(a.GetSpec().GetEnvironment()[0]) != 30<<10 {
					t.Fatalf("slot %d where %d belongs", a.GetNumber(), next)
				}
				next++
			}
		}
		if next != slots || len(list) < slots*29/1000 {
			t.Errorf("%d slots in %d messages", next, len(list))
		}
	}
}

// TestAnOlderClusterGetsOneMessage: without the ability, orders are whole.
func TestAnOlderClusterGetsOneMessage(t *testing.T) {
	s := newSession(func(error) {})
	s.tell(much(500))
	list := s.take()
	if len(list) != 1 || len(list[0].GetDesired().GetChanged()) != 500 || list[0].GetDesired().GetMore() {
		t.Fatalf("%d messages", len(list))
	}
	for _, a := range list[0].GetDesired().GetChanged() {
		if a.GetSpec() == nil {
			t.Fatal("an assignment has no spec")
		}
	}
}

// TestClaimsInParts are adopted once, when all are there.
func TestClaimsInParts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.desk.recovery = true
		p := r.dial(false).hello("a")
		if w := p.heard()[0].GetWelcome(); len(w.GetAbilities()) != 1 || w.GetAbilities()[0] != linkv1.AbilityParts {
			t.Fatalf("welcome %v", w)
		}
		spec := &linkv1.ServiceSpec{ApplicationId: "app", Image: "i"}
		for i, part := range []*linkv1.Claims{
			{More: true, Assignments: []*linkv1.Assignment{{ServiceId: "s", Number: 1, Grant: 4, Spec: spec}, {ServiceId: "s", Number: 2, Grant: 5}}},
			{More: true, Assignments: []*linkv1.Assignment{{ServiceId: "t", Number: 0, Grant: 6, Spec: spec}}},
			{Assignments: []*linkv1.Assignment{{ServiceId: "s", Number: 3, Grant: 7, Spec: spec}}, Blocks: []string{"10.18.0.0/22"}},
		} {
			if len(r.desk.claims) != 0 {
				t.Fatalf("adopted after %d parts: %+v", i, r.desk.claims)
			}
			p.say(&linkv1.Up{Body: &linkv1.Up_Claims{Claims: part}})
		}
		if len(r.desk.claims) != 1 || len(r.desk.claims[0].Orders) != 4 || len(r.desk.claims[0].Blocks) != 1 || len(r.desk.claims[0].Applications) != 1 {
			t.Fatalf("adopted %+v", r.desk.claims)
		}
		for _, in := range r.desk.claims[0].Orders {
			if in.Service.Spec.Image != "i" {
				t.Errorf("%s has no spec", in.ID)
			}
		}
		if len(r.desk.synced) != 1 || len(r.desk.synced[0]) != 4 {
			t.Errorf("compared %v", r.desk.synced)
		}
	})
}

// TestClaimsAreBounded: a cluster that claims without end is refused.
func TestClaimsAreBounded(t *testing.T) {
	s, sess := NewServer(NewBook(nil), &desk{}, testkit.Logger(t)), newSession(func(error) {})
	sess.claims.bytes = mostClaimed
	part := &linkv1.Claims{More: true, Assignments: []*linkv1.Assignment{{ServiceId: "s"}}}
	if err := s.claims(context.Background(), sess, "c", part); err == nil || !strings.Contains(err.Error(), "1024 MiB") {
		t.Errorf("taken: %v", err)
	}
}
