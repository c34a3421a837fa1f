package tables

import (
	"reflect"
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// ask is a query for a service that is not known here, while the root is
// asked.
type ask struct {
	node     model.NodeID
	query    nodelink.TableQuery
	answerAt time.Time // zero once it was answered "unknown"
	dropAt   time.Time
}

func (a *ask) next() time.Time {
	if a.answerAt.IsZero() {
		return a.dropAt
	}
	return a.answerAt
}

// upward is how the root is asked.
func upward(q nodelink.TableQuery) string {
	if q.Address.IsValid() {
		return q.Address.String()
	}
	return q.Name
}

// query answers in two steps: first the workers that host the service learn
// who will talk to them, then the asker gets the table, and then the answer.
func (p *plane) query(n model.NodeID, q nodelink.TableQuery, now time.Time) {
	if !p.gate.open && len(p.held) < maxWaiting {
		p.held = append(p.held, func(now time.Time) { p.query(n, q, now) })
		return
	}
	if s, ok := p.resolve(q.Name, q.Address); ok {
		p.serve(n, q, s, p.knownAbroad(n, s), now)
		return
	}
	key := upward(q)
	if until, ok := p.denied[key]; (ok && now.Before(until)) || len(p.asks) >= maxWaiting {
		p.answerUnknown(n, q)
		return
	}
	for _, a := range p.asks {
		if a.node == n && a.query == q { // asked again: the first answer may be lost
			a.answerAt, a.dropAt = now.Add(unknownWait), now.Add(lateWait)
			return
		}
	}
	p.asks = append(p.asks, &ask{n, q, now.Add(unknownWait), now.Add(lateWait)})
	p.askRoot(key, n)
}

func (p *plane) askRoot(key string, n model.NodeID) {
	i := Interest{Query: key}
	if w := p.workers[n]; w != nil && w.ours && w.reachable() {
		i.Peers = []nodelink.Peer{*p.peer(w)}
	}
	p.deps.Uplink.SendInterest(i)
}

// dropName ends the interest in a name that nobody here wants any more and
// nothing explains.
func (p *plane) dropName(name string) {
	for n := range p.loose {
		if p.workers[n].names.has(name) {
			return
		}
	}
	for _, a := range p.asks {
		if upward(a.query) == name {
			return
		}
	}
	if _, ok := p.names[name]; !ok {
		p.deps.Uplink.SendInterest(Interest{Query: name, Remove: true})
	}
}

// knownAbroad says whether other clusters that host the service have been told
// of the worker, or need not be.
func (p *plane) knownAbroad(n model.NodeID, s model.ServiceID) bool {
	hosted := slices.ContainsFunc(p.foreign[s].Slices, func(sl RootSlice) bool { return len(sl.Endpoints) > 0 })
	return !hosted || slices.ContainsFunc(p.interests[s].peers, func(o nodelink.Peer) bool { return o.Node == n })
}

// serve answers a query for a known service. abroad: other clusters know the
// asker already; otherwise the root, which answers every interest after it has
// told them, is waited for as the hosts here are.
func (p *plane) serve(n model.NodeID, q nodelink.TableQuery, s model.ServiceID, abroad bool, now time.Time) {
	w := p.worker(n)
	if !w.ours {
		p.watch(s, n)
		p.waits = append(p.waits, &wait{
			deadline: now, who: func() set[model.NodeID] { return nil },
			done: func(time.Time) { p.answer(n, q, s) },
		})
		return
	}
	if !p.watchers.has(s, n) && p.wanters.add(s, n) {
		p.touchWorker(n)
	}
	heard := p.answers[s]
	p.waits = append(p.waits, &wait{
		deadline: now.Add(hostsWait),
		ready:    func() bool { return abroad || p.answers[s] > heard },
		who:      func() set[model.NodeID] { return without(p.hosts.by[s], n) },
		done: func(now time.Time) {
			p.watch(s, n)
			p.flush(now)
			p.answer(n, q, s)
		},
	})
}

func without(s set[model.NodeID], n model.NodeID) set[model.NodeID] {
	out := set[model.NodeID]{}
	for k := range s {
		if k != n {
			out[k] = struct{}{}
		}
	}
	return out
}

func (p *plane) answer(n model.NodeID, q nodelink.TableQuery, s model.ServiceID) {
	w := p.workers[n]
	if w == nil {
		return
	}
	t := p.table(s, w.dataplane)
	if t == nil {
		p.answerUnknown(n, q)
		return
	}
	r := nodelink.TableResult{Key: q.Key, Known: true, Service: *t}
	if w.ours {
		r.Version = p.deliveryOf(n).version
	}
	p.send(n, nodelink.Outbound{Table: &r})
}

func (p *plane) answerUnknown(n model.NodeID, q nodelink.TableQuery) {
	p.send(n, nodelink.Outbound{Table: &nodelink.TableResult{Key: q.Key}})
}

// expireAsks answers what the root did not answer in time, and gives up later.
func (p *plane) expireAsks(now time.Time) bool {
	dropped := set[string]{}
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool {
		if !a.answerAt.IsZero() && !now.Before(a.answerAt) {
			a.answerAt = time.Time{}
			p.answerUnknown(a.node, a.query)
		}
		if now.Before(a.dropAt) {
			return false
		}
		dropped[upward(a.query)] = struct{}{}
		return true
	})
	for _, a := range p.asks {
		delete(dropped, upward(a.query))
	}
	for _, key := range sorted(dropped) {
		p.deps.Uplink.SendInterest(Interest{Query: key, Remove: true})
	}
	for key, until := range p.denied {
		if !now.Before(until) {
			delete(p.denied, key)
		}
	}
	return false
}

// rootTable takes what the root knows, and serves those who wait for it.
func (p *plane) rootTable(t RootTable, now time.Time) {
	if !t.Known {
		p.unknownAtRoot(t, now)
		return
	}
	p.answers[t.Service]++
	changed := !reflect.DeepEqual(p.foreign[t.Service], t)
	p.foreign[t.Service] = t
	if _, ok := p.interests[t.Service]; !ok && t.Query != "" {
		p.interests[t.Service] = sentInterest{query: t.Query}
	}
	if changed {
		p.staleForeign()
		p.named(t.Service)
		p.tellApplied(t, now)
	}
	waiting := p.asks
	p.asks = nil
	for _, a := range waiting {
		if s, ok := p.resolve(a.query.Name, a.query.Address); ok {
			p.serve(a.node, a.query, s, true, now)
		} else if upward(a.query) == t.Query { // the address of a slot that runs nowhere yet
			p.serve(a.node, a.query, t.Service, true, now)
		} else {
			p.asks = append(p.asks, a)
		}
	}
}

func (p *plane) unknownAtRoot(t RootTable, now time.Time) {
	p.denied[t.Query] = now.Add(deniedFor)
	for _, a := range p.asks {
		if upward(a.query) == t.Query && !a.answerAt.IsZero() {
			a.answerAt = time.Time{}
			p.answerUnknown(a.node, a.query)
		}
	}
	for id, i := range p.interests {
		if i.query != t.Query {
			continue
		}
		if _, ok := p.foreign[id]; ok {
			delete(p.foreign, id)
			p.staleForeign()
			p.named(id)
		}
	}
}
