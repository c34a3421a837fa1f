package rootlink

import (
	"fmt"
	"testing"

	"oakestra/cluster/fleet"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/model"
)

// TestNoOrphansLeft: the root takes a report with facts and no orphans as one
// that says nothing of orphans, so that none are left must be said alone.
func TestNoOrphansLeft(t *testing.T) {
	l := New(Config{}, nil)
	l.out.connect()
	l.out.take()
	facts := []fleet.Facts{{Instance: model.InstanceID{Service: "aaaaaaaaaaaaaaaaaaaaaaaa"}, Grant: 7}}
	l.Report(facts)
	l.Orphans([]fleet.Orphan{{Node: "w1", Name: "a.b.c.d"}})
	if got := l.out.take(); len(got) != 1 || len(got[0].GetReport().GetInstances()) != 1 || len(got[0].GetReport().GetOrphans()) != 1 {
		t.Fatalf("facts and orphans went as %v, want one report", got)
	}
	l.Report(facts)
	l.Orphans(nil)
	got := l.out.take()
	if len(got) != 2 || len(got[0].GetReport().GetInstances()) != 1 {
		t.Fatalf("facts and the end of orphans went as %v, want two reports, facts first", got)
	}
	if r := got[1].GetReport(); r == nil || len(r.GetInstances()) != 0 || len(r.GetOrphans()) != 0 || r.GetSnapshot() {
		t.Errorf("the end of orphans went as %v, want a report that says nothing else", got[1])
	}
	if again := l.out.take(); len(again) != 0 {
		t.Errorf("said again: %v", again)
	}
}

// TestTheLastWordOfAWorker: removed and registered again before anything was
// sent, or the other way round, is one word.
func TestTheLastWordOfAWorker(t *testing.T) {
	w1 := []fleet.NodeView{{Node: model.Node{ID: "w1"}}}
	gone := []model.NodeID{"w1"}
	for _, c := range []struct {
		name string
		say  func(l *Link)
		want bool // it is there
	}{
		{"back in the same breath", func(l *Link) { l.Nodes(w1, gone) }, true},
		{"back after", func(l *Link) { l.Nodes(nil, gone); l.Nodes(w1, nil) }, true},
		{"gone after", func(l *Link) { l.Nodes(w1, nil); l.Nodes(nil, gone) }, false},
	} {
		l := New(Config{}, nil)
		l.out.connect()
		l.out.take()
		c.say(l)
		got := l.out.take()
		if len(got) != 1 || len(got[0].GetNodes().GetNodes()) != one(c.want) || len(got[0].GetNodes().GetRemoved()) != one(!c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// TestSlicesOfServicesThatAreGone: the end of a slice is kept until the root
// has it, over a cut, and not for ever.
func TestSlicesOfServicesThatAreGone(t *testing.T) {
	const gone = 1000
	l := New(Config{}, nil)
	for i := range gone {
		s := model.ServiceID(fmt.Sprint(i))
		l.SendSlice(tables.Slice{Service: s, Version: 1, Endpoints: make([]tables.SliceEndpoint, 1)})
		l.SendSlice(tables.Slice{Service: s, Version: 2})
	}
	l.SendSlice(tables.Slice{Service: "lives", Version: 1, Endpoints: make([]tables.SliceEndpoint, 1)})
	l.out.connect()
	before := l.out.beat()
	if n := len(l.out.take()); n != gone+1 {
		t.Fatalf("%d slices went, want %d", n, gone+1)
	}
	if l.out.echoed(before); len(l.out.slices) != gone+1 {
		t.Fatalf("an echo from before they were sent dropped %d", gone+1-len(l.out.slices))
	}
	l.out.disconnect()
	l.out.connect()
	if n := len(l.out.take()); n != gone+1 {
		t.Fatalf("%d slices went after a cut, want all %d: the root may not have them", n, gone+1)
	}
	back := model.ServiceID("7")
	l.SendSlice(tables.Slice{Service: back, Version: 3, Endpoints: make([]tables.SliceEndpoint, 1)})
	if l.out.echoed(l.out.beat()); len(l.out.slices) != 2 || l.out.slices[back].Version != 3 {
		t.Errorf("%d slices are kept, want the two of services that live", len(l.out.slices))
	}
	l.out.disconnect()
	l.out.connect()
	if n := len(l.out.take()); n != 2 {
		t.Errorf("%d slices go to the next session, want 2", n)
	}
}
