package clusters

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// forgetAfter is how long a cluster that is back may take to say its interests
// and slices again before those it had are over.
const forgetAfter = time.Minute

// tables passes service tables between clusters: slices go to the clusters
// that are interested, peers of those to the clusters that host. The root
// changes nothing in a slice but the mark that its cluster is silent.
//
// A message that was queued is never written to again: a stream may be sending
// it.
type tables struct {
	mu        sync.Mutex
	book      *Book
	desk      Desk
	slices    map[model.ServiceID]map[model.ClusterID]hosting
	interests map[model.ClusterID]map[string]interest // by query
	watchers  map[model.ServiceID]map[watch]bool      // the interests that mean a service; "" for those that mean none
	version   uint64
}

// hosting is a cluster's slice and the stream that brought it.
type hosting struct {
	slice *linkv1.Slice
	said  *session
}

// interest is one query of a cluster.
type interest struct {
	service model.ServiceID // "" while the query matches nothing
	peers   []*linkv1.Peer
	said    *session
}

type watch struct {
	cluster model.ClusterID
	query   string
}

func newTables(b *Book, d Desk) *tables {
	return &tables{
		book: b, desk: d, slices: map[model.ServiceID]map[model.ClusterID]hosting{},
		interests: map[model.ClusterID]map[string]interest{}, watchers: map[model.ServiceID]map[watch]bool{},
	}
}

// slice takes a cluster's endpoints of a service and passes them on.
func (t *tables) slice(id model.ClusterID, sess *session, s *linkv1.Slice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.book.speaks(id, sess) {
		return // a newer stream may have said more
	}
	svc := model.ServiceID(s.GetServiceId())
	s.ClusterId, s.Stale = string(id), false
	was := t.slices[svc][id]
	if len(s.GetEndpoints()) == 0 {
		t.drop(svc, id)
	} else {
		if t.slices[svc] == nil {
			t.slices[svc] = map[model.ClusterID]hosting{}
		}
		t.slices[svc][id] = hosting{s, sess}
		if was.said != sess { // else it has heard, and hears of changes
			t.pushPeers(svc, id)
		}
	}
	t.push(svc)
}

// applied passes on, to those whose slices are named, that a cluster's workers
// use them. Somebody may be waiting for it with the end of an instance.
func (t *tables) applied(id model.ClusterID, sess *session, m *linkv1.TableApplied) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.book.speaks(id, sess) {
		return
	}
	sessions := t.book.sessions()
	for _, s := range m.GetSlices() {
		if host := sessions[model.ClusterID(s.GetClusterId())]; host != nil {
			host.replace("applied "+m.GetServiceId()+" "+string(id), &linkv1.Down{Body: &linkv1.Down_SliceApplied{SliceApplied: &linkv1.SliceApplied{
				ServiceId: m.GetServiceId(), ClusterId: string(id), Version: s.GetVersion(),
			}}})
		}
	}
}

func (t *tables) drop(svc model.ServiceID, id model.ClusterID) {
	delete(t.slices[svc], id)
	if len(t.slices[svc]) == 0 {
		delete(t.slices, svc)
	}
}

// interest answers a query at once and keeps its table pushed.
func (t *tables) interest(id model.ClusterID, sess *session, i *linkv1.Interest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.book.speaks(id, sess) {
		return
	}
	if i.GetRemove() {
		t.forget(watch{id, i.GetQuery()})
		return
	}
	peers := i.GetPeers()
	for _, p := range peers {
		p.ClusterId = string(id)
	}
	w := watch{id, i.GetQuery()}
	was := t.interests[id][w.query].service
	in := t.bind(w, interest{peers: peers, said: sess})
	if was != "" && was != in.service {
		t.pushPeersToHosts(was)
	}
	if in.service != "" {
		// Hosts first: a server should know the client before its packet comes.
		t.pushPeersToHosts(in.service)
	}
	t.tell(w, sess)
}

// means is the service of a query, "" for none.
func (t *tables) means(query string) model.ServiceID {
	s, _ := t.desk.Resolve(query)
	return s.ID
}

// bind enters an interest under the service its query means now.
func (t *tables) bind(w watch, in interest) interest {
	t.unbind(w)
	in.service = t.means(w.query)
	if t.interests[w.cluster] == nil {
		t.interests[w.cluster] = map[string]interest{}
	}
	t.interests[w.cluster][w.query] = in
	if t.watchers[in.service] == nil {
		t.watchers[in.service] = map[watch]bool{}
	}
	t.watchers[in.service][w] = true
	return in
}

func (t *tables) unbind(w watch) {
	in, ok := t.interests[w.cluster][w.query]
	if !ok {
		return
	}
	if delete(t.watchers[in.service], w); len(t.watchers[in.service]) == 0 {
		delete(t.watchers, in.service)
	}
	if delete(t.interests[w.cluster], w.query); len(t.interests[w.cluster]) == 0 {
		delete(t.interests, w.cluster)
	}
}

