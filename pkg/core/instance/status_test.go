package instance

import "testing"

var stateWords = map[State]Word{
	Unknown: WordNodeScheduled, Creating: WordCreating, Created: WordCreated, Running: WordRunning,
	Completed: WordCompleted, Dead: WordDead, Failed: WordFailed, Undeployed: WordUndeployed,
}

// expected is the rule in words, written apart from the code: who has not
// decided yet gives the word; else a lost node; else what the current run does.
func expected(f Facts, age int) Word {
	switch {
	case f.Grant == 0 && f.Unplaced != "":
		return f.Unplaced
	case f.Grant == 0:
		return WordRequested
	case f.Placement.Verdict == Refused && len(f.Placement.Reasons) == 2:
		return WordFailed
	case f.Placement.Verdict == Refused:
		return WordNoWorkerCapacity
	case f.Placement.Verdict == Pending:
		return WordClusterScheduled
	case f.Observed.State.Terminal() && age >= 0:
		return stateWords[f.Observed.State]
	case f.Node == Lost:
		return WordFailed
	case age < 0:
		return WordNodeScheduled
	}
	return stateWords[f.Observed.State]
}

// Every combination of what Status looks at: 2 grants, 2 words, 3 verdicts,
// 8 states, 4 livenesses, reports that are older, current and newer, with and
// without a worker that could not start it.
func TestStatusOfEveryCombinationOfFacts(t *testing.T) {
	ages := map[int]Epoch{-2: {5, 9}, -1: {6, 1}, 0: {6, 2}, 1: {6, 3}, 2: {7, 0}}
	n := 0
	for _, grant := range []Grant{0, 6} {
		for _, unplaced := range []Word{"", WordNoActiveCluster} {
			for _, verdict := range []Verdict{Pending, Placed, Refused} {
				for state := Unknown; state <= Undeployed; state++ {
					for node := Unseen; node <= Lost; node++ {
						for age, epoch := range ages {
							f := Facts{Grant: grant, Unplaced: unplaced, Placement: Placement{Try: 2, Verdict: verdict}, Observed: Observed{Epoch: epoch, State: state}, Node: node}
							for _, why := range [][]Reason{nil, {{Name: "memory", Count: 1}, {Name: ReasonFailed, Count: 2}}} {
								f.Placement.Reasons = why
								if got, want := Status(f), expected(f, age); got != want {
									t.Errorf("Status(%+v) = %s, want %s", f, got, want)
								}
								n++
							}
						}
					}
				}
			}
		}
	}
	if n != 2*2*3*8*4*5*2 {
		t.Errorf("%d combinations", n)
	}
}
