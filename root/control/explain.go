package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// Bounds of one explanation.
const (
	mostSpecs   = 3    // revisions that clusters are asked about
	mostWorkers = 100  // workers listed of one cluster unless asked for more
	allWorkers  = 1000 // and of all clusters together, about
	mostWaiting = 20   // instances
)

// DryRun is where the root would send the instances of a service as things
// stand.
type DryRun struct {
	OneMore Verdicts
	Waiting []WaitingRun // by number, the first ones
	Total   int          // of waiting instances
}

// WaitingRun is the same for an instance that waits, with the revision that it
// waits with.
type WaitingRun struct {
	store.Instance
	Verdicts
}

// Verdicts is what the root thinks of each cluster.
type Verdicts struct {
	Choice   model.ClusterID // "" when none qualifies
	Clusters []Verdict
}

// Verdict is what speaks against a cluster, nil when nothing does.
type Verdict struct {
	Cluster model.ClusterID
	Reason  *instance.Reason
}

// AnswerState says how far a cluster could be asked.
type AnswerState string

// The states.
const (
	Answered     AnswerState = "answered"
	AnswerSilent AnswerState = "not answering"
	AnswerAway   AnswerState = "not connected"
	AnswerOlder  AnswerState = "older version" // its cluster manager cannot be asked
)

// Answer is what a cluster says of its workers.
type Answer struct {
	State            AnswerState
	Workers, Qualify int
	Node             model.NodeID // which would be taken, "" when none
	Reasons          []instance.Reason
	Judged           []Judged // the first ones by id
	Omitted          int      // workers that are not among Judged for want of room
}

// Judged is one worker; Reason is nil when it qualifies.
type Judged struct {
	Node   model.NodeID
	Host   string
	Reason *instance.Reason
}

// Explanation says what would become of one more instance of a service, and
// why others wait.
type Explanation struct {
	Service model.Service
	OneMore Outlook
	Waiting []WaitingOutlook
	Total   int // of waiting instances; Waiting holds the first
}

// Outlook is one placement that was tried.
type Outlook struct {
	Cluster  model.ClusterID // "" when none would take it
	Message  string
	Clusters []ClusterOutlook // by name
}

// ClusterOutlook is what the root and, where it could be asked, the cluster
// itself say.
type ClusterOutlook struct {
	Verdict
	Name   string
	Detail string // what else a user should know of it
	Answer Answer
}

// WaitingOutlook is an instance that waits, for a worker or for the end of a
// pause in which its cluster replaces nothing.
type WaitingOutlook struct {
	Number int
	Word   instance.Word
	Detail string
	Outlook
}

// Explain runs the placement of a service dry. Clusters that are connected are
// asked down to their workers and have 2 s to answer; up to most workers of each
// are listed, 100 for 0. Errors: NotFound, Unavailable while the root starts or
// stops.
func (c *Control) Explain(ctx context.Context, who Caller, id model.ServiceID, most int) (Explanation, error) {
	svc, err := c.service(ctx, who, id)
	if err != nil {
		return Explanation{}, err
	}
	run, err := c.places.DryRun(ctx, svc)
	if err != nil {
		return Explanation{}, fmt.Errorf("place service %s: %w", id, err)
	}
	sites := c.sites()
	answers := c.askClusters(ctx, run, svc, cmp.Or(most, mostWorkers))
	out := Explanation{Service: svc, Total: run.Total, OneMore: outlook(run.OneMore, answers[svc.Revision], sites)}
	for _, w := range run.Waiting {
		view := slotView(w.Instance, c.below, sites)
		v := WaitingOutlook{Number: w.ID.Number, Word: view.Word, Detail: view.Detail, Outlook: outlook(w.Verdicts, answers[w.Service.Revision], sites)}
		if w.Service.Revision == svc.Revision {
			for i := range v.Clusters {
				v.Clusters[i].Answer.Judged, v.Clusters[i].Answer.Omitted = nil, 0 // as above
			}
		}
		out.Waiting = append(out.Waiting, v)
	}
	return out, c.addPaused(ctx, &out, sites)
}

