package clusters

import (
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// tables passes service tables between clusters: slices go to the clusters
// that are interested, peers of those to the clusters that host. The root
// changes nothing in a slice but the mark that its cluster is silent.
type tables struct {
	mu        sync.Mutex
	book      *Book
	desk      Desk
	slices    map[model.ServiceID]map[model.ClusterID]*linkv1.Slice
	interests map[model.ClusterID]map[string]interest // by query
	version   uint64
}

type interest struct {
	service model.ServiceID // "" when the query matches nothing yet
	peers   []*linkv1.Peer
}

func newTables(b *Book, d Desk) *tables {
	return &tables{book: b, desk: d, slices: map[model.ServiceID]map[model.ClusterID]*linkv1.Slice{}, interests: map[model.ClusterID]map[string]interest{}}
}

// slice takes a cluster's endpoints of a service and passes them on.
func (t *tables) slice(id model.ClusterID, s *linkv1.Slice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	svc := model.ServiceID(s.GetServiceId())
	of, ok := t.slices[svc]
	if !ok {
		of = map[model.ClusterID]*linkv1.Slice{}
		t.slices[svc] = of
	}
	s.ClusterId, s.Stale = string(id), false
	of[id] = s
	if len(s.GetEndpoints()) == 0 {
		delete(of, id)
	}
	t.push(svc)
	t.pushPeers(svc, id)
}

// interest answers a query at once and keeps its table pushed.
func (t *tables) interest(id model.ClusterID, sess *session, i *linkv1.Interest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of, ok := t.interests[id]
	if !ok {
		of = map[string]interest{}
		t.interests[id] = of
	}
	if i.GetRemove() {
		svc := of[i.GetQuery()].service
		delete(of, i.GetQuery())
		if svc != "" {
			t.pushPeersToHosts(svc)
		}
		return
	}
	entry := interest{peers: i.GetPeers()}
	for _, p := range entry.peers {
		p.ClusterId = string(id)
	}
	service, _, known := t.desk.Resolve(i.GetQuery())
	if known {
		entry.service = service.ID
	}
	of[i.GetQuery()] = entry
	if known {
		// Hosts first: a server should know the client before its packet comes.
		t.pushPeersToHosts(service.ID)
	}
	sess.queue(t.table(id, i.GetQuery()))
}

// joined sends a cluster that came (back) the peers of what it hosts.
func (t *tables) joined(id model.ClusterID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for svc, of := range t.slices {
		if s, hosts := of[id]; hosts {
			s.Stale = false
			t.pushPeers(svc, id)
			t.push(svc)
		}
	}
}

// left marks a cluster's slices: they stay, since its workers may well run on.
func (t *tables) left(id model.ClusterID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for svc, of := range t.slices {
		if s, hosts := of[id]; hosts {
			s = proto.CloneOf(s)
			s.Stale = true
			of[id] = s
			t.push(svc)
		}
	}
	delete(t.interests, id) // it says them again when it returns
}

// push sends a service's table to every interested cluster.
func (t *tables) push(svc model.ServiceID) {
	sessions := t.book.sessions()
	for id, of := range t.interests {
		for query, in := range of {
			if in.service == "" {
				if s, _, known := t.desk.Resolve(query); known && s.ID == svc {
					in.service = svc
					of[query] = in
				}
			}
			if sess := sessions[id]; sess != nil && in.service == svc {
				sess.queue(t.table(id, query))
			}
		}
	}
}

// table is what a cluster is told for a query: the slices of the others.
func (t *tables) table(id model.ClusterID, query string) *linkv1.Down {
	t.version++
	out := &linkv1.ServiceTable{Query: query, Version: t.version}
	if s, _, known := t.desk.Resolve(query); known {
		out.Known, out.ServiceId, out.ServiceName = true, string(s.ID), s.Name.String()
		out.ServiceAddress, out.Tenant = addrText(s.Address), s.Owner
		of := t.slices[s.ID]
		for _, c := range slices.Sorted(maps.Keys(of)) {
			if c != id {
				out.Slices = append(out.Slices, of[c])
			}
		}
	}
	return &linkv1.Down{Body: &linkv1.Down_Table{Table: out}}
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
	for _, id := range slices.Sorted(maps.Keys(t.interests)) {
		if id == host {
			continue
		}
		for _, query := range slices.Sorted(maps.Keys(t.interests[id])) {
			if in := t.interests[id][query]; in.service == svc {
				set.Peers = append(set.Peers, in.peers...)
			}
		}
	}
	sess.queue(&linkv1.Down{Body: &linkv1.Down_Peers{Peers: set}})
}
