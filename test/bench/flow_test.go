package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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

const (
	flowRounds    = 5
	flowWorkers   = 1000
	flowServices  = 100
	flowInstances = 10_000
	flowCallers   = 64
)

// BenchmarkEndToEnd asks for 10 000 instances and waits until the root knows a
// worker of each, with both stores on: what a POST does, the root's desk, the
// stream over TCP, a cluster manager's fleet and network plane, and 1 000
// workers that start at once what they are told. No worker is ever given more
// than it has.
func BenchmarkEndToEnd(b *testing.B) {
	var rate, asked, told, cpu sample
	for range flowRounds {
		f := startFlow(b)
		services := f.services()
		began, used := time.Now(), processTime()
		f.ask(services)
		took := time.Since(began)
		f.await("are placed", func() int { return f.placed(services) })
		placed := time.Since(began)
		spent := processTime() - used
		f.await("are told to workers", func() int { return int(f.deployed.Load()) })
		f.await("run", func() int { return f.running(services) })
		asked, rate = append(asked, flowInstances/took.Seconds()), append(rate, flowInstances/placed.Seconds())
		told, cpu = append(told, time.Since(began).Seconds()), append(cpu, micros(spent)/flowInstances)
		f.stop()
	}
	fmt.Printf("\n%d instances on %d workers, end to end with both stores: %s placements/s by the clock, %s us of CPU each; asked for at %s /s; all run after %s s\n",
		flowInstances, flowWorkers, rate, cpu, asked, told)
	b.ReportMetric(rate.median(), "placements/s")
	b.ReportMetric(0, "ns/op")
	if rate.median() < 1000 {
		b.Errorf("%.0f placements/s end to end, the goal is 1000", rate.median())
	}
}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// flow is a root and a cluster manager, each of its real parts, and workers.
type flow struct {
	b        *testing.B
	ctl      *control.Control
	book     *clusters.Book
	hub      *memlink.Hub
	fleet    *fleet.Fleet
	capacity model.Resources
	stop     func()

	deployed atomic.Int64
}

type seenBelow struct {
	*clusters.Book
	*assign.Desk
}

func startFlow(b *testing.B) *flow {
	b.Helper()
	f := &flow{b: b, hub: memlink.New(), capacity: model.Resources{MilliCPU: 16_000, MemoryMB: 16_384}}
	dir, log := b.TempDir(), slog.New(slog.DiscardHandler)
	rootStore, _, err := rootbolt.Open(filepath.Join(dir, "root.db"))
	must(b, err)
	memory, err := witness.Open(filepath.Join(dir, "witness.json"))
	must(b, err)
	f.book = clusters.NewBook(nil)
	desk := assign.NewDesk(assign.Deps{Store: rootStore, Book: f.book, Witness: memory, Logger: log})
	links := clusters.NewServer(f.book, desk, log).GRPC()
	f.ctl = control.New(control.Deps{Store: rootStore, Addresses: desk, Below: seenBelow{f.book, desk}, Logger: log})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)

	clusterStore, err := clusterbolt.Open(filepath.Join(dir, "cluster"))
	must(b, err)
	link := rootlink.New(rootlink.Config{Root: ln.Addr().String(), Name: "site", Location: "here", Version: "bench"}, log)
	plane := tables.New(tables.Deps{Link: f.hub, Uplink: link, Subnets: clusterStore, Logger: log})
	f.fleet = fleet.New(fleet.Config{}, fleet.Deps{Book: clusterStore, Link: f.hub, Network: plane, Root: link, Logger: log})

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- lifecycle.Run(ctx,
			lifecycle.Part{Name: "desk", Run: desk.Run},
			lifecycle.Part{Name: "links", Run: func(ctx context.Context) error {
				stop := context.AfterFunc(ctx, links.Stop)
				defer stop()
				return links.Serve(ln)
			}},
			lifecycle.Part{Name: "fleet", Run: f.fleet.Run}, lifecycle.Part{Name: "tables", Run: plane.Run}, lifecycle.Part{Name: "hub", Run: f.hub.Run},
			lifecycle.Part{Name: "root link", Run: func(ctx context.Context) error { return link.Run(ctx, clusterStore, f.fleet, plane) }},
		)
	}()
	var workers sync.WaitGroup
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			b.Error(err)
		}
		workers.Wait()
		must(b, rootStore.Close())
		must(b, clusterStore.Close())
	})
	b.Cleanup(f.stop)
	f.register(ctx, &workers)
	return f
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// register brings the workers, and returns when the root knows what they have.
func (f *flow) register(ctx context.Context, workers *sync.WaitGroup) {
	f.b.Helper()
	var g errgroup.Group
	g.SetLimit(flowCallers)
	for i := range flowWorkers {
		g.Go(func() error {
			host := fmt.Sprintf("w%04d", i)
			id, err := f.fleet.Register(ctx, fleet.Registration{Host: host, Key: host, Boot: "b", Address: netip.MustParseAddr("192.0.2.1"), Architecture: "amd64",
				Runtimes: []string{"container"}, Capacity: f.capacity, Network: true, Version: "bench"})
			if err != nil {
				return err
			}
			w := &flowWorker{flow: f, node: f.hub.Node(id), has: map[instance.Attempt]model.Resources{}}
			workers.Go(func() { w.run(ctx, time.Duration(i)*2*time.Second/flowWorkers) })
			return nil
		})
	}
	must(f.b, g.Wait())
	f.wait("the root knows all workers", func() bool {
		list := f.book.Clusters()
		return len(list) == 1 && list[0].ActiveNodes == flowWorkers
	})
}

