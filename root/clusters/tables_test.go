package clusters

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// plane is tables between clusters, without streams: what a cluster was sent
// is taken from its session.
type plane struct {
	*tables
	desk     *desk
	sessions map[model.ClusterID]*session
	shown    map[string]*linkv1.ServiceTable // last pushed, by cluster and query
	peers    map[string]*linkv1.PeerSet      // by cluster and service
	order    []string                        // what was pushed, in order
}

func newPlane(clusters ...model.ClusterID) *plane {
	d, b := &desk{}, NewBook(nil)
	p := &plane{tables: newTables(b, d), desk: d, sessions: map[model.ClusterID]*session{}}
	p.reset()
	for _, c := range clusters {
		p.join(c)
	}
	return p
}

func (p *plane) reset() {
	p.shown, p.peers, p.order = map[string]*linkv1.ServiceTable{}, map[string]*linkv1.PeerSet{}, nil
}

func (p *plane) join(c model.ClusterID) {
	p.sessions[c] = newSession(func(error) {})
	p.book.join(model.Cluster{ID: c}, p.sessions[c])
}

func (p *plane) leave(c model.ClusterID) {
	if p.book.leave(c, p.sessions[c]) {
		p.left(c)
	}
	delete(p.sessions, c)
}

// says that a cluster hosts numbers of a service.
func (p *plane) hosts(c model.ClusterID, svc string, numbers ...uint32) {
	s := &linkv1.Slice{ServiceId: svc, Version: 1}
	for _, n := range numbers {
		s.Endpoints = append(s.Endpoints, &linkv1.Endpoint{Number: n})
	}
	p.slice(c, p.sessions[c], s)
}

// asks says that a worker of a cluster is interested.
func (p *plane) asks(c model.ClusterID, query string, workers ...string) {
	i := &linkv1.Interest{Query: query}
	for _, w := range workers {
		i.Peers = append(i.Peers, &linkv1.Peer{NodeId: w})
	}
	p.interest(c, p.sessions[c], i)
}

// serve makes a service known, under its id as address ending.
func service(name string, end byte) model.Service {
	return model.Service{ID: model.ServiceID(name), Owner: "Admin", Name: model.ServiceName{App: name, AppNamespace: "x", Service: "y", ServiceNamespace: "z"}, Address: netip.AddrFrom4([4]byte{10, 30, 0, end})}
}

func (p *plane) known(list ...model.Service) {
	p.desk.mu.Lock()
	defer p.desk.mu.Unlock()
	p.desk.services = list
}

// pushed takes what every cluster was sent.
func (p *plane) pushed() *plane {
	for _, c := range slices.Sorted(maps.Keys(p.sessions)) {
		for _, m := range p.sessions[c].take() {
			if t := m.GetTable(); t != nil {
				p.shown[string(c)+" "+t.Query] = t
				p.order = append(p.order, "table "+string(c))
			}
			if s := m.GetPeers(); s != nil {
				p.peers[string(c)+" "+s.ServiceId] = s
				p.order = append(p.order, "peers "+string(c))
			}
		}
	}
	return p
}

// table is what a cluster knows of a query, as text.
func (p *plane) table(c model.ClusterID, query string) string {
	t, ok := p.pushed().shown[string(c)+" "+query]
	if !ok {
		return "none"
	}
	if !t.Known {
		return "unknown"
	}
	out := t.ServiceId
	for _, s := range t.Slices {
		out += " " + s.ClusterId
		for _, e := range s.Endpoints {
			out += fmt.Sprintf(".%d", e.Number)
		}
		if s.Stale {
			out += "?"
		}
	}
	return out
}

