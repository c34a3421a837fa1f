package clusters

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
	"oakestra/root/store"
)

// silence is how long a cluster may say nothing and still be active; its
// heartbeat comes every 5 s.
const silence = 30 * time.Second

// Book is what the root knows of clusters, workers and running instances. All
// methods may be called from any goroutine; none blocks.
type Book struct {
	mu       sync.RWMutex
	now      func() time.Time
	clusters map[model.ClusterID]*entry
	facts    map[model.InstanceID]slotFacts
	since    map[control.OrphanKey]time.Time // when Unexplained listed it first
}

// entry is one cluster.
type entry struct {
	model.Cluster
	session  *session // nil while it is away
	lastSeen time.Time
	room     Room
	heard    bool // an aggregate came since the start of the root
	nodes    map[model.NodeID]control.NodeView
	orphans  []control.UnknownView
}

// slotFacts keeps the facts of each cluster that speaks of a slot: while an
// instance moves, two do.
type slotFacts map[model.ClusterID]Facts

// NewBook is empty. now may be nil.
func NewBook(now func() time.Time) *Book {
	if now == nil {
		now = time.Now
	}
	return &Book{now: now, clusters: map[model.ClusterID]*entry{}, facts: map[model.InstanceID]slotFacts{}}
}

// Know enters a stored cluster, so that it is listed while it is away.
func (b *Book) Know(c store.Cluster) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(c.ID).Cluster = c.Cluster
}

func (b *Book) entry(id model.ClusterID) *entry {
	e, ok := b.clusters[id]
	if !ok {
		e = &entry{Cluster: model.Cluster{ID: id}, nodes: map[model.NodeID]control.NodeView{}}
		b.clusters[id] = e
	}
	return e
}

// active says that the cluster has a stream and was heard lately.
func (e *entry) active(now time.Time) bool {
	return e.session != nil && now.Sub(e.lastSeen) < silence
}

// Active says whether a cluster can be told something now.
func (b *Book) Active(id model.ClusterID) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.clusters[id]
	return ok && e.active(b.now())
}

// Room is what a cluster has reported; ok is false before its first report.
func (b *Book) Room(id model.ClusterID) (r Room, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, known := b.clusters[id]
	if !known || !e.heard {
		return Room{}, false
	}
	return e.room, true
}

// Send tells a cluster what to run; false when it is away, and then hears
// everything when it comes back.
func (b *Book) Send(id model.ClusterID, d Desired) bool {
	b.mu.RLock()
	e, ok := b.clusters[id]
	var s *session
	if ok {
		s = e.session
	}
	b.mu.RUnlock()
	return s != nil && s.order(d)
}

// Reports is what each cluster says of a slot, by cluster id.
func (b *Book) Reports(id model.InstanceID) map[model.ClusterID]Facts {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.facts[id])
}

// Forget drops what was reported of a slot that is gone.
func (b *Book) Forget(id model.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.facts, id)
}

// Facts of a slot: of the highest grant that a cluster reports.
func (b *Book) Facts(id model.InstanceID) (control.InstanceView, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var best Facts
	var from model.ClusterID
	for c, f := range b.facts[id] {
		if from == "" || f.Grant > best.Grant || f.Grant == best.Grant && c < from {
			best, from = f, c
		}
	}
	if from == "" {
		return control.InstanceView{}, false
	}
	return control.InstanceView{Placement: best.Placement, Observed: best.Observed, Vital: best.Vital, Node: best.Node, Cluster: from}, true
}

