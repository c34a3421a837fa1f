package instance

// Liveness is what a level knows of the one below.
type Liveness uint8

// A fresh record is Unseen; Suspect is silent but inside its grace period.
const (
	Unseen Liveness = iota
	Alive
	Suspect
	Lost
)

// Word is the status a user sees. Wire texts are these words unchanged; words
// of original agents (ACTIVE, ...) are turned into facts in convert.go.
type Word string

// Every word that ever leaves the API (wire facts for clients, item 13).
const (
	WordRequested        Word = "REQUESTED"
	WordClusterScheduled Word = "CLUSTER_SCHEDULED"
	WordNodeScheduled    Word = "NODE_SCHEDULED"
	WordCreating         Word = "CREATING"
	WordCreated          Word = "CREATED"
	WordRunning          Word = "RUNNING"
	WordFailed           Word = "FAILED"
	WordDead             Word = "DEAD"
	WordCompleted        Word = "COMPLETED"
	WordUndeployed       Word = "UNDEPLOYED"
	WordNoWorkerCapacity Word = "NO_WORKER_CAPACITY"
	WordNoQualified      Word = "NO_QUALIFIED_WORKER_FOUND"
	WordNoNode           Word = "NO_NODE_FOUND"
	WordTargetNotFound   Word = "TargetClusterNotFound"
	WordTargetNotActive  Word = "TargetClusterNotActive"
	WordTargetNoCapacity Word = "TargetClusterNoCapacity"
	WordNoActiveCluster  Word = "NoActiveClusterWithCapacity"
)

// Facts is everything Status looks at.
type Facts struct {
	Grant     Grant // 0: not assigned to a cluster
	Unplaced  Word  // root's word when no cluster qualifies, else ""
	Placement Placement
	Observed  Observed
	Node      Liveness // of the placed node
}

// Status is the word for a slot: a pure function of the facts. A report of an
// older epoch than the placement does not count. What has ended stays ended when
// its node is lost: a job that completed is not a failure afterwards.
func Status(f Facts) Word {
	if f.Grant == 0 {
		if f.Unplaced != "" {
			return f.Unplaced
		}
		return WordRequested
	}
	switch f.Placement.Verdict {
	case Refused:
		if f.Placement.Failed() {
			return WordFailed
		}
		return WordNoWorkerCapacity
	case Pending:
		return WordClusterScheduled
	case Placed:
	}
	state := f.Observed.State
	if f.Observed.Epoch.Less(Epoch{Grant: f.Grant, Try: f.Placement.Try}) {
		state = Unknown
	}
	if f.Node == Lost && !state.Terminal() {
		return WordFailed
	}
	return stateWord(state)
}

func stateWord(s State) Word {
	switch s {
	case Unknown:
		return WordNodeScheduled
	case Creating:
		return WordCreating
	case Created:
		return WordCreated
	case Running:
		return WordRunning
	case Completed:
		return WordCompleted
	case Dead:
		return WordDead
	case Failed:
		return WordFailed
	case Undeployed:
		return WordUndeployed
	}
	return WordNodeScheduled
}