// talkers is what a host knows of a service's clients: cluster.worker.
func (p *plane) talkers(c model.ClusterID, svc string) string {
	s, ok := p.pushed().peers[string(c)+" "+svc]
	if !ok {
		return "none"
	}
	names := map[string]bool{}
	for _, v := range s.Peers {
		names[v.ClusterId+"."+v.NodeId] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}

func TestATableIsTheUnionOfTheSlicesOfOthers(t *testing.T) {
	p := newPlane("a", "b", "c")
	p.known(service("s", 1), service("other", 2))
	p.asks("c", "s.x.y.z", "w1")
	expect(t, "an answer at once", p.table("c", "s.x.y.z"), "s")
	p.hosts("a", "s", 0, 2)
	p.hosts("b", "s", 1)
	p.hosts("c", "s", 3)
	p.hosts("a", "other", 7)
	expect(t, "of others, sorted", p.table("c", "s.x.y.z"), "s a.0.2 b.1")
	p.asks("c", "10.30.0.1")
	expect(t, "by address", p.table("c", "10.30.0.1"), "s a.0.2 b.1")
	v := p.shown["c 10.30.0.1"]
	if v.ServiceName != "s.x.y.z" || v.ServiceAddress != "10.30.0.1" || v.Tenant != "Admin" || v.Version <= p.shown["c s.x.y.z"].Version {
		t.Errorf("%v", v)
	}
	p.hosts("a", "s", 2)
	expect(t, "an endpoint less", p.table("c", "s.x.y.z"), "s a.2 b.1")
	p.hosts("a", "s")
	expect(t, "a slice less", p.table("c", "10.30.0.1"), "s b.1")
	p.interest("c", p.sessions["c"], &linkv1.Interest{Query: "10.30.0.1", Remove: true})
	p.hosts("b", "s", 1, 4)
	expect(t, "no more asked", p.table("c", "10.30.0.1"), "s b.1")
	expect(t, "still asked", p.table("c", "s.x.y.z"), "s b.1.4")
	expect(t, "never asked", p.table("a", "s.x.y.z"), "none")
}

// A server knows its client before the client knows the server.
func TestPeersReachHostsBeforeTheTableReachesTheAsker(t *testing.T) {
	p := newPlane("host", "asker")
	p.known(service("s", 1))
	p.hosts("host", "s", 0)
	one := newSession(func(error) {})
	p.book.join(model.Cluster{ID: "host"}, one)
	p.book.join(model.Cluster{ID: "asker"}, one) // one queue shows the order
	p.sessions = map[model.ClusterID]*session{"asker": one}
	p.asks("asker", "s.x.y.z", "w1")
	if p.pushed(); !slices.Equal(p.order, []string{"peers asker", "table asker"}) {
		t.Error(p.order)
	}
}

func TestHostsKnowWhoTalksToThem(t *testing.T) {
	p := newPlane("a", "b", "c")
	p.known(service("s", 1))
	p.asks("b", "s.x.y.z", "w1", "w2")
	p.hosts("a", "s", 0)
	expect(t, "asked before it was hosted", p.talkers("a", "s"), "b.w1 b.w2")
	p.asks("c", "10.30.0.1", "w9")
	expect(t, "another cluster", p.talkers("a", "s"), "b.w1 b.w2 c.w9")
	p.asks("a", "s.x.y.z", "w5")
	expect(t, "its own it knows itself", p.talkers("a", "s"), "b.w1 b.w2 c.w9")
	p.asks("b", "s.x.y.z", "w2")
	expect(t, "one less", p.talkers("a", "s"), "b.w2 c.w9")
	p.interest("b", p.sessions["b"], &linkv1.Interest{Query: "s.x.y.z", Remove: true})
	expect(t, "not interested any more", p.talkers("a", "s"), "c.w9")
	expect(t, "hosts nothing", p.talkers("c", "s"), "none")
}

// The workers of a cluster that is away may well run on.
func TestASilentClusterKeepsItsSlicesAndInterests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane("a", "b")
		p.known(service("s", 1), service("q", 2))
		p.hosts("a", "s", 0)
		p.hosts("b", "q", 5)
		p.asks("b", "s.x.y.z")
		p.asks("a", "q.x.y.z", "w1")
		p.pushed()
		sent := p.shown["b s.x.y.z"].Slices[0]
		p.leave("a")
		expect(t, "marked", p.table("b", "s.x.y.z"), "s a.0?")
		if sent.Stale {
			t.Error("a message that was sent was written to")
		}
		time.Sleep(24 * time.Hour)
		p.review("b", p.sessions["b"])
		p.hosts("b", "q", 5, 6)
		expect(t, "a day later", p.table("b", "s.x.y.z"), "s a.0?")
		expect(t, "its workers", p.talkers("b", "q"), "a.w1")

		p.join("a")
		p.review("a", p.sessions["a"])
		expect(t, "back, not yet repeated", p.table("b", "s.x.y.z"), "s a.0?")
		p.hosts("a", "s", 0, 1)
		expect(t, "repeated", p.table("b", "s.x.y.z"), "s a.0.1")
		p.asks("a", "q.x.y.z", "w1")
		expect(t, "heard anew", p.table("a", "q.x.y.z"), "q b.5.6")
		time.Sleep(forgetAfter + time.Second)
		p.review("a", p.sessions["a"])
		expect(t, "kept", p.table("b", "s.x.y.z")+", "+p.talkers("b", "q"), "s a.0.1, a.w1")
	})
}