// Clusters lists all known ones by name.
func (b *Book) Clusters() []control.ClusterView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	now := b.now()
	list := make([]control.ClusterView, 0, len(b.clusters))
	for _, e := range b.clusters {
		r := e.room
		list = append(list, control.ClusterView{
			Cluster: e.Cluster, Active: e.active(now), LastSeen: e.lastSeen, ActiveNodes: r.ActiveNodes, NetworkNodes: r.NetworkNodes,
			Capacity: r.Capacity, Reserved: r.Reserved, CPUPercent: r.CPUPercent, MemoryPercent: r.MemoryPercent, Runtimes: r.Runtimes, Architectures: r.Architectures,
			PausedUntil: r.PausedUntil,
		})
	}
	slices.SortFunc(list, func(a, b control.ClusterView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Nodes lists the workers of all clusters, by cluster and id. Those of a
// silent cluster are shown as last heard.
func (b *Book) Nodes() []control.NodeView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []control.NodeView
	for _, e := range b.clusters {
		list = slices.AppendSeq(list, maps.Values(e.nodes))
	}
	slices.SortFunc(list, func(a, b control.NodeView) int {
		return cmp.Or(cmp.Compare(a.ClusterName, b.ClusterName), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Unexplained lists containers that no record explains: those a cluster cannot
// explain, and those it was ordered to run by a root that is not (or no more)
// this one. known says which slots have a record.
func (b *Book) Unexplained(known func(model.InstanceID) bool) []control.UnknownView {
	list := b.unexplained(known)
	b.date(list)
	slices.SortFunc(list, func(a, b control.UnknownView) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Instance.Service, b.Instance.Service), cmp.Compare(a.Instance.Number, b.Instance.Number))
	})
	return list
}

func (b *Book) unexplained(known func(model.InstanceID) bool) (list []control.UnknownView) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, e := range b.clusters {
		list = append(list, e.orphans...)
	}
	for id, of := range b.facts {
		if known(id) {
			continue
		}
		for c, f := range of {
			list = append(list, control.UnknownView{Cluster: c, Node: f.Placement.Node, Instance: id, Epoch: instance.Epoch{Grant: f.Grant, Try: f.Placement.Try}, Held: true})
		}
	}
	return list
}

// date enters since when each is listed; list is all of them.
func (b *Book) date(list []control.UnknownView) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, was := b.now(), b.since
	b.since = make(map[control.OrphanKey]time.Time, len(list))
	for i := range list {
		key := list[i].Key()
		at, again := was[key]
		if !again {
			at = now
		}
		list[i].Since, b.since[key] = at, at
	}
}

// report merges facts of one cluster; a snapshot is all it has. It says what
// is new in them.
func (b *Book) report(id model.ClusterID, snapshot bool, facts []Facts, orphans []control.UnknownView) (news []change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	if snapshot {
		b.dropUnlisted(id, facts)
	}
	// Orphans come as a whole with snapshots and with every report that names
	// any; one that says nothing at all says that there are none left.
	if snapshot || len(orphans) > 0 || len(facts) == 0 {
		e.orphans = orphans
	}
	for _, f := range facts {
		was, again := b.facts[f.Instance][id]
		if again && f.Grant < was.Grant && !snapshot {
			continue // late
		}
		if f = b.enter(id, f); !f.Gone {
			news = append(news, change{was, f, again})
		}
	}
	return news
}

// dropUnlisted drops what the cluster has said of slots that its snapshot does
// not name.
func (b *Book) dropUnlisted(id model.ClusterID, snapshot []Facts) {
	listed := map[model.InstanceID]bool{}
	for _, f := range snapshot {
		listed[f.Instance] = true
	}
	for slot, of := range b.facts {
		if _, has := of[id]; has && !listed[slot] {
			b.drop(slot, id)
		}
	}
}

// enter merges f into what the cluster has said of the same grant, puts it in
// the place of anything else, and returns what stands there now.
func (b *Book) enter(id model.ClusterID, f Facts) Facts {
	if f.Gone {
		b.drop(f.Instance, id)
		return f
	}
	of, ok := b.facts[f.Instance]
	if !ok {
		of = slotFacts{}
		b.facts[f.Instance] = of
	}
	if was, again := of[id]; again && was.Grant == f.Grant {
		// A cluster may go back to an earlier attempt; which one counts is its
		// to say.
		if present := (instance.Epoch{Grant: f.Grant, Try: f.Placement.Try}); !present.Less(was.Observed.Epoch) {
			f.Observed = instance.Merge(was.Observed, f.Observed)
		}
		f.Vital = instance.MergeVital(was.Vital, f.Vital)
	}
	of[id] = f
	return f
}

