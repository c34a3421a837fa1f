package contract

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/rootlink"
	clusterbolt "oakestra/cluster/store/boltstore"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/lifecycle"
	"oakestra/root/assign"
	"oakestra/root/clusters"
	"oakestra/root/control"
	rootbolt "oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// pair is a root and a cluster manager, of their real parts, without REST and
// broker.
type pair struct {
	t     *testing.T
	ctl   *control.Control
	book  *clusters.Book
	fleet *fleet.Fleet
	hub   *memlink.Hub
}

// places is what a root lets users do with clusters.
type places struct {
	*clusters.Server
	*assign.Desk
	*clusters.Book
}

func (p places) RemoveCluster(ctx context.Context, id model.ClusterID, force bool) ([]model.InstanceID, error) {
	return p.Desk.RemoveCluster(ctx, id, force)
}

type below struct {
	*clusters.Book
	*assign.Desk
}

func startPair(t *testing.T) *pair {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	rootStore, _, err := rootbolt.Open(filepath.Join(dir, "root.db"))
	must(t, err)
	memory, err := witness.Open(filepath.Join(dir, "witness.json"))
	must(t, err)
	clusterStore, err := clusterbolt.Open(filepath.Join(dir, "cluster"))
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)

	p := &pair{t: t, book: clusters.NewBook(nil), hub: memlink.New()}
	desk := assign.NewDesk(assign.Deps{Store: rootStore, Book: p.book, Witness: memory, Logger: log})
	server := clusters.NewServer(p.book, desk, log)
	links := server.GRPC()
	p.ctl = control.New(control.Deps{Store: rootStore, Addresses: desk, Below: below{p.book, desk}, Places: places{server, desk, p.book}, Logger: log})

	hub := p.hub
	link := rootlink.New(rootlink.Config{Root: ln.Addr().String(), Name: "kitchen", Version: "test"}, log)
	plane := tables.New(tables.Deps{Link: hub, Uplink: link, Subnets: clusterStore, Logger: log})
	p.fleet = fleet.New(fleet.Config{}, fleet.Deps{Book: clusterStore, Link: hub, Network: plane, Root: link, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- lifecycle.Run(ctx,
			lifecycle.Part{Name: "desk", Run: desk.Run},
			lifecycle.Part{Name: "links", Run: func(ctx context.Context) error {
				defer context.AfterFunc(ctx, links.Stop)()
				return links.Serve(ln)
			}},
			lifecycle.Part{Name: "fleet", Run: p.fleet.Run}, lifecycle.Part{Name: "tables", Run: plane.Run}, lifecycle.Part{Name: "hub", Run: hub.Run},
			lifecycle.Part{Name: "root link", Run: func(ctx context.Context) error { return link.Run(ctx, clusterStore, p.fleet, plane) }},
		)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		must(t, rootStore.Close())
		must(t, clusterStore.Close())
	})
	return p
}

func (p *pair) worker(host string, mb int64) {
	p.t.Helper()
	id, err := p.fleet.Register(p.t.Context(), fleet.Registration{Host: host, Key: host, Address: netip.MustParseAddr("192.0.2.1"), Architecture: "amd64",
		Runtimes: []string{"container"}, Capacity: model.Resources{MilliCPU: 4000, MemoryMB: mb}, Version: "test"})
	must(p.t, err)
	p.hub.Node(id).Send(nodelink.Inbound{Report: &nodelink.NodeReport{Complete: true}}) // nothing is placed before it has said what it holds
}

func (p *pair) until(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("never: %s", what)
		}
	}
}

// A question of a user goes through the root to the workers of a cluster, and
// the same reasons are in the status of what waits.
func TestAnExplanationReachesTheWorkers(t *testing.T) {
	p := startPair(t)
	p.worker("w1", 2000)
	p.worker("w2", 300)
	p.worker("w3", 2000)
	p.until("the root knows three workers", func() bool {
		list := p.book.Clusters()
		return len(list) == 1 && list[0].ActiveNodes == 3
	})
	if _, err := p.fleet.Order(t.Context(), "w3", fleet.Cordon); err != nil {
		t.Fatal(err)
	}
	who := control.Caller{Name: "Admin", Admin: true}
	apps, err := p.ctl.CreateApplications(t.Context(), who, []byte(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"","application_name":"app",
		"application_namespace":"test","application_desc":"","microservices":[{"microserviceID":"","microservice_name":"web","microservice_namespace":"test",
		"virtualization":"container","memory":1500,"vcpus":1,"code":"docker.io/library/nginx:latest"}]}]}`))
	must(t, err)
	list, err := p.ctl.Services(t.Context(), who, apps[0].ID)
	must(t, err)
	id := list[0].ID

	e, err := p.ctl.Explain(t.Context(), who, id, 0)
	must(t, err)
	reason := func(name, detail string) *instance.Reason {
		return &instance.Reason{Name: name, Count: 1, Detail: detail}
	}
	want := control.Answer{State: control.Answered, Workers: 3, Qualify: 1, Node: "w1",
		Reasons: []instance.Reason{*reason("cordon", "w3"), *reason("memory", "w2: 1500 > 300 MiB free")},
		Judged: []control.Judged{{Node: "w1", Host: "w1"}, {Node: "w2", Host: "w2", Reason: reason("memory", "w2: 1500 > 300 MiB free")},
			{Node: "w3", Host: "w3", Reason: reason("cordon", "w3")}}}
	if len(e.OneMore.Clusters) != 1 || e.OneMore.Clusters[0].Reason != nil || e.OneMore.Message != "it would go to node w1 of cluster kitchen, where 1 of 3 nodes qualify" {
		t.Fatalf("%+v", e.OneMore)
	}
	if d := cmp.Diff(want, e.OneMore.Clusters[0].Answer); d != "" {
		t.Error(d)
	}

	for range 2 { // the second fits nowhere
		_, err := p.ctl.Deploy(t.Context(), who, id)
		must(t, err)
	}
	var waits control.WaitingOutlook
	p.until("one runs and one waits with a reason", func() bool {
		e, err = p.ctl.Explain(t.Context(), who, id, 0)
		must(t, err)
		if e.Total != 1 {
			return false
		}
		waits = e.Waiting[0]
		return waits.Clusters[0].Reason != nil
	})
	if a := waits.Clusters[0].Answer; waits.Number != 1 || waits.Cluster != "" || a.Qualify != 0 || len(a.Reasons) != 2 || a.Reasons[1].Name != "memory" && a.Reasons[0].Name != "memory" {
		t.Errorf("%+v", waits)
	}
}
