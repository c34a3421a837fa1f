package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/cluster/fleet"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/events"
)

// original is a worker whose agent knows no epochs: containers by name and
// number, which are all that it reports.
type original struct {
	s    *stage
	name string
	at   *Cluster
	done sync.WaitGroup
	stop context.CancelFunc

	mu      sync.Mutex
	tasks   map[string]nodelink.Container
	deletes int
}

func (s *stage) original(at *Cluster, name string) *original {
	o := &original{s: s, name: name, at: at, tasks: map[string]nodelink.Container{}}
	o.on()
	s.t.Cleanup(o.off)
	return o
}

// on starts the agent; what the machine runs has gone on.
func (o *original) on() {
	o.s.t.Helper()
	l, id, err := o.at.register(o.s.t.Context(), fleet.Registration{
		Host: o.name, Address: netip.MustParseAddr("192.168.9.9"), Architecture: "amd64", Runtimes: []string{"docker", "container"}, Capacity: room(), Version: "v0.4.402",
	})
	if err != nil {
		o.s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = cancel
	link := l.hub.Node(id)
	link.Connect()
	o.done.Go(func() {
		for {
			m, ok := link.Recv(ctx)
			if !ok {
				return
			}
			o.obey(link, m)
		}
	})
	o.done.Go(func() { o.report(ctx, link) })
}

// off is a machine without a network: its containers go on.
func (o *original) off() {
	o.stop()
	o.done.Wait()
}

func (o *original) obey(link *memlink.Node, m nodelink.Outbound) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var job string
	var number int
	state := instance.Created
	switch {
	case m.Deploy != nil:
		job, number = m.Deploy.Name.String(), m.Deploy.Attempt.Instance.Number
		o.tasks[fmt.Sprintf("%s/%d", job, number)] = nodelink.Container{JobName: job, Number: number}
	case m.Delete != nil:
		job, number, state = m.Delete.Name.String(), m.Delete.Attempt.Instance.Number, instance.Undeployed
		delete(o.tasks, fmt.Sprintf("%s/%d", job, number))
		o.deletes++
	default:
		return
	}
	link.Send(nodelink.Inbound{Change: &nodelink.StateChange{JobName: job, Number: number, Original: true, Observed: instance.Observed{State: state}}})
}

func (o *original) report(ctx context.Context, link *memlink.Node) {
	for {
		r := &nodelink.NodeReport{Original: true, ContainersOnly: true}
		o.mu.Lock()
		for _, c := range o.tasks {
			r.Containers = append(r.Containers, c)
		}
		o.mu.Unlock()
		link.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Original: true}})
		link.Send(nodelink.Inbound{Report: r})
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// runs counts its containers.
func (o *original) runs() (tasks, deletes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.tasks), o.deletes
}

// TestAnOriginalsOrphan: a worker with an original agent is removed, the
// service that ran there is deleted, and the worker returns. Its container runs
// on, listed, counted and told of, until somebody orders its removal; what the
// worker runs under a record goes on. The order is given while the worker is
// away, and outlives a restart of the cluster manager.
func TestAnOriginalsOrphan(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		c, _ := s.site("a", 0)
		w := s.original(c, "old")
		time.Sleep(8 * time.Second)
		ctl := s.Root().Control
		begin := func(name string) model.ServiceID {
			t.Helper()
			id, err := s.Root().Create(t.Context(), Service{Name: name, Memory: 100})
			if err == nil {
				_, err = ctl.Scale(t.Context(), admin, id, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		gone := begin("gone")
		time.Sleep(10 * time.Second)
		w.off()
		time.Sleep(6 * time.Minute)
		if _, err := ctl.OrderNode(t.Context(), admin, "old", "a", control.RemoveNode); err != nil {
			t.Fatal(err)
		}
		if err := ctl.DeleteService(t.Context(), admin, gone); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.on()
		stays := begin("stays")
		time.Sleep(time.Minute)
		list, err := ctl.Orphans(t.Context(), "a", "old")
		if tasks, deletes := w.runs(); err != nil || len(list) != 1 || tasks != 2 || deletes != 0 {
			t.Fatalf("orphans %+v, %v; %d containers, %d deletes", list, err, tasks, deletes)
		}
		if err := ctl.Reasons(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		o := list[0]
		if !o.Epoch.IsZero() || !strings.Contains(o.ServiceName, "gone.") || o.Reason != "there is no such service" || ctl.Clusters()[0].Orphans != 1 {
			t.Errorf("%+v", o)
		}
		w.off()
		time.Sleep(6 * time.Minute)
		id := control.OrphanID{Cluster: "a", Node: "old", Service: o.ServiceName, Epoch: o.Epoch}
		said, err := ctl.RemoveOrphan(t.Context(), admin, id)
		if err != nil || !strings.Contains(said, "when it returns") {
			t.Fatalf("%q, %v", said, err)
		}
		c.Kill()
		time.Sleep(5 * time.Second)
		c.Start()
		time.Sleep(10 * time.Second)
		w.on()
		time.Sleep(time.Minute)
		if list, err = ctl.Orphans(t.Context(), "", ""); err != nil || len(list) != 0 {
			t.Errorf("orphans %+v, %v", list, err)
		}
		if tasks, deletes := w.runs(); tasks != 1 || deletes != 1 {
			t.Errorf("%d containers, %d deletes", tasks, deletes)
		}
		view, err := ctl.Service(t.Context(), admin, stays)
		if err != nil || view.Word != instance.WordRunning {
			t.Errorf("what has a record: %s, %v", view.Word, err)
		}
		told := map[string]int{}
		for _, e := range s.Root().Journal.List(events.Cluster, string(o.Cluster)) {
			told[e.Reason] += e.Count
		}
		if told["OrphanFound"] != 1 || told["OrphanOrdered"] != 1 || told["OrphanRemoved"] != 1 {
			t.Errorf("told %v", told)
		}
	})
}

// TestOrphansOfALostSystem: root and cluster manager lost everything they had
// written, at once. Nothing explains what runs, and nothing stops it; each is
// removed by an order of its own, over a lossy bus, by the real NodeEngine.
func TestOrphansOfALostSystem(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		c, list := s.site("a", 2)
		id := s.run(Service{Name: "web", Memory: 100, VCPUs: 1}, 4)
		s.KillRoot()
		c.Kill()
		c.LoseDisk()
		for _, name := range []string{"root.db", "witness.json"} {
			if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		s.SetBus(LossyBus)
		s.StartRoot()
		c.Start()
		time.Sleep(2 * time.Minute)
		ctl := s.Root().Control
		found, err := ctl.Orphans(t.Context(), "", "")
		if err != nil || len(found) != 4 || len(s.on(id)) != 4 {
			t.Fatalf("%d orphans, %v; %d run", len(found), err, len(s.on(id)))
		}
		for i, o := range found {
			which := control.OrphanID{Cluster: "a", Node: o.Node, Service: string(o.Instance.Service), Number: o.Instance.Number, Epoch: o.Epoch}
			stale := which
			stale.Epoch.Try++
			if _, err := ctl.RemoveOrphan(t.Context(), admin, stale); !errors.Is(err, errs.Conflict) {
				t.Errorf("another epoch: %v", err)
			}
			if _, err := ctl.RemoveOrphan(t.Context(), admin, which); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if n := len(s.on(id)); n != 3-i {
				t.Fatalf("%d run after %d were removed", n, i+1)
			}
		}
		if found, err = ctl.Orphans(t.Context(), "", ""); err != nil || len(found) != 0 || len(list[0].Live())+len(list[1].Live()) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}
