package instance

import "cmp"

// Merge joins two reports of one slot. It is commutative, associative and
// idempotent, so duplicates and reordering change nothing: the higher epoch
// wins; within an epoch the greater state, then the greater seq, reason and
// exit code.
func Merge(a, b Observed) Observed {
	if compareObserved(a, b) >= 0 {
		return a
	}
	return b
}

func compareObserved(a, b Observed) int {
	return cmp.Or(
		a.Epoch.Compare(b.Epoch),
		cmp.Compare(a.State, b.State),
		cmp.Compare(a.Seq, b.Seq),
		cmp.Compare(a.Reason, b.Reason),
		cmp.Compare(a.Exit, b.Exit),
	)
}

// MergeVital keeps the later of two running reports of one agent start; a new
// start (boot) always replaces. Callers pass the stored value first.
func MergeVital(stored, incoming Vital) Vital {
	if stored.Boot == incoming.Boot && incoming.Seq < stored.Seq {
		return stored
	}
	return incoming
}
