package tables

import (
	"reflect"
	"slices"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// sentSlice and sentInterest are what the root was told last.
type sentSlice struct {
	version   uint64
	endpoints []SliceEndpoint
}

type sentInterest struct {
	query string
	sent  bool
	peers []nodelink.Peer
}

// sendOutward tells the root and original NetManagers about services that may
// have changed.
func (p *plane) sendOutward() {
	if !p.gate.open {
		return
	}
	for _, s := range sorted(p.outward) {
		p.sendSlice(s)
		p.sendInterest(s)
		p.ring(s)
	}
	clear(p.outward)
}

func (p *plane) sendSlice(s model.ServiceID) {
	now, last := p.slice(s), p.slices[s]
	if slices.Equal(now, last.endpoints) {
		return
	}
	p.noteSpan(s, now)
	last.version = max(last.version, p.floor) + 1
	last.endpoints = now
	if p.slices[s] = last; len(now) == 0 {
		// Should the service come back, its versions go on above all that ended.
		delete(p.slices, s)
		p.floor = max(p.floor, last.version)
	}
	p.deps.Uplink.SendSlice(Slice{Service: s, Version: last.version, Endpoints: now})
}

// sendInterest keeps the root's view of who here talks to a service: every
// service that is hosted or watched here, since other clusters may host it,
// too.
func (p *plane) sendInterest(s model.ServiceID) {
	h, named := p.header(s)
	last := p.interests[s]
	if len(p.hosts.by[s]) == 0 && len(p.watchers.by[s]) == 0 && len(p.wanters.by[s]) == 0 {
		if last.query != "" {
			p.deps.Uplink.SendInterest(Interest{Query: last.query, Remove: true})
		}
		delete(p.interests, s)
		delete(p.bells, s)
		delete(p.answers, s)
		if _, ok := p.foreign[s]; ok { // nobody needs it: ask anew next time
			delete(p.foreign, s)
			p.staleForeign()
			p.reindex(s)
			p.staleService(s)
		}
		return
	}
	if !named {
		return
	}
	peers := p.talkersHere(s)
	if last.sent && reflect.DeepEqual(peers, last.peers) {
		return
	}
	if last.query == "" {
		last.query = h.Name.String()
	}
	last.sent, last.peers = true, peers
	p.interests[s] = last
	p.deps.Uplink.SendInterest(Interest{Query: last.query, Peers: peers})
}

func (p *plane) talkersHere(s model.ServiceID) []nodelink.Peer {
	all := set[model.NodeID]{}
	for _, x := range []index{p.hosts, p.watchers, p.wanters} {
		for n := range x.by[s] {
			all[n] = struct{}{}
		}
	}
	var out []nodelink.Peer
	for _, n := range sorted(all) {
		if w := p.workers[n]; w != nil && w.ours && w.reachable() {
			out = append(out, *p.peer(w))
		}
	}
	return out
}

// ring tells original NetManagers to ask for a service again.
func (p *plane) ring(s model.ServiceID) {
	listening := false
	for _, x := range []index{p.hosts, p.watchers} {
		for n := range x.by[s] {
			w := p.workers[n]
			listening = listening || (w != nil && !w.ours)
		}
	}
	if !listening {
		delete(p.bells, s)
		return
	}
	now, before := p.table(s, model.DataplaneOriginal), p.bells[s]
	if now == nil || now == before {
		return
	}
	p.bells[s] = now
	p.send("", nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{
		JobName: now.Name.String(), Removed: before != nil && len(now.Entries) < len(before.Entries),
	}})
}

// noteSpan says once that a service has endpoints on two data planes: workers
// of one kind do not reach those of the other.
func (p *plane) noteSpan(s model.ServiceID, endpoints []SliceEndpoint) {
	spans := slices.ContainsFunc(endpoints, func(e SliceEndpoint) bool { return e.Dataplane != endpoints[0].Dataplane })
	if !spans {
		delete(p.spans, s)
		return
	}
	if !p.spans.has(s) {
		p.spans[s] = struct{}{}
		p.log.Warn("service spans two data planes", "service", s)
	}
}
