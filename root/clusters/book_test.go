package clusters

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/store"
)

func id(service string, number int) model.InstanceID {
	return model.InstanceID{Service: model.ServiceID(service), Number: number}
}

// fact is a report of the first try under a grant.
func fact(of model.InstanceID, grant instance.Grant, state instance.State) Facts {
	return Facts{
		Instance: of, Grant: grant, Placement: instance.Placement{Try: 1, Node: "w1", Verdict: instance.Placed},
		Observed: instance.Observed{Epoch: instance.Epoch{Grant: grant, Try: 1}, State: state},
	}
}

func gone(of model.InstanceID, grant instance.Grant) Facts {
	return Facts{Instance: of, Grant: grant, Gone: true}
}

// said is what the book shows of a slot: cluster, grant and state.
func said(b *Book, of model.InstanceID) string {
	v, ok := b.Facts(of)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s %d %d", v.Cluster, v.Observed.Epoch.Grant, v.Observed.State)
}

func expect(t *testing.T, when, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}

func TestWhatIsShownOfASlot(t *testing.T) {
	b, s := NewBook(nil), id("s", 0)
	say := func(from model.ClusterID, snapshot bool, facts ...Facts) { b.report(from, snapshot, facts, nil) }
	expect(t, "nothing heard", said(b, s), "")
	say("a", false, fact(s, 5, instance.Running))
	say("a", false, fact(s, 5, instance.Creating))
	expect(t, "doubled, late", said(b, s), "a 5 3")
	say("a", false, fact(s, 4, instance.Failed), gone(s, 4))
	expect(t, "of a lower grant", said(b, s), "a 5 3")
	say("b", false, fact(s, 3, instance.Running))
	expect(t, "another cluster's lower grant", said(b, s), "a 5 3")
	say("b", false, fact(s, 6, instance.Creating))
	expect(t, "another cluster's higher grant", said(b, s), "b 6 1")
	if r := b.Reports(s); len(r) != 2 || r["a"].Grant != 5 || r["b"].Grant != 6 {
		t.Errorf("reports %v", r)
	}
	say("b", false, gone(s, 6))
	expect(t, "gone there", said(b, s), "a 5 3")
	say("a", false, fact(s, 7, instance.Creating))
	expect(t, "a higher grant begins anew", said(b, s), "a 7 1")
	say("a", true, fact(s, 5, instance.Running))
	expect(t, "a snapshot is all there is", said(b, s), "a 5 3")
	say("a", true, fact(id("s", 1), 9, instance.Running))
	expect(t, "not in the snapshot", said(b, s), "")
	expect(t, "in the snapshot", said(b, id("s", 1)), "a 9 3")
	b.Forget(id("s", 1))
	expect(t, "forgotten", said(b, id("s", 1)), "")
	if len(b.facts) != 0 {
		t.Errorf("left: %v", b.facts)
	}
}

// A caller may keep what Reports returned.
func TestReportsAreACopy(t *testing.T) {
	b, s := NewBook(nil), id("s", 0)
	b.report("a", false, []Facts{fact(s, 1, instance.Running)}, nil)
	r := b.Reports(s)
	b.report("a", false, []Facts{gone(s, 1)}, nil)
	if len(r) != 1 || len(b.Reports(s)) != 0 {
		t.Errorf("kept %v, now %v", r, b.Reports(s))
	}
}