// addPaused adds the instances on lost workers that are not replaced for now:
// where they would go is not decided before the pause ends.
func (c *Control) addPaused(ctx context.Context, e *Explanation, sites map[model.ClusterID]ClusterView) error {
	list, err := c.store.Instances().List(ctx, e.Service.ID)
	if err != nil {
		return fmt.Errorf("instances of service %s: %w", e.Service.ID, err)
	}
	for _, in := range list {
		pause := sites[in.Cluster].pause()
		if in.Tombstone || pause == "" {
			continue
		}
		v := slotView(in, c.below, sites)
		if v.Word != instance.WordFailed || v.Seen.Node != instance.Lost {
			continue
		}
		if e.Total++; len(e.Waiting) < mostWaiting {
			e.Waiting = append(e.Waiting, WaitingOutlook{Number: in.ID.Number, Word: v.Word, Detail: v.Detail, Outlook: Outlook{Message: pause}})
		}
	}
	return nil
}

// askClusters asks every cluster about each revision, side by side.
func (c *Control) askClusters(ctx context.Context, run DryRun, svc model.Service, most int) map[uint64]map[model.ClusterID]Answer {
	specs := map[uint64]model.Service{svc.Revision: svc}
	for _, w := range run.Waiting {
		if _, known := specs[w.Service.Revision]; !known && len(specs) < mostSpecs {
			specs[w.Service.Revision] = w.Service
		}
	}
	most = min(most, max(1, allWorkers/max(1, len(run.OneMore.Clusters))))
	var mu sync.Mutex
	var asked sync.WaitGroup
	out := map[uint64]map[model.ClusterID]Answer{}
	for revision, spec := range specs {
		out[revision] = map[model.ClusterID]Answer{}
		of := out[revision]
		for _, v := range run.OneMore.Clusters {
			asked.Go(func() {
				a := c.places.Ask(ctx, v.Cluster, spec, most)
				a.Omitted = a.Workers - len(a.Judged)
				mu.Lock()
				defer mu.Unlock()
				of[v.Cluster] = a
			})
		}
	}
	asked.Wait()
	return out
}

func outlook(v Verdicts, answers map[model.ClusterID]Answer, sites map[model.ClusterID]ClusterView) Outlook {
	out := Outlook{Cluster: v.Choice}
	var against []instance.Reason
	for _, one := range v.Clusters {
		name := cmp.Or(sites[one.Cluster].Name, string(one.Cluster))
		out.Clusters = append(out.Clusters, ClusterOutlook{Verdict: one, Name: name, Detail: sites[one.Cluster].Detail(), Answer: answers[one.Cluster]})
		if one.Reason != nil {
			against = add(against, *one.Reason)
		}
	}
	slices.SortFunc(out.Clusters, func(a, b ClusterOutlook) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Cluster, b.Cluster))
	})
	out.Message = sentence(out, against)
	return out
}

// add counts a reason among those of the same name.
func add(list []instance.Reason, r instance.Reason) []instance.Reason {
	for i := range list {
		if list[i].Name == r.Name {
			list[i].Count += r.Count
			return list
		}
	}
	return append(list, r)
}

// sentence sums an outlook up.
func sentence(o Outlook, against []instance.Reason) string {
	if len(o.Clusters) == 0 {
		return noneConnected
	}
	if o.Cluster == "" {
		return explain("no cluster qualifies", against)
	}
	for _, v := range o.Clusters {
		if v.Cluster != o.Cluster {
			continue
		}
		switch a := v.Answer; {
		case a.State != Answered:
			return fmt.Sprintf("it would go to cluster %s, which is %s", v.Name, a.State)
		case a.Qualify == 0:
			return explain(fmt.Sprintf("it would go to cluster %s, where no node qualifies", v.Name), a.Reasons)
		default:
			return fmt.Sprintf("it would go to node %s of cluster %s, where %d of %d nodes qualify", a.Node, v.Name, a.Qualify, a.Workers)
		}
	}
	return ""
}
