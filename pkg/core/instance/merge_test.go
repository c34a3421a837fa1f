package instance

import (
	"testing"

	"pgregory.net/rapid"
)

// Few values per field, so that ties at every position are drawn often.
func drawObserved(t *rapid.T, label string) Observed {
	return Observed{
		Epoch:  Epoch{Grant: MakeGrant(rapid.Uint32Range(0, 1).Draw(t, label+" incarnation"), rapid.Uint32Range(0, 1).Draw(t, label+" count")), Try: rapid.Uint32Range(0, 1).Draw(t, label+" try")},
		State:  State(rapid.IntRange(int(Unknown), int(Undeployed)).Draw(t, label+" state")),
		Seq:    rapid.Uint64Range(0, 2).Draw(t, label+" seq"),
		Reason: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label+" reason"),
		Exit:   rapid.Int32Range(-1, 1).Draw(t, label+" exit"),
	}
}

func TestMergeIsCommutative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawObserved(t, "a"), drawObserved(t, "b")
		if x, y := Merge(a, b), Merge(b, a); x != y {
			t.Fatalf("Merge(a, b) = %+v, Merge(b, a) = %+v", x, y)
		}
	})
}

func TestMergeIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawObserved(t, "a"), drawObserved(t, "b"), drawObserved(t, "c")
		if x, y := Merge(Merge(a, b), c), Merge(a, Merge(b, c)); x != y {
			t.Fatalf("Merge(Merge(a, b), c) = %+v, Merge(a, Merge(b, c)) = %+v", x, y)
		}
	})
}

func TestMergeIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawObserved(t, "a"), drawObserved(t, "b")
		once := Merge(a, b)
		if Merge(a, a) != a || Merge(once, b) != once || Merge(once, a) != once {
			t.Fatalf("a report that is merged again changes %+v", once)
		}
	})
}

// Any order and any number of repeats of the same reports end the same.
func TestMergeOfAShuffledStreamWithRepeatsIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reports := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Observed { return drawObserved(t, "report") }), 1, 8).Draw(t, "reports")
		stream := rapid.Permutation(append(append([]Observed{}, reports...), reports...)).Draw(t, "stream")
		fold := func(list []Observed) Observed {
			sum := Observed{}
			for _, o := range list {
				sum = Merge(sum, o)
			}
			return sum
		}
		if x, y := fold(reports), fold(stream); x != y {
			t.Fatalf("in order %+v, shuffled %+v", x, y)
		}
	})
}

// Within an epoch the state never falls, whatever the sequence numbers say; a
// higher epoch starts again.
func TestMergeOnlyRaisesTheStateWithinAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawObserved(t, "a"), drawObserved(t, "b")
		m := Merge(a, b)
		if m.Epoch.Less(a.Epoch) {
			t.Fatalf("the epoch fell from %s to %s", a.Epoch, m.Epoch)
		}
		if m.Epoch == a.Epoch && m.State < a.State {
			t.Fatalf("the state fell from %d to %d", a.State, m.State)
		}
		if a.State.Terminal() && m.Epoch == a.Epoch && !m.State.Terminal() {
			t.Fatalf("%+v came back to life: %+v", a, m)
		}
	})
}

func TestMergeOrdersTerminalStates(t *testing.T) {
	order := []State{Unknown, Creating, Created, Running, Completed, Dead, Failed, Undeployed}
	for i, s := range order {
		if want := i >= 4; s.Terminal() != want {
			t.Errorf("state %d: terminal = %v", s, s.Terminal())
		}
		for _, lower := range order[:i] {
			if got := Merge(Observed{State: s}, Observed{State: lower, Seq: 9}); got.State != s {
				t.Errorf("%d after %d: %d", lower, s, got.State)
			}
		}
	}
}

func drawVital(t *rapid.T, label string, boots ...string) Vital {
	return Vital{
		Boot: rapid.SampledFrom(boots).Draw(t, label+" boot"), Seq: rapid.Uint64Range(0, 4).Draw(t, label+" seq"),
		LogTail: rapid.SampledFrom([]string{"x", "y"}).Draw(t, label+" tail"),
	}
}

func TestMergeVitalKeepsTheLaterOfOneStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawVital(t, "a", "boot1"), drawVital(t, "b", "boot1")
		m := MergeVital(a, b)
		if m.Seq != max(a.Seq, b.Seq) || m != a && m != b {
			t.Fatalf("MergeVital(%+v, %+v) = %+v", a, b, m)
		}
		if MergeVital(m, b) != m || MergeVital(a, a) != a {
			t.Fatalf("not idempotent: %+v", m)
		}
	})
}

// Reports of one start give the same in any order; their numbers differ.
func TestMergeVitalOfOneStartIgnoresTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "n")
		var order []Vital
		for i := range n {
			order = append(order, Vital{Boot: "boot1", Seq: uint64(i)})
		}
		sum := Vital{Boot: "boot1"}
		for _, v := range rapid.Permutation(order).Draw(t, "order") {
			sum = MergeVital(sum, v)
		}
		if sum.Seq != uint64(n-1) {
			t.Fatalf("ended with report %d of %d", sum.Seq, n)
		}
	})
}

func TestMergeVitalOfANewStartAlwaysReplaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawVital(t, "a", "boot1", ""), drawVital(t, "b", "boot2")
		if m := MergeVital(a, b); m != b {
			t.Fatalf("MergeVital(%+v, %+v) = %+v", a, b, m)
		}
	})
}