// Reports of one cluster may be doubled and, once it was heard, delayed: what
// is shown does not depend on it as long as nothing is gone.
func TestDoubledAndDelayedReportsAreShownAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Facts {
			return fact(id("s", rapid.IntRange(0, 1).Draw(t, "slot")), instance.Grant(rapid.IntRange(1, 3).Draw(t, "grant")), instance.State(rapid.IntRange(1, 7).Draw(t, "state")))
		}), 1, 8).Draw(t, "reports")
		shuffled := rapid.Permutation(slices.Concat(list, list)).Draw(t, "delivered")
		plain, odd := NewBook(nil), NewBook(nil)
		for _, f := range list {
			plain.report("a", false, []Facts{f}, nil)
		}
		for _, f := range shuffled {
			odd.report("a", false, []Facts{f}, nil)
		}
		if diff := cmp.Diff(plain.facts, odd.facts, cmpopts.EquateComparable(Facts{}.Vital.NamespaceIP)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestOrphansComeAsAWhole(t *testing.T) {
	b := NewBook(nil)
	orphan := func(n int) control.UnknownView {
		return control.UnknownView{Cluster: "a", Node: "w1", Instance: id("o", n)}
	}
	list := func() (out []int) {
		for _, u := range b.Unexplained(func(i model.InstanceID) bool { return i.Service == "known" }) {
			out = append(out, u.Instance.Number)
		}
		return out
	}
	for _, c := range []struct {
		when     string
		snapshot bool
		facts    []Facts
		orphans  []control.UnknownView
		want     []int
	}{
		{"the first", false, nil, []control.UnknownView{orphan(1), orphan(2)}, []int{1, 2}},
		{"news of slots", false, []Facts{fact(id("known", 0), 1, instance.Running)}, nil, []int{1, 2}},
		{"another list", false, []Facts{fact(id("known", 0), 1, instance.Running)}, []control.UnknownView{orphan(3)}, []int{3}},
		{"no more", false, nil, nil, nil},
		{"again", false, nil, []control.UnknownView{orphan(4)}, []int{4}},
		{"a snapshot without", true, []Facts{fact(id("known", 0), 1, instance.Running)}, nil, nil},
		{"what has no record", true, []Facts{fact(id("fact", 9), 1, instance.Running)}, []control.UnknownView{orphan(5)}, []int{9, 5}},
		{"is gone", false, []Facts{gone(id("fact", 9), 1)}, nil, []int{5}},
	} {
		b.report("a", c.snapshot, c.facts, c.orphans)
		if got := list(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.when, got, c.want)
		}
	}
	b.report("b", true, nil, []control.UnknownView{{Cluster: "b", Instance: id("o", 6)}})
	if got := list(); !slices.Equal(got, []int{5, 6}) {
		t.Errorf("of two clusters: %v", got)
	}
}

func TestAClusterIsActiveWhileItIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(nil)
		b.Know(store.Cluster{Cluster: model.Cluster{ID: "1", Name: "a"}})
		if l := b.Clusters(); len(l) != 1 || l[0].Active || b.Active("1") || b.Active("2") {
			t.Errorf("known only: %+v", l)
		}
		s := newSession(func(error) {})
		if b.join(model.Cluster{ID: "1", Name: "a"}, s); !b.Active("1") || b.seen("1") {
			t.Error("joined, but not active, or silent before")
		}
		time.Sleep(silence)
		if b.Active("1") || !b.seen("1") || !b.Active("1") {
			t.Error("silence and its end went unnoticed")
		}
		if !b.leave("1", s) || b.Active("1") || b.leave("1", s) {
			t.Error("left, but active")
		}
		if l := b.Clusters(); len(l) != 1 || l[0].LastSeen != time.Now() {
			t.Errorf("%+v", l)
		}
	})
}

// The newer stream counts, whatever the older one still does.
func TestOneStreamPerCluster(t *testing.T) {
	b, c := NewBook(nil), model.Cluster{ID: "1", Name: "a"}
	first, second := newSession(func(error) {}), newSession(func(error) {})
	if b.join(c, first) != nil || b.join(c, second) != first {
		t.Error("which stream was replaced?")
	}
	if b.speaks("1", first) || !b.speaks("1", second) || b.leave("1", first) || !b.Active("1") {
		t.Error("the first stream still counts")
	}
	if !b.Send("1", Desired{}) || len(first.take()) != 0 || len(second.take()) != 1 {
		t.Error("sent to the wrong stream")
	}
	if b.Send("2", Desired{}) || !b.leave("1", second) || b.Send("1", Desired{}) || len(b.sessions()) != 0 {
		t.Error("sent to nobody")
	}
}

