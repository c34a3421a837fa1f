package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/cluster"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/cluster/store/boltstore"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
)

// site is a real cluster manager in this process, with one worker that obeys
// at once and whose containers are entries of a map.
type site struct {
	t    *testing.T
	root string
	at   string
	hub  *memlink.Hub
	book *boltstore.Store
	stop func() // of the manager

	mu      sync.Mutex
	runs    map[instance.Attempt]bool
	started int
	deleted []instance.Attempt
}

func newSite(t *testing.T, r *root) *site {
	t.Helper()
	book, err := boltstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, root: r.addr, at: ln.Addr().String(), hub: memlink.New(), book: book, runs: map[instance.Attempt]bool{}}
	_ = ln.Close()
	t.Cleanup(func() { s.stop(); _ = book.Close() })
	s.start()
	s.work()
	return s
}

// start runs the manager; the worker goes on meanwhile.
func (s *site) start() {
	cfg := cluster.DefaultConfig()
	cfg.Root, cfg.Name, cfg.Location, cfg.Listen = s.root, "kitchen", "here", s.at
	d := cluster.New(cfg, cluster.Deps{Store: s.book, Link: s.hub, Logger: testkit.Logger(s.t)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
}

// work registers the worker and lets it report until the test ends.
func (s *site) work() {
	s.t.Helper()
	var reg struct{ ID string }
	testkit.Eventually(s.t, 10*time.Second, func() error {
		resp, err := http.Post("http://"+s.at+"/api/node/register", "application/json", strings.NewReader(
			`{"host":"w1","node_key":"k","boot":"b","technology":["docker"],"architecture":"amd64","milli_cpu":4000,"memory_total_mb":4000}`))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&reg); err != nil || reg.ID == "" {
			return fmt.Errorf("registered as %q, %w", reg.ID, err)
		}
		return nil
	})
	node := s.hub.Node(model.NodeID(reg.ID))
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		for seq := uint64(1); ctx.Err() == nil; seq++ {
			s.obey(node.Pending())
			node.Send(nodelink.Inbound{Report: s.report(seq)})
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	s.t.Cleanup(func() { cancel(); ended.Wait() })
}

func (s *site) obey(list []nodelink.Outbound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range list {
		if m.Deploy != nil && !s.runs[m.Deploy.Attempt] {
			s.runs[m.Deploy.Attempt] = true
			s.started++
		}
		if m.Delete != nil {
			delete(s.runs, m.Delete.Attempt)
			s.deleted = append(s.deleted, m.Delete.Attempt)
		}
	}
}

func (s *site) report(seq uint64) *nodelink.NodeReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &nodelink.NodeReport{Boot: "b", Seq: seq, Complete: true}
	for a := range s.runs {
		r.Containers = append(r.Containers, nodelink.Container{Service: a.Instance.Service, Number: a.Instance.Number, Observed: instance.Observed{Epoch: a.Epoch, State: instance.Running}})
	}
	return r
}

// holds is what runs, how much was started and what was ever deleted.
func (s *site) holds() (runs map[instance.Attempt]bool, started int, deleted []instance.Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.runs), s.started, s.deleted
}
