package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// told is what is below, for one slot.
type told struct {
	Below
	seen    InstanceView
	word    instance.Word
	reasons []instance.Reason
	refuse  []Refusal
}

func (b told) Facts(model.InstanceID) (InstanceView, bool) { return b.seen, true }
func (b told) Refusals(model.InstanceID) []Refusal         { return b.refuse }
func (b told) Waits(model.InstanceID) (instance.Word, []instance.Reason) {
	return b.word, b.reasons
}

// slot makes a view with the word that its facts have.
func slot(in store.Instance, below told, sites ...ClusterView) SlotView {
	known := map[model.ClusterID]ClusterView{}
	for _, s := range sites {
		known[s.ID] = s
	}
	return slotView(in, below, known)
}

func TestDetailSaysWhy(t *testing.T) {
	active := ClusterView{Cluster: model.Cluster{ID: "c1", Name: "north"}, Active: true}
	silent := ClusterView{Cluster: model.Cluster{ID: "c1", Name: "north"}}
	away := silent
	away.LastSeen = time.Date(2026, 5, 4, 10, 20, 30, 400, time.FixedZone("", 3600))
	paused := active
	paused.PausedUntil = away.LastSeen.Add(5 * time.Minute)
	grant := instance.MakeGrant(1, 1)
	granted := store.Instance{Cluster: "c1", Grant: grant}
	placed := instance.Placement{Try: 1, Node: "w1", Verdict: instance.Placed}
	ran := func(s instance.State, reason string) told {
		return told{seen: InstanceView{Placement: placed, Node: instance.Alive,
			Observed: instance.Observed{Epoch: instance.Epoch{Grant: grant, Try: 1}, State: s, Reason: reason}}}
	}
	many := []Refusal{{Cluster: "c1", Reasons: []instance.Reason{{Name: "stale", Count: 9}}}}
	for _, c := range "bcdefg" {
		many = append(many, Refusal{Cluster: model.ClusterID(c), Reasons: []instance.Reason{{Name: "memory", Count: 1}}})
	}
	many = append(many, Refusal{Reasons: []instance.Reason{{Name: "inactive", Count: 2, Detail: "z"}}})
	lost := ran(instance.Running, "")
	lost.seen.Node = instance.Lost
	cases := []struct {
		name   string
		in     store.Instance
		below  told
		sites  []ClusterView
		word   instance.Word
		detail string
	}{
		{"nothing is connected", store.Instance{}, told{}, []ClusterView{silent}, "REQUESTED", "waiting for a cluster: none is connected"},
		{"not decided yet", store.Instance{}, told{}, []ClusterView{active}, "REQUESTED", "waiting for scheduling decision"},
		{"its cluster is not connected", store.Instance{}, told{reasons: []instance.Reason{{Name: "inactive", Count: 1, Detail: "north"}}},
			[]ClusterView{active}, "REQUESTED", "cluster north is not connected"},
		{"no cluster is connected", store.Instance{}, told{reasons: []instance.Reason{{Name: "inactive", Count: 3, Detail: "north"}}},
			[]ClusterView{silent}, "REQUESTED", "none of 3 clusters is connected"},
		{"no cluster fits", store.Instance{}, told{word: instance.WordNoActiveCluster, reasons: []instance.Reason{{Name: "memory", Count: 2}}},
			[]ClusterView{active}, "NoActiveClusterWithCapacity", "no cluster qualifies: memory 2"},
		{"the named cluster is unknown", store.Instance{}, told{word: instance.WordTargetNotFound,
			reasons: []instance.Reason{{Name: "cluster", Count: 1, Detail: "there is no cluster south"}}}, nil,
			"TargetClusterNotFound", "no cluster qualifies: cluster 1 (there is no cluster south)"},
		{"the root found no node", store.Instance{}, told{word: instance.WordNoWorkerCapacity, reasons: []instance.Reason{{Name: "vcpus", Count: 4}}},
			[]ClusterView{active}, "NO_WORKER_CAPACITY", "no node qualifies: vcpus 4"},
		{"granted", granted, told{}, []ClusterView{active}, "CLUSTER_SCHEDULED", "waiting for cluster north to choose a node"},
		{"granted to one that is silent", granted, told{}, []ClusterView{silent}, "CLUSTER_SCHEDULED", "cluster north is not connected"},
		{"granted to one that went", granted, told{}, []ClusterView{away}, "CLUSTER_SCHEDULED", "cluster north is not connected since 2026-05-04T09:20:30Z"},
		{"placed, as last heard", granted, told{seen: InstanceView{Placement: placed, Node: instance.Alive}}, []ClusterView{away}, "NODE_SCHEDULED",
			"waiting for node w1; cluster north is not connected since 2026-05-04T09:20:30Z; state as last heard"},
		{"ran, as last heard", granted, ran(instance.Running, ""), []ClusterView{away}, "RUNNING",
			"cluster north is not connected since 2026-05-04T09:20:30Z; state as last heard"},
		{"ran, as heard once", granted, ran(instance.Running, ""), []ClusterView{silent}, "RUNNING", "cluster north is not connected; state as last heard"},
		{"pulled, as last heard", granted, ran(instance.Creating, "pulling 40 %"), []ClusterView{away}, "CREATING",
			"pulling 40 %; cluster north is not connected since 2026-05-04T09:20:30Z; state as last heard"},
		{"completed, as last heard", granted, ran(instance.Completed, ""), []ClusterView{away}, "COMPLETED",
			"cluster north is not connected since 2026-05-04T09:20:30Z; state as last heard"},
		{"granted to one that is unknown", granted, told{}, nil, "CLUSTER_SCHEDULED", "cluster c1 is not connected"},
		{"refused by the cluster, most frequent reason first", granted, told{seen: InstanceView{Placement: instance.Placement{Verdict: instance.Refused,
			Reasons: []instance.Reason{{Name: "vcpus", Count: 1}, {Name: "cordon", Count: 3}, {Name: "arch", Count: 3, Detail: "w2: arm64"}}}}},
			[]ClusterView{active}, "NO_WORKER_CAPACITY", "no node qualifies: arch 3 (w2: arm64), cordon 3, vcpus 1"},
		{"refused by many", granted, told{refuse: many, seen: InstanceView{Placement: instance.Placement{Verdict: instance.Refused,
			Reasons: []instance.Reason{{Name: "vcpus", Count: 1}}}}}, []ClusterView{active}, "NO_WORKER_CAPACITY",
			"no node qualifies: b: memory 1; c: memory 1; d: memory 1; e: memory 1; f: memory 1; and 2 more; elsewhere: inactive 2 (z)"},
		{"placed", granted, told{seen: InstanceView{Placement: placed, Node: instance.Alive}}, []ClusterView{active}, "NODE_SCHEDULED", "waiting for node w1"},
		{"runs", granted, ran(instance.Running, ""), []ClusterView{active}, "RUNNING", ""},
		{"pulls", granted, ran(instance.Creating, "pulling 40 %"), []ClusterView{active}, "CREATING", "pulling 40 %"},
		{"could not start", granted, ran(instance.Failed, "no such image"), []ClusterView{active}, "FAILED", "no such image"},
		{"ended", granted, ran(instance.Dead, "exit code 3"), []ClusterView{active}, "DEAD", "exit code 3"},
		{"its node is lost", granted, lost, []ClusterView{active}, "FAILED", "node w1 is lost"},
		{"its node is lost and is not replaced", granted, lost, []ClusterView{paused}, "FAILED",
			"node w1 is lost; replacement paused until 2026-05-04T09:25:30Z since many workers were lost at once: oak cluster confirm-loss north"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := slot(c.in, c.below, c.sites...)
			if stale := c.in.Cluster != "" && (len(c.sites) == 0 || !c.sites[0].Active); v.Stale != stale {
				t.Errorf("stale is %v, want %v", v.Stale, stale)
			}
			if v.Word != c.word || v.Detail != c.detail {
				t.Errorf("got %s %q, want %s %q", v.Word, v.Detail, c.word, c.detail)
			}
		})
	}
}