func TestNodesOfClusters(t *testing.T) {
	b := NewBook(nil)
	b.join(model.Cluster{ID: "1", Name: "b"}, nil)
	b.join(model.Cluster{ID: "2", Name: "a"}, nil)
	node := func(c model.ClusterID, n model.NodeID) control.NodeView {
		return control.NodeView{Node: model.Node{ID: n}, Cluster: c}
	}
	list := func() (out string) {
		for _, n := range b.Nodes() {
			out += n.ClusterName + string(n.ID) + " "
		}
		return out
	}
	b.setNodes("1", true, []control.NodeView{node("1", "x"), node("1", "w")}, nil)
	b.setNodes("2", true, []control.NodeView{node("2", "z")}, nil)
	expect(t, "by cluster and id", list(), "az bw bx ")
	b.setNodes("1", false, []control.NodeView{node("1", "y")}, []model.NodeID{"w", "nobody"})
	expect(t, "a change", list(), "az bx by ")
	b.setNodes("1", true, []control.NodeView{node("1", "v")}, nil)
	expect(t, "a snapshot", list(), "az bv ")
	if _, ok := b.Room("1"); ok {
		t.Error("room before the first aggregate")
	}
	b.setRoom("1", Room{ActiveNodes: 3})
	if r, ok := b.Room("1"); !ok || r.ActiveNodes != 3 || r.At.IsZero() {
		t.Errorf("room %+v", r)
	}
}

// TestAClusterGoesBackToAnEarlierAttempt: a worker that was lost returned, and
// its cluster dropped the replacement; what was seen of that is over.
func TestAClusterGoesBackToAnEarlierAttempt(t *testing.T) {
	b := NewBook(nil)
	id := model.InstanceID{Service: "s"}
	say := func(try uint32, s instance.State, seen uint32) {
		b.report("c", false, []Facts{{Instance: id, Grant: 7, Placement: instance.Placement{Try: try, Verdict: instance.Placed},
			Observed: instance.Observed{Epoch: instance.Epoch{Grant: 7, Try: seen}, State: s}}}, nil)
	}
	say(1, instance.Running, 1)
	say(2, instance.Unknown, 0)
	say(2, instance.Failed, 2)
	say(1, instance.Running, 1)
	f, _ := b.Facts(id)
	if f.Placement.Try != 1 || f.Observed.Epoch.Try != 1 || f.Observed.State != instance.Running {
		t.Errorf("%+v %+v", f.Placement, f.Observed)
	}
	say(1, instance.Created, 1) // a state only grows
	if f, _ = b.Facts(id); f.Observed.State != instance.Running {
		t.Errorf("%+v", f.Observed)
	}
}

// A pause of replacement is shown as its cluster told it last.
func TestAPauseOfReplacementIsShown(t *testing.T) {
	b := NewBook(nil)
	b.Know(store.Cluster{Cluster: model.Cluster{ID: "1", Name: "north"}})
	until := time.UnixMilli(1_800_000_000_123)
	for _, want := range []time.Time{until, {}} {
		a := &linkv1.Aggregate{}
		if !want.IsZero() {
			a.PausedUntilUnixMs = want.UnixMilli()
		}
		b.setRoom("1", roomFrom(a))
		if got := b.Clusters()[0].PausedUntil; !got.Equal(want) {
			t.Errorf("paused until %s, want %s", got, want)
		}
	}
}

// Where something of a deleted instance is left travels with its facts, and how
// a worker is with the workers.
func TestWhatIsLeftOfATombstone(t *testing.T) {
	f := factsFrom(&linkv1.InstanceFacts{ServiceId: "s", LeftOn: []string{"w1", "w2"}})
	if !slices.Equal(f.LeftOn, []model.NodeID{"w1", "w2"}) {
		t.Errorf("left on %v", f.LeftOn)
	}
	b := NewBook(nil)
	b.setNodes("1", true, []control.NodeView{{Node: model.Node{ID: "w1"}, Cluster: "1", Liveness: instance.Lost}}, nil)
	for _, c := range []struct {
		cluster model.ClusterID
		node    model.NodeID
		want    instance.Liveness
	}{{"1", "w1", instance.Lost}, {"1", "w2", instance.Unseen}, {"2", "w1", instance.Unseen}} {
		if got := b.Liveness(c.cluster, c.node); got != c.want {
			t.Errorf("%s of %s is %d, want %d", c.node, c.cluster, got, c.want)
		}
	}
}
