package instance

import (
	"cmp"
	"testing"

	"pgregory.net/rapid"
)

func drawEpoch(t *rapid.T, label string) Epoch {
	small := rapid.SampledFrom([]uint32{0, 1, 2, 1<<32 - 1})
	return Epoch{Grant: MakeGrant(small.Draw(t, label+" incarnation"), small.Draw(t, label+" count")), Try: small.Draw(t, label+" try")}
}

// The order is that of (incarnation, count, try), part by part.
func TestEpochsOrderByIncarnationCountTry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawEpoch(t, "a"), drawEpoch(t, "b")
		want := cmp.Or(
			cmp.Compare(a.Grant.Incarnation(), b.Grant.Incarnation()),
			cmp.Compare(uint32(a.Grant), uint32(b.Grant)),
			cmp.Compare(a.Try, b.Try),
		)
		if got := a.Compare(b); got != want {
			t.Fatalf("%s compared with %s = %d, want %d", a, b, got, want)
		}
		if a.Less(b) != (want < 0) || b.Compare(a) != -want || (want == 0) != (a == b) {
			t.Fatalf("%s and %s: Less, Compare and == disagree", a, b)
		}
	})
}

func TestEpochOrderIsTransitive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawEpoch(t, "a"), drawEpoch(t, "b"), drawEpoch(t, "c")
		if a.Less(b) && b.Less(c) && !a.Less(c) {
			t.Fatalf("%s < %s < %s, but not %s < %s", a, b, c, a, c)
		}
	})
}

// No number of tries of a cluster overtakes the root's next grant, and no
// number of grants overtakes a new incarnation.
func TestNeitherTriesNorGrantsOvertakeTheLevelAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inc, count := rapid.Uint32Range(0, 1<<31).Draw(t, "incarnation"), rapid.Uint32Range(0, 1<<31).Draw(t, "count")
		old := Epoch{MakeGrant(inc, count), rapid.Uint32().Draw(t, "tries")}
		if next := (Epoch{Grant: MakeGrant(inc, count+1)}); !old.Less(next) {
			t.Fatalf("%s overtakes %s", old, next)
		}
		if next := MakeGrant(inc+1, 0); MakeGrant(inc, rapid.Uint32().Draw(t, "grants")) >= next {
			t.Fatalf("a grant of incarnation %d overtakes the next", inc)
		}
	})
}

func TestEpochText(t *testing.T) {
	if got := (Epoch{MakeGrant(2, 17), 3}).String(); got != "2.17/3" {
		t.Errorf("String = %s", got)
	}
	if !(Epoch{}).IsZero() || (Epoch{Try: 1}).IsZero() || (Epoch{Grant: 1}).IsZero() {
		t.Error("IsZero is for agents without epochs only")
	}
}

func TestEpochsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEpoch(t, "e")
		if got, err := ParseEpoch(e.String()); err != nil || got != e {
			t.Fatalf("%s was read as %s, %v", e, got, err)
		}
	})
	for _, text := range []string{"", "1", "1.2", "1/2", "1.2/", ".2/3", "1.2/3/4", "1.2.3/4", "-1.2/3", "4294967296.0/0", "1.2/x", " 1.2/3"} {
		if got, err := ParseEpoch(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}
