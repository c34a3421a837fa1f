package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakestra/pkg/core/instance"
)

// siteState is what a sentence about a slot says of its cluster.
type siteState struct {
	ClusterView      // the one the slot was granted to; zero for none
	any         bool // some cluster is active
}

const noneConnected = "waiting for a cluster: none is connected"

// detail is the sentence beside the status word: why it is so, with counts
// where nothing qualified. Of a cluster that cannot be heard it says so.
func detail(v SlotView, site siteState) string {
	if !v.Stale {
		return fresh(v, site)
	}
	name := cmp.Or(site.Name, string(v.Cluster))
	away := unheard(name, site.LastSeen)
	if v.Word == instance.WordClusterScheduled {
		return away // nothing was heard yet
	}
	away += "; state as last heard"
	if text := fresh(v, site); text != "" {
		return text + "; " + away
	}
	return away
}

// unheard says that a cluster is away. since is zero when it was not heard
// since the start of this root.
func unheard(name string, since time.Time) string {
	text := fmt.Sprintf("cluster %s is not connected", name)
	if !since.IsZero() {
		text += " since " + moment(since)
	}
	return text
}

// pause says why a cluster replaces nothing, "" when it does, or cannot be heard.
func (v ClusterView) pause() string {
	if !v.Active || v.PausedUntil.IsZero() {
		return ""
	}
	return fmt.Sprintf("replacement paused until %s since many workers were lost at once: oak cluster confirm-loss %s", moment(v.PausedUntil), v.Name)
}

// Detail is what a user should know of a cluster, "" for nothing.
func (v ClusterView) Detail() string {
	if !v.Active {
		return unheard(v.Name, v.LastSeen)
	}
	return v.pause()
}

// moment is a point in time for people.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// fresh is the sentence of a slot whose cluster is heard.
func fresh(v SlotView, site siteState) string {
	switch v.Word {
	case instance.WordRequested:
		if len(v.Reasons) > 0 {
			return unconnected(v.Reasons[0])
		}
		if !site.any {
			return noneConnected
		}
		return "waiting for scheduling decision"
	case instance.WordClusterScheduled:
		return fmt.Sprintf("waiting for cluster %s to choose a node", v.Site.Name)
	case instance.WordNoWorkerCapacity, instance.WordNoQualified, instance.WordNoNode:
		if v.Grant == 0 {
			return explain("no node qualifies", v.Reasons)
		}
		return v.refused()
	case instance.WordTargetNotFound, instance.WordTargetNotActive, instance.WordTargetNoCapacity, instance.WordNoActiveCluster:
		return explain("no cluster qualifies", v.Reasons)
	case instance.WordNodeScheduled:
		return fmt.Sprintf("waiting for node %s", v.Seen.Placement.Node)
	case instance.WordFailed:
		if v.Seen.Node == instance.Lost {
			text := fmt.Sprintf("node %s is lost", v.Seen.Placement.Node)
			if pause := site.pause(); pause != "" {
				text += "; " + pause
			}
			return text
		}
	case instance.WordCreating, instance.WordCreated, instance.WordRunning, instance.WordDead, instance.WordCompleted,
		instance.WordUndeployed: // the node knows best
	}
	return v.Seen.Observed.Reason
}

// unconnected says that a slot waits for nothing but a connection.
func unconnected(r instance.Reason) string {
	if r.Count == 1 {
		return fmt.Sprintf("cluster %s is not connected", r.Detail)
	}
	return fmt.Sprintf("none of %d clusters is connected", r.Count)
}

// explain counts reasons, the most frequent first:
// "no node qualifies: memory 3 (w3: 512 > 300 MiB free), vcpus 1".
func explain(lead string, reasons []instance.Reason) string {
	if len(reasons) == 0 {
		return lead
	}
	sorted := slices.Clone(reasons)
	slices.SortStableFunc(sorted, func(a, b instance.Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	parts := make([]string, len(sorted))
	for i, r := range sorted {
		parts[i] = fmt.Sprintf("%s %d", r.Name, r.Count)
		if r.Detail != "" {
			parts[i] += " (" + r.Detail + ")"
		}
	}
	return lead + ": " + strings.Join(parts, ", ")
}

// mostNamed bounds the clusters named in one sentence.
const mostNamed = 5

// objection is what one cluster has against a slot.
type objection struct {
	cluster string // its name
	why     []instance.Reason
}

// refused says why the clusters that were asked have no worker for a slot, by
// cluster when there are several: "no node qualifies: north: port 2 (n1: 7070/tcp
// is used by another service); south: memory 1 (w1: 512 > 300 MiB free)".
func (v SlotView) refused() string {
	if len(v.objections) == 0 && len(v.barred) == 0 {
		return explain("no node qualifies", v.Seen.Placement.Reasons)
	}
	list := append([]objection{{cmp.Or(v.Site.Name, string(v.Cluster)), v.Seen.Placement.Reasons}}, v.objections...)
	slices.SortFunc(list, func(a, b objection) int { return cmp.Compare(a.cluster, b.cluster) })
	var parts []string
	for _, o := range list[:min(mostNamed, len(list))] {
		parts = append(parts, explain(o.cluster, o.why))
	}
	if more := len(list) - mostNamed; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	if len(v.barred) > 0 {
		parts = append(parts, explain("elsewhere", v.barred))
	}
	return "no node qualifies: " + strings.Join(parts, "; ")
}

// attention orders words by how much a user needs to know them: a service has
// the word of its most worrying instance.
var attention = []instance.Word{
	instance.WordFailed, instance.WordDead,
	instance.WordTargetNotFound, instance.WordTargetNotActive, instance.WordTargetNoCapacity, instance.WordNoActiveCluster,
	instance.WordNoNode, instance.WordNoQualified, instance.WordNoWorkerCapacity,
	instance.WordRequested, instance.WordClusterScheduled, instance.WordNodeScheduled,
	instance.WordCreating, instance.WordCreated, instance.WordUndeployed,
	instance.WordRunning, instance.WordCompleted,
}

// summary sums up a service. One without instances is CREATED: it is stored
// and nothing of it was asked to run.
func summary(slots []SlotView) (instance.Word, string) {
	if len(slots) == 0 {
		return instance.WordCreated, "no instance is deployed"
	}
	worst := slots[0]
	running, stale := 0, 0
	for _, s := range slots {
		if s.Word == instance.WordRunning {
			running++
			if s.Stale {
				stale++
			}
		}
		if a, b := slices.Index(attention, s.Word), slices.Index(attention, worst.Word); a < b || a == b && s.Stale && !worst.Stale {
			worst = s
		}
	}
	text := fmt.Sprintf("%d of %d running", running, len(slots))
	if stale > 0 {
		text += fmt.Sprintf(", %d of them as last heard", stale)
	}
	if (worst.Word != instance.WordRunning || worst.Stale) && worst.Detail != "" {
		text += fmt.Sprintf("; instance %d: %s", worst.ID.Number, worst.Detail)
	}
	return worst.Word, text
}