func (f *flow) wait(what string, is func() bool) {
	f.b.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			f.b.Fatalf("never: %s", what)
		}
	}
}

func (f *flow) await(what string, count func() int) {
	f.b.Helper()
	f.wait(fmt.Sprintf("%d instances %s", flowInstances, what), func() bool { return count() >= flowInstances })
}

var flowCaller = control.Caller{Name: "Admin", Admin: true}

// services stores what is asked for. Demands differ: from 100 to 1 000 of the
// 16 000 milli-CPU of a worker, and memory likewise.
func (f *flow) services() (ids []model.ServiceID) {
	f.b.Helper()
	parts := ""
	for i := range flowServices {
		if i > 0 {
			parts += ","
		}
		parts += fmt.Sprintf(`{"microserviceID":"","microservice_name":"s%d","microservice_namespace":"test","virtualization":"container","cmd":[],
			"memory":%d,"vcpus":%d,"vgpus":0,"storage":0,"code":"docker.io/library/nginx:latest","port":""}`, i, 64*(1+i%10), i%2)
	}
	body := fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"","application_name":"app","application_namespace":"test",
		"application_desc":"","microservices":[%s]}]}`, parts)
	apps, err := f.ctl.CreateApplications(context.Background(), flowCaller, []byte(body))
	must(f.b, err)
	list, err := f.ctl.Services(context.Background(), flowCaller, apps[0].ID)
	must(f.b, err)
	for _, v := range list {
		ids = append(ids, v.ID)
	}
	return ids
}

// ask wants the instances, as many callers at once as a busy API has.
func (f *flow) ask(services []model.ServiceID) {
	f.b.Helper()
	var g errgroup.Group
	g.SetLimit(flowCallers)
	for i := range flowInstances {
		g.Go(func() error {
			_, err := f.ctl.Deploy(context.Background(), flowCaller, services[i%len(services)])
			return err
		})
	}
	must(f.b, g.Wait())
}

func (f *flow) count(services []model.ServiceID, is func(control.InstanceView) bool) (n int) {
	for _, id := range services {
		for k := range flowInstances / flowServices {
			if v, known := f.book.Facts(model.InstanceID{Service: id, Number: k}); known && is(v) {
				n++
			}
		}
	}
	return n
}

func (f *flow) placed(services []model.ServiceID) int {
	return f.count(services, func(v control.InstanceView) bool { return v.Placement.Verdict == instance.Placed })
}

func (f *flow) running(services []model.ServiceID) int {
	return f.count(services, func(v control.InstanceView) bool { return v.Observed.State == instance.Running })
}

// flowWorker starts what it is told and says so at once, and everything it has
// every 2 s.
type flowWorker struct {
	flow *flow
	node *memlink.Node
	has  map[instance.Attempt]model.Resources
	sum  model.Resources
	seq  uint64
}

func (w *flowWorker) run(ctx context.Context, phase time.Duration) {
	next := time.Now().Add(phase)
	w.report()
	for {
		wait, cancel := context.WithDeadline(ctx, next)
		m, ok := w.node.Recv(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case !ok:
			next = next.Add(2 * time.Second)
			w.report()
		case m.Deploy != nil:
			w.start(m.Deploy)
		}
	}
}

func (w *flowWorker) start(d *nodelink.Deploy) {
	if _, again := w.has[d.Attempt]; again {
		return
	}
	w.has[d.Attempt] = d.Spec.Demand
	w.flow.deployed.Add(1)
	if w.sum = w.sum.Add(d.Spec.Demand); !w.flow.capacity.Fits(w.sum) {
		w.flow.b.Errorf("worker %s is given %+v, it has %+v", w.node.ID(), w.sum, w.flow.capacity)
	}
	w.seq++
	id := d.Attempt.Instance
	w.node.Send(nodelink.Inbound{Change: &nodelink.StateChange{Service: id.Service, JobName: d.Name.String(), Number: id.Number,
		Observed: instance.Observed{Epoch: d.Attempt.Epoch, State: instance.Running, Seq: w.seq}}})
}

func (w *flowWorker) report() {
	w.seq++
	r := &nodelink.NodeReport{Boot: "b", Seq: w.seq, Complete: true}
	for a := range w.has {
		r.Containers = append(r.Containers, nodelink.Container{Service: a.Instance.Service, Number: a.Instance.Number,
			Observed: instance.Observed{Epoch: a.Epoch, State: instance.Running, Seq: w.seq}})
	}
	w.node.Send(nodelink.Inbound{Report: r})
}