func TestSummaryTakesTheMostWorryingInstance(t *testing.T) {
	is := func(words ...instance.Word) (out []SlotView) {
		for n, w := range words {
			v := SlotView{Word: w, Detail: "because of " + string(w)}
			v.ID.Number = n
			out = append(out, v)
		}
		return out
	}
	stale := is("RUNNING", "RUNNING", "RUNNING")
	stale[1].Stale, stale[2].Stale = true, true
	for _, c := range []struct {
		slots  []SlotView
		word   instance.Word
		detail string
	}{
		{stale, "RUNNING", "3 of 3 running, 2 of them as last heard; instance 1: because of RUNNING"},
		{nil, "CREATED", "no instance is deployed"},
		{is("RUNNING", "RUNNING"), "RUNNING", "2 of 2 running"},
		{is("RUNNING", "NODE_SCHEDULED", "CREATING"), "NODE_SCHEDULED", "1 of 3 running; instance 1: because of NODE_SCHEDULED"},
		{is("REQUESTED", "FAILED"), "FAILED", "0 of 2 running; instance 1: because of FAILED"},
		{is("COMPLETED"), "COMPLETED", "0 of 1 running; instance 0: because of COMPLETED"},
	} {
		if word, detail := summary(c.slots); word != c.word || detail != c.detail {
			t.Errorf("got %s %q, want %s %q", word, detail, c.word, c.detail)
		}
	}
}

// A word that is not in the list would beat all others.
func TestAttentionKnowsEveryWord(t *testing.T) {
	all := []instance.Word{
		instance.WordRequested, instance.WordClusterScheduled, instance.WordNodeScheduled, instance.WordCreating, instance.WordCreated,
		instance.WordRunning, instance.WordFailed, instance.WordDead, instance.WordCompleted, instance.WordUndeployed,
		instance.WordNoWorkerCapacity, instance.WordNoQualified, instance.WordNoNode, instance.WordTargetNotFound,
		instance.WordTargetNotActive, instance.WordTargetNoCapacity, instance.WordNoActiveCluster,
	}
	for _, w := range all {
		if !slices.Contains(attention, w) {
			t.Errorf("%s is missing", w)
		}
	}
	if len(attention) != len(all) || strings.Contains(string(attention[0]), "RUNNING") {
		t.Errorf("%d words, want %d", len(attention), len(all))
	}
}
