package tables

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

var update = flag.Bool("update", false, "write the golden file")

// TestPlanGolden tells a story and writes down, after each chapter, what each
// worker must hold and what the root is told.
func TestPlanGolden(t *testing.T) {
	r := newRig(t, nil)
	web, db := service(1, 3), service(2, 1)
	w0, w1, w2 := r.node(0), r.node(1), r.node(2)
	for _, a := range []*agent{w0, w1, w2} {
		a.report()
	}
	var b strings.Builder
	chapter := func(title string) {
		r.calm()
		fmt.Fprintf(&b, "# %s\n", title)
		for _, id := range sorted(r.agents) {
			b.WriteString(show(id, r.plane.desired(id)))
		}
		for _, s := range []model.ServiceID{web.ID, db.ID} {
			for _, e := range r.plane.slice(s) {
				fmt.Fprintf(&b, "slice %s: %d %s at %s", s, e.Number, e.NamespaceIP, e.Node)
				if e.Unlisted {
					b.WriteString(", unlisted")
				}
				b.WriteString("\n")
			}
		}
		b.WriteString("\n")
	}
	r.plane.setService(web)
	r.plane.setService(db)
	chapter("two services, nothing runs")
	w0.deploy(w0.ep(web, 0, 0, 1))
	w1.deploy(w1.ep(web, 1, 0, 1))
	w1.deploy(w1.ep(db, 0, 1, 1))
	chapter("web runs on n0 and n1, db on n1: who hosts the same service are peers")
	w2.ask(nodelink.TableQuery{Address: web.Address, Key: web.Address.String()})
	chapter("n2 asked for web: its hosts know n2, nobody else does")
	w0.ask(nodelink.TableQuery{Name: db.Name.String(), Key: db.Name.String()})
	chapter("n0 asked for db")
	r.plane.leave(attempt(w0.ep(web, 0, 0, 1)), make(chan struct{}), r.now)
	chapter("web 0 leaves: out of the tables, still a peer while flows drain")
	w0.undeploy(w0.ep(web, 0, 0, 1))
	r.plane.gone(attempt(w0.ep(web, 0, 0, 1)), r.now)
	chapter("web 0 is gone: n0 stays as a client of db")
	r.plane.nodeLiveness("n1", instance.Lost)
	w2.deploy(w2.ep(web, 2, 0, 1))
	chapter("n1 is lost while web also runs on n2: masked there, kept for db, which has nothing else")
	r.plane.rootTable(RootTable{
		Query: db.Name.String(), Known: true, Service: db.ID, Name: db.Name, Address: db.Address, Tenant: "t",
		Slices: []RootSlice{{Cluster: "c2", Version: 1, Endpoints: []SliceEndpoint{{
			Number: 1, InstanceAddress: netip.MustParseAddr("10.30.4.9"), NamespaceIP: inSubnet(60, 2), Node: "far",
			HostIP: underlay(80), HostPort: 50200, Subnet: subnet26(60), Dataplane: model.DataplaneVXLAN,
		}}}},
	}, r.now)
	chapter("db also runs in another cluster: now n1 is masked for db, too")

	const path = "testdata/plan.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("plan changed:\n%s", b.String())
	}
}

func show(id model.NodeID, v view) string {
	var b strings.Builder
	for _, s := range sorted(v.tables) {
		fmt.Fprintf(&b, "%s table %s %s:", id, s, v.tables[s].Address)
		for _, e := range v.tables[s].Entries {
			fmt.Fprintf(&b, " %d=%s@%s", e.Number, e.NamespaceIP, e.Node)
		}
		b.WriteString("\n")
	}
	for _, p := range sorted(v.peers) {
		peer := v.peers[p]
		fmt.Fprintf(&b, "%s peer %s %s:%d %s:", id, p, peer.HostIP, peer.HostPort, peer.Subnet)
		for _, i := range peer.Identities {
			fmt.Fprintf(&b, " %s=%s", i.NamespaceIP, i.InstanceAddress)
		}
		b.WriteString("\n")
	}
	return b.String()
}
