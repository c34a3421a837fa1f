package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/model"
)

// LossyBus is what happens to messages between a cluster and its workers.
var LossyBus = memlink.Faults{Drop: 0.10, Dup: 0.20, Reorder: 0.10, Window: 16}

// Config of a World.
type Config struct {
	Seed    uint64
	Bus     memlink.Faults // both ways
	Log     *slog.Logger   // nil: nothing is logged
	MaxWait time.Duration  // of a message between cluster and root
}

// World is a whole system.
type World struct {
	t    testing.TB
	Seed uint64
	log  *slog.Logger
	dir  string

	watch *watch

	mu       sync.Mutex
	clusters []*Cluster
	machines []*Machine
	rng      *rand.Rand
	faults   memlink.Faults
	root     *Root
	ids      uint64
	braked   map[string]time.Time
	counts   map[string]int
	ticks    *process
}

// New makes a world with a running root and nothing else. It must be called
// inside a bubble; End ends everything.
func New(t testing.TB, cfg Config) *World {
	t.Helper()
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp(memoryDir(), "oak-harness-")
	if err != nil {
		t.Fatal(err)
	}
	w := &World{
		t: t, Seed: cfg.Seed, log: log, dir: dir, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), faults: cfg.Bus,
		braked: map[string]time.Time{}, counts: map[string]int{},
	}
	w.watch = newWatch(w)
	w.root = w.startRoot(dir)
	w.ticks = launch(w.watch.run)
	return w
}

// memoryDir is where files need no disk; "" where there is no such place.
func memoryDir() string {
	const shm = "/dev/shm"
	if i, err := os.Stat(shm); err == nil && i.IsDir() {
		return shm
	}
	return ""
}

// End stops everything and removes the files.
func (w *World) End() {
	w.ticks.end()
	for _, m := range w.Machines() {
		m.StopEngine(false)
		m.StopNet(false)
	}
	for _, c := range w.Clusters() {
		c.cable.set(false)
		c.Kill()
	}
	if r := w.Root(); r != nil {
		r.kill()
	}
	time.Sleep(2 * time.Minute) // what connections leave behind ends by itself
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Error(err)
	}
}

// Clusters are all there are, in the order in which they were made.
func (w *World) Clusters() []*Cluster {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.clusters)
}

// Machines are all workers, in the order in which they were made.
func (w *World) Machines() []*Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.machines)
}

// Root is the running root, nil while it is down.
func (w *World) Root() *Root {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.root
}

// KillRoot ends the root at once.
func (w *World) KillRoot() {
	w.mu.Lock()
	r := w.root
	w.root = nil
	w.mu.Unlock()
	if r != nil {
		r.kill()
		w.watch.rootGone()
	}
}

// StartRoot starts it on what it had written.
func (w *World) StartRoot() {
	if w.Root() != nil {
		return
	}
	r := w.startRoot(w.dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.root = r
}

// AddCluster makes a cluster and starts it.
func (w *World) AddCluster(name string) *Cluster {
	c := &Cluster{w: w, Name: name, cable: newCable(), delay: time.Duration(1+len(w.Clusters())) * 2 * time.Millisecond}
	c.written = newDisk(w.watch.committed(c))
	w.mu.Lock()
	w.clusters = append(w.clusters, c)
	w.mu.Unlock()
	c.Start()
	return c
}

// SetBus changes what happens to messages of workers from now on.
func (w *World) SetBus(f memlink.Faults) {
	w.mu.Lock()
	w.faults = f
	w.mu.Unlock()
	for _, c := range w.Clusters() {
		if l := c.current(); l != nil {
			l.hub.Fault(w.draw(), f, f)
		}
	}
}

func (w *World) bus() (up, down memlink.Faults) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults, w.faults
}

// draw is a number that no other part of this world has drawn. It does not
// come from the scenario's own source: agents start in any order.
func (w *World) draw() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return w.Seed<<20 + w.ids
}

func (w *World) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// Counts is what clusters told people, by kind.
func (w *World) Counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

func (w *World) noteBrake(c *Cluster) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.braked[c.Name] = time.Now()
}

// brakedUntil is when the last brake ends by itself; zero: there was none.
func (w *World) brakedUntil() (until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.braked {
		if t := at.Add(5 * time.Minute); t.After(until) && t.After(time.Now()) {
			until = t
		}
	}
	return until
}

// Service is what a test wants to run.
type Service struct {
	Name    string
	Memory  int
	VCPUs   float64
	Port    string
	OneShot bool
	Loss    string // on_cluster_loss
	Rules   string // JSON list of constraints
}

// Create stores an application with one service.
func (r *Root) Create(ctx context.Context, s Service) (model.ServiceID, error) {
	if s.Rules == "" {
		s.Rules = "[]"
	}
	if s.Loss == "" {
		s.Loss = "keep"
	}
	body := fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"","application_name":%q,
		"application_namespace":"test","application_desc":"","microservices":[{"microserviceID":"","microservice_name":"web",
		"microservice_namespace":"test","virtualization":"container","memory":%d,"vcpus":%g,"storage":0,"code":"docker.io/library/nginx:latest",
		"port":%q,"one_shot":%v,"on_cluster_loss":%q,"max_unavailable":10,"constraints":%s}]}]}`, s.Name, s.Memory, s.VCPUs, s.Port, s.OneShot, s.Loss, s.Rules)
	apps, err := r.Control.CreateApplications(ctx, admin, []byte(body))
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(apps, func(a model.Application) bool { return a.Name == s.Name })
	if i < 0 {
		return "", fmt.Errorf("application %s is not in the answer", s.Name)
	}
	list, err := r.Store.Services().List(ctx, apps[i].ID)
	if err != nil || len(list) != 1 {
		return "", fmt.Errorf("services of %s: %v: %w", s.Name, list, err)
	}
	return list[0].ID, nil
}

func errsIs(err error, classes ...error) bool {
	return slices.ContainsFunc(classes, func(c error) bool { return errors.Is(err, c) })
}

// Rest waits until everything is as it must be and says how long that took.
// It fails the test when that takes longer, or when something was violated.
func (w *World) Rest(t testing.TB, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		time.Sleep(250 * time.Millisecond)
		left := w.Check(nil)
		if len(left) == 0 {
			break
		}
		if time.Since(begin) >= within {
			for _, l := range left[:min(len(left), 20)] {
				t.Errorf("not within %s: %s", within, l)
				if slot, _, ok := strings.Cut(l, ":"); ok {
					for _, h := range w.history(slot) {
						t.Logf("  %s", h)
					}
				}
			}
			break
		}
	}
	for _, v := range w.Violations() {
		t.Errorf("violated at %s", v)
		for _, h := range w.history(strings.Fields(v)[2]) {
			t.Logf("  %s", h)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return time.Since(begin)
}