// A cluster that is back and does not say again what it said is over with it:
// its manager may have been started anew and have nothing to tell.
func TestWhatIsNotRepeatedIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane("a", "b")
		p.known(service("s", 1), service("q", 2))
		p.hosts("a", "s", 0)
		p.hosts("b", "q", 5)
		p.asks("b", "s.x.y.z")
		p.asks("a", "q.x.y.z", "w1")
		p.leave("a")
		p.join("a")
		time.Sleep(forgetAfter)
		p.review("a", p.sessions["a"])
		expect(t, "it has a minute", p.table("b", "s.x.y.z")+", "+p.talkers("b", "q"), "s a.0?, a.w1")
		time.Sleep(time.Second)
		p.review("a", p.sessions["a"])
		expect(t, "over", p.table("b", "s.x.y.z")+", "+p.talkers("b", "q"), "s, ")
		if len(p.interests["a"])+len(p.slices["s"]) != 0 {
			t.Errorf("left: %v %v", p.interests, p.slices)
		}
	})
}

// The whole report names every slot: a service without any has no endpoint.
func TestASnapshotEndsSlicesOfServicesItDoesNotName(t *testing.T) {
	p := newPlane("a", "b")
	p.known(service("s", 1), service("q", 2))
	p.hosts("a", "s", 0)
	p.hosts("a", "q", 0)
	p.hosts("b", "s", 1)
	p.asks("b", "s.x.y.z")
	p.asks("b", "q.x.y.z")
	p.hosted("a", []Facts{{Instance: id("q", 0)}})
	expect(t, "not named", p.table("b", "s.x.y.z"), "s")
	expect(t, "named", p.table("b", "q.x.y.z"), "q a.0")
	p.asks("a", "s.x.y.z")
	expect(t, "of another cluster", p.table("a", "s.x.y.z"), "s b.1")
}

func TestAQueryMayComeToMeanSomethingElse(t *testing.T) {
	p := newPlane("a", "b")
	p.asks("b", "10.30.0.1", "w1")
	expect(t, "nobody's", p.table("b", "10.30.0.1"), "unknown")
	p.known(service("s", 1))
	p.hosts("a", "s", 0)
	expect(t, "a service came", p.table("b", "10.30.0.1"), "s a.0")
	expect(t, "its host hears", p.talkers("a", "s"), "b.w1")
	p.known(service("s", 9), service("q", 1))
	p.hosts("a", "q", 3)
	p.review("b", p.sessions["b"])
	expect(t, "another has the address", p.table("b", "10.30.0.1"), "q a.3")
	expect(t, "its host hears", p.talkers("a", "q")+", "+p.talkers("a", "s"), "b.w1, ")
	p.known()
	p.review("b", p.sessions["b"])
	expect(t, "nobody's again", p.table("b", "10.30.0.1"), "unknown")
}

// What a stream that was replaced still says is old.
func TestAReplacedStreamChangesNoTable(t *testing.T) {
	p := newPlane("a", "b")
	p.known(service("s", 1))
	p.asks("b", "s.x.y.z", "w1")
	old := p.sessions["a"]
	p.join("a")
	p.hosts("a", "s", 1)
	p.slice("a", old, &linkv1.Slice{ServiceId: "s", Endpoints: []*linkv1.Endpoint{{Number: 0}}})
	p.interest("a", old, &linkv1.Interest{Query: "s.x.y.z"})
	expect(t, "the newer one's", p.table("b", "s.x.y.z"), "s a.1")
	expect(t, "nobody asked", p.table("a", "s.x.y.z"), "none")
	p.left("a") // the old one's end comes late
	p.hosts("b", "s", 2)
	expect(t, "it is not away", p.table("b", "s.x.y.z"), "s a.1")
}

// act is one thing that happens in TestTablesAlwaysAgree.
type act struct {
	what           string
	cluster, thing int
	numbers        []uint32
}

// Whatever comes and goes: in the end every cluster has, of each query, the
// last slices of the others, and every host the workers that talk to it.
func TestTablesAlwaysAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		acts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
			return act{
				what:    rapid.SampledFrom([]string{"slice", "slice", "ask", "ask", "drop", "leave", "join", "forget", "exists", "wait"}).Draw(t, "what"),
				cluster: rapid.IntRange(0, 2).Draw(t, "cluster"), thing: rapid.IntRange(0, 3).Draw(t, "thing"),
				numbers: rapid.SliceOfNDistinct(rapid.Uint32Range(0, 9), 0, 3, rapid.ID).Draw(t, "numbers"),
			}
		}), 1, 40).Draw(rt, "acts")
		fault := ""
		synctest.Test(t, func(*testing.T) { fault = newModel().play(acts) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}