func (b *Book) drop(slot model.InstanceID, id model.ClusterID) {
	delete(b.facts[slot], id)
	if len(b.facts[slot]) == 0 {
		delete(b.facts, slot)
	}
}

func (b *Book) setRoom(id model.ClusterID, r Room) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	r.At = b.now()
	e.room, e.heard = r, true
}

func (b *Book) setNodes(id model.ClusterID, snapshot bool, nodes []control.NodeView, removed []model.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	if snapshot {
		clear(e.nodes)
	}
	for _, n := range removed { // first: what was removed may have registered again
		delete(e.nodes, n)
	}
	for _, n := range nodes {
		n.ClusterName = e.Name
		e.nodes[n.ID] = n
	}
}

// seen notes a sign of life and says whether the cluster was silent before.
func (b *Book) seen(id model.ClusterID) (woke bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, now := b.entry(id), b.now()
	woke = now.Sub(e.lastSeen) >= silence
	e.lastSeen = now
	return woke
}

// join makes s the stream of a cluster and returns the one it replaces.
func (b *Book) join(c model.Cluster, s *session) (before *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(c.ID)
	before = e.session
	e.Cluster, e.session, e.lastSeen = c, s, b.now()
	return before
}

// leave ends s; false when another stream has replaced it.
func (b *Book) leave(id model.ClusterID, s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	if e.session != s {
		return false
	}
	e.session = nil
	return true
}

// find is the cluster that is meant by an id or else by a name; "" for none.
// The caller holds mu.
func (b *Book) find(id model.ClusterID, name string) model.ClusterID {
	if _, known := b.clusters[id]; known {
		return id
	}
	for other, e := range b.clusters {
		if e.Name == name {
			return other
		}
	}
	return ""
}

// holder is the present stream of the cluster that a Hello names, nil for none.
func (b *Book) holder(id model.ClusterID, name string) *session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e := b.clusters[b.find(id, name)]; e != nil {
		return e.session
	}
	return nil
}

// speaks says whether s is the present stream of a cluster.
func (b *Book) speaks(id model.ClusterID, s *session) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.clusters[id]
	return ok && e.session == s
}

// sessions is the present streams, by cluster.
func (b *Book) sessions() map[model.ClusterID]*session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[model.ClusterID]*session{}
	for id, e := range b.clusters {
		if e.session != nil {
			out[id] = e.session
		}
	}
	return out
}

// name of a cluster, its id while it has none.
func (b *Book) name(id model.ClusterID) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e, ok := b.clusters[id]; ok && e.Name != "" {
		return e.Name
	}
	return string(id)
}

// named finds the cluster of a name, "" when there is none.
func (b *Book) named(name string) model.ClusterID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for id, e := range b.clusters {
		if e.Name == name {
			return id
		}
	}
	return ""
}

// Connected says whether a cluster has a stream, be it silent.
func (b *Book) Connected(id model.ClusterID) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.clusters[id]
	return ok && e.session != nil
}

// Liveness of a worker, as its cluster told it last; Unseen for one that it did
// not name.
func (b *Book) Liveness(cluster model.ClusterID, node model.NodeID) instance.Liveness {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e := b.clusters[cluster]; e != nil {
		return e.nodes[node].Liveness
	}
	return instance.Unseen
}

// On lists the slots that clusters report on a worker, by cluster and worker.
func (b *Book) On() map[model.ClusterID]map[model.NodeID][]model.InstanceID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[model.ClusterID]map[model.NodeID][]model.InstanceID{}
	for id, of := range b.facts {
		for c, f := range of {
			if f.Placement.Verdict != instance.Placed || f.Placement.Node == "" {
				continue
			}
			if out[c] == nil {
				out[c] = map[model.NodeID][]model.InstanceID{}
			}
			out[c][f.Placement.Node] = append(out[c][f.Placement.Node], id)
		}
	}
	return out
}

// remove forgets a cluster and everything it reported.
func (b *Book) remove(id model.ClusterID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := b.clusters[id]; ok && e.session == nil {
		delete(b.clusters, id)
		for slot, of := range b.facts {
			if _, has := of[id]; has {
				b.drop(slot, id)
			}
		}
	}
}