// forget ends an interest.
func (t *tables) forget(w watch) {
	in, ok := t.interests[w.cluster][w.query]
	t.unbind(w)
	if ok && in.service != "" {
		t.pushPeersToHosts(in.service)
	}
}

// review looks at a cluster's interests again: a query may mean another
// service by now, or none. What was not repeated since the cluster came back
// is over.
func (t *tables) review(id model.ClusterID, sess *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	late := time.Since(sess.began) > forgetAfter
	for svc, of := range t.slices {
		if h, hosts := of[id]; hosts && late && h.said != sess {
			t.drop(svc, id)
			t.push(svc)
		}
	}
	for _, query := range slices.Sorted(maps.Keys(t.interests[id])) {
		in, w := t.interests[id][query], watch{id, query}
		if late && in.said != sess {
			t.forget(w)
			continue
		}
		if t.means(query) == in.service {
			continue
		}
		now := t.bind(w, in)
		for _, svc := range []model.ServiceID{in.service, now.service} {
			if svc != "" {
				t.pushPeersToHosts(svc)
			}
		}
		t.tell(w, sess)
	}
}

// hosted drops the slices of services of which a cluster, having told all it
// has, has nothing.
func (t *tables) hosted(id model.ClusterID, facts []Facts) {
	has := map[model.ServiceID]bool{}
	for _, f := range facts {
		has[f.Instance.Service] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for svc, of := range t.slices {
		if _, listed := of[id]; listed && !has[svc] {
			t.drop(svc, id)
			t.push(svc)
		}
	}
}

// left marks a cluster's slices and keeps its interests: its workers may well
// run on and talk to others.
func (t *tables) left(id model.ClusterID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	present := t.book.sessions()[id] // it may be back already
	for svc, of := range t.slices {
		if h, hosts := of[id]; hosts && (present == nil || h.said != present) {
			h.slice = proto.CloneOf(h.slice)
			h.slice.Stale = true
			of[id] = h
			t.push(svc)
		}
	}
}

// push sends a service's table to every interested cluster.
func (t *tables) push(svc model.ServiceID) {
	told := map[watch]bool{}
	maps.Copy(told, t.watchers[svc])
	for w := range t.watchers[""] {
		if t.means(w.query) == svc {
			told[w] = true
		}
	}
	sessions := t.book.sessions()
	for w := range told {
		in := t.interests[w.cluster][w.query]
		if now := t.means(w.query); now != in.service {
			t.bind(w, in)
			t.pushPeersToHosts(svc)
		}
		if sess := sessions[w.cluster]; sess != nil {
			t.tell(w, sess)
		}
	}
}

// tell queues the table of a query: the slices of the others.
func (t *tables) tell(w watch, sess *session) {
	t.version++
	out := &linkv1.ServiceTable{Query: w.query, Version: t.version}
	if s, known := t.desk.Resolve(w.query); known {
		out.Known, out.ServiceId, out.ServiceName = true, string(s.ID), s.Name.String()
		out.ServiceAddress, out.Tenant = addrText(s.Address), s.Owner
		of := t.slices[s.ID]
		for _, c := range slices.Sorted(maps.Keys(of)) {
			if c != w.cluster {
				out.Slices = append(out.Slices, of[c].slice)
			}
		}
	}
	sess.replace("table "+w.query, &linkv1.Down{Body: &linkv1.Down_Table{Table: out}})
}

func (t *tables) pushPeersToHosts(svc model.ServiceID) {
	for host := range t.slices[svc] {
		t.pushPeers(svc, host)
	}
}

// pushPeers tells a hosting cluster which workers of others talk to a service.
func (t *tables) pushPeers(svc model.ServiceID, host model.ClusterID) {
	sess := t.book.sessions()[host]
	if sess == nil {
		return
	}
	set := &linkv1.PeerSet{ServiceId: string(svc)}
	watchers := slices.SortedFunc(maps.Keys(t.watchers[svc]), func(a, b watch) int {
		return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.query, b.query))
	})
	for _, w := range watchers {
		if w.cluster != host {
			set.Peers = append(set.Peers, t.interests[w.cluster][w.query].peers...)
		}
	}
	sess.replace("peers "+string(svc), &linkv1.Down{Body: &linkv1.Down_Peers{Peers: set}})
}

// forgetCluster drops slices and interests of a cluster that was removed.
func (t *tables) forgetCluster(id model.ClusterID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for svc, of := range t.slices {
		if _, hosts := of[id]; hosts {
			t.drop(svc, id)
			t.push(svc)
		}
	}
	for _, query := range slices.Sorted(maps.Keys(t.interests[id])) {
		t.forget(watch{id, query})
	}
}
