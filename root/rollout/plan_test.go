package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit/golden"
)

const start = model.DefaultStartSeconds * time.Second

func line(d Decision) string {
	state := d.State
	if state == model.RolloutDone {
		state = "done"
	}
	return fmt.Sprintf("%s replace=%v updated=%d again=%s %s", state, d.Replace, d.Updated, d.Again, d.Message)
}

func TestPlan(t *testing.T) {
	old := func(n int) Slot { return Slot{Number: n, Phase: Up, For: time.Hour} }
	fresh := func(n int, d time.Duration) Slot { return Slot{Number: n, New: true, Phase: Up, For: d, Asked: d} }
	starting := func(n int, d time.Duration) Slot {
		return Slot{Number: n, New: true, Phase: Starting, For: d, Asked: d, Why: "NODE_SCHEDULED: pulling"}
	}
	two := Limits{2, start}
	one := LimitsOf(model.ServiceSpec{})
	var b strings.Builder
	for _, c := range []struct {
		name  string
		l     Limits
		slots []Slot
	}{
		{"nothing runs", one, nil},
		{"begin", one, []Slot{old(0), old(1), old(2)}},
		{"begin with two", two, []Slot{old(2), old(1), old(0)}},
		{"what is broken goes first", one, []Slot{old(0), {Number: 1, Phase: Broken, Why: "DEAD"}, old(2)}},
		{"wait for a start", one, []Slot{starting(0, time.Second), old(1)}},
		{"wait until it is stable", one, []Slot{fresh(0, time.Second), old(1)}},
		{"one of two is stable", two, []Slot{fresh(0, Stable), fresh(1, time.Second), old(2), old(3)}},
		{"the next", one, []Slot{fresh(0, Stable), old(1)}},
		{"the last must be stable too", one, []Slot{fresh(0, time.Hour), fresh(1, time.Second)}},
		{"over", one, []Slot{fresh(0, time.Hour), fresh(1, Stable)}},
		{"a new one broke", one, []Slot{fresh(0, time.Hour), {Number: 1, New: true, Phase: Broken, Why: "FAILED: no such image"}, old(2)}},
		{"a new one is late", one, []Slot{starting(0, start), old(1)}},
		{"an own limit", LimitsOf(model.ServiceSpec{StartSeconds: 3}), []Slot{starting(0, 3*time.Second), old(1)}},
		{"one that was right before may be broken", one, []Slot{{Number: 0, New: true, Kept: true, Phase: Broken, Why: "DEAD"}, old(1)}},
		{"waiting ones hold nothing up", one, []Slot{fresh(0, Stable), {Number: 1, Phase: Waiting}}},
		{"blocked", one, []Slot{{Number: 0, Phase: Up, Blocked: time.Minute, BlockedBy: "x"}, old(1)}},
		{"blocked too long", one, []Slot{{Number: 0, Phase: Up, Blocked: start, BlockedBy: "cluster c1 is not connected"}, old(1)}},
	} {
		fmt.Fprintf(&b, "%s: %s\n", c.name, strings.TrimSpace(line(Plan(c.l, c.slots))))
	}
	golden.Check(t, "plan.golden", b.String())
}

var someSlots = rapid.Custom(func(t *rapid.T) []Slot {
	slots := make([]Slot, rapid.IntRange(0, 8).Draw(t, "n"))
	for i := range slots {
		asked := time.Duration(rapid.IntRange(0, 400).Draw(t, "asked")) * time.Second
		slots[i] = Slot{
			Number: i, New: rapid.Bool().Draw(t, "new"), Phase: Phase(rapid.IntRange(0, 3).Draw(t, "phase")), Asked: asked,
			For: min(asked, time.Duration(rapid.IntRange(0, 10).Draw(t, "for"))*time.Second),
		}
	}
	return slots
})

// However it stands: what is replaced is old, there are never more under way
// than allowed, and it is over only when nothing old is left.
func TestPlanKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := someSlots.Draw(t, "slots")
		l := Limits{rapid.IntRange(1, 4).Draw(t, "max"), start}
		d := Plan(l, slots)
		underway, old := 0, 0
		for _, s := range slots {
			if s.New && s.Phase != Waiting && (s.Phase != Up || s.For < Stable) {
				underway++
			}
			if !s.New && s.Phase != Waiting {
				old++
			}
			if slices.Contains(d.Replace, s.Number) && (s.New || s.Phase == Waiting) {
				t.Fatalf("%d is replaced for nothing", s.Number)
			}
		}
		switch d.State {
		case model.RolloutRunning:
			if len(d.Replace) > 0 && underway+len(d.Replace) > l.MaxUnavailable {
				t.Fatalf("%d under way and %v more, of %d", underway, d.Replace, l.MaxUnavailable)
			}
			if len(d.Replace) == 0 && underway == 0 {
				t.Fatal("it stands still")
			}
		case model.RolloutDone:
			if old+underway > 0 {
				t.Fatalf("over with %d old and %d under way", old, underway)
			}
		case model.RolloutFailed:
			if d.Message == "" || len(d.Replace) > 0 {
				t.Fatalf("%+v", d)
			}
		}
		backwards := slices.Clone(slots)
		slices.Reverse(backwards)
		if line(Plan(l, backwards)) != line(d) {
			t.Fatal("the order of slots matters")
		}
	})
}

// Played to its end, every rollout whose instances start is over after each
// was replaced exactly once.
func TestARolloutEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, l := rapid.IntRange(0, 12).Draw(t, "n"), Limits{rapid.IntRange(1, 5).Draw(t, "max"), start}
		slots := make([]Slot, n)
		for i := range slots {
			slots[i] = Slot{Number: i, Phase: Phase(rapid.IntRange(1, 3).Draw(t, "phase"))}
		}
		replaced := map[int]int{}
		for range 100 {
			d := Plan(l, slots)
			if d.State == model.RolloutDone {
				break
			}
			for i := range slots {
				if s := &slots[i]; s.New {
					s.Phase, s.For = Up, s.For+3*time.Second
				}
			}
			for _, k := range d.Replace {
				replaced[k]++
				slots[k] = Slot{Number: k, New: true, Phase: Starting}
			}
		}
		if d := Plan(l, slots); d.State != model.RolloutDone || d.Updated != n || len(replaced) != n {
			t.Fatalf("%s, replaced %v of %d", line(d), replaced, n)
		}
		for k, times := range replaced {
			if times != 1 {
				t.Fatalf("%d was replaced %d times", k, times)
			}
		}
	})
}
