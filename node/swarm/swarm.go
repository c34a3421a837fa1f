package swarm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"oakestra/pkg/core/model"
)

// parts of a report period: workers report spread over it, as machines that
// were started by people do.
const parts = 100

// Swarm is a number of workers. Make it with New; Run works.
type Swarm struct {
	cfg     Config
	workers []*worker
	doors   chan struct{}
	count   counters

	mu          sync.Mutex
	first, last time.Time // Deploy messages since Mark
	marked      int64
	why         string // last error
}

type counters struct {
	registered, sessions, connected atomic.Int64
	published, received, errors     atomic.Int64
	deploys, deletes, latestMS      atomic.Int64
}

// Status is what a swarm knows of itself.
type Status struct {
	On         int    `json:"on"`  // machines that run
	Cut        int    `json:"cut"` // of those: cut off
	Connected  int64  `json:"connected"`
	Registered int64  `json:"registered"` // registrations, counted
	Sessions   int64  `json:"sessions"`   // MQTT sessions, counted
	Published  int64  `json:"published"`
	Received   int64  `json:"received"`
	Deploys    int64  `json:"deploys"`
	Deletes    int64  `json:"deletes"`
	Errors     int64  `json:"errors"`
	LastError  string `json:"last_error,omitempty"`
	// FirstDeploy and LastDeploy are Unix ms since Mark, 0 for none.
	FirstDeploy int64 `json:"first_deploy"`
	LastDeploy  int64 `json:"last_deploy"`
	MarkDeploys int64 `json:"mark_deploys"` // Deploy messages since Mark
	LateMS      int64 `json:"late_ms"`      // longest delay of a report by this process since Mark
	Containers  int   `json:"containers"`   // that run on machines that are on and not cut off
	// Running counts containers by slot, only when asked for.
	Running map[string]int `json:"running,omitempty"`
}

// New makes a swarm that does nothing until Run. Its machines are switched on
// by Start.
func New(cfg Config) *Swarm {
	cfg = cfg.withDefaults()
	s := &Swarm{cfg: cfg, doors: make(chan struct{}, cfg.Parallel)}
	for i := cfg.First; i < cfg.First+cfg.Count; i++ {
		s.workers = append(s.workers, &worker{
			swarm: s, name: fmt.Sprintf("sim-%05d", i), key: random(32), boot: random(8), local: address(i).To4(),
			manager: cfg.Managers[i%len(cfg.Managers)], held: map[attempt]*container{}, again: make(chan struct{}, 1),
		})
	}
	return s
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Run serves until ctx ends.
func (s *Swarm) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, w := range s.workers {
		all.Go(func() { w.run(ctx) })
	}
	all.Go(func() { s.tick(ctx) })
	all.Wait()
	return nil
}

// tick lets the workers of each part of the period report.
func (s *Swarm) tick(ctx context.Context) {
	every := s.cfg.Every / parts
	due := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		for i := n % parts; i < len(s.workers); i += parts {
			s.workers[i].report(time.Now())
		}
		due = due.Add(every)
		if late := time.Since(due); late > 0 {
			s.late(late)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
	}
}

func (s *Swarm) late(d time.Duration) {
	for ms := d.Milliseconds(); ; {
		was := s.count.latestMS.Load()
		if ms <= was || s.count.latestMS.CompareAndSwap(was, ms) {
			return
		}
	}
}

func (s *Swarm) failed(err error) {
	s.count.errors.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = err.Error()
}

func (s *Swarm) deployed(now time.Time) {
	s.count.deploys.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
	s.marked++
}

// Mark starts a new count of what Status says "since Mark".
func (s *Swarm) Mark() {
	s.count.latestMS.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.last, s.marked = time.Time{}, time.Time{}, 0
}

// Start switches machines on that are off; each has a new boot.
func (s *Swarm) Start() {
	for _, w := range s.workers {
		w.mu.Lock()
		was := w.on
		if !was {
			w.on, w.cut = true, false
			w.boot, w.seq = random(8), 0
			if w.conn != nil { // what the old machine left behind
				_ = w.conn.Close()
			}
		}
		w.mu.Unlock()
		if !was {
			w.wake()
		}
	}
}

func (w *worker) wake() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// Kill switches the picked machines off: they say nothing more, not even
// farewell, and what they ran is gone. It returns how many were on.
func (s *Swarm) Kill(pick func(number int) bool) int {
	return s.each(pick, func(w *worker) { w.on = false; w.off() })
}

// Cut takes machines off the network; what they run goes on.
func (s *Swarm) Cut(pick func(number int) bool) int {
	return s.each(pick, func(w *worker) { w.cut = true })
}

func (s *Swarm) each(pick func(number int) bool, do func(*worker)) int {
	n := 0
	for i, w := range s.workers {
		if !pick(s.cfg.First + i) {
			continue
		}
		w.mu.Lock()
		if w.on && !w.cut {
			do(w)
			n++
		}
		w.mu.Unlock()
	}
	return n
}

// Heal puts machines back on the network. Their sessions are lost by then, or
// break now; they connect anew when their pause is over.
func (s *Swarm) Heal() {
	for _, w := range s.workers {
		w.mu.Lock()
		w.cut = false
		w.mu.Unlock()
	}
}

// Storm breaks every session at once.
func (s *Swarm) Storm() {
	for _, w := range s.workers {
		w.mu.Lock()
		if w.conn != nil {
			_ = w.conn.Close()
		}
		w.mu.Unlock()
	}
}

// Status counts. full: with every container.
func (s *Swarm) Status(full bool) Status {
	c := &s.count
	out := Status{
		Connected: c.connected.Load(), Registered: c.registered.Load(), Sessions: c.sessions.Load(), Published: c.published.Load(),
		Received: c.received.Load(), Deploys: c.deploys.Load(), Deletes: c.deletes.Load(), Errors: c.errors.Load(), LateMS: c.latestMS.Load(),
	}
	s.mu.Lock()
	out.LastError, out.MarkDeploys = s.why, s.marked
	if !s.first.IsZero() {
		out.FirstDeploy, out.LastDeploy = s.first.UnixMilli(), s.last.UnixMilli()
	}
	s.mu.Unlock()
	if full {
		out.Running = map[string]int{}
	}
	for _, w := range s.workers {
		w.count(&out)
	}
	return out
}

func (w *worker) count(out *Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return
	}
	out.On++
	if w.cut {
		out.Cut++
		return
	}
	for a, c := range w.held {
		if c.state != "RUNNING" {
			continue
		}
		out.Containers++
		if out.Running != nil {
			out.Running[Slot(a.service, a.number)]++
		}
	}
}

// Slot is the key of Status.Running.
func Slot(service string, number int) string {
	return model.InstanceID{Service: model.ServiceID(service), Number: number}.String()
}

// Every picks percent of all numbers, spread evenly; round shifts the choice.
func Every(percent float64, round int) func(number int) bool {
	return func(number int) bool {
		n := float64(number+round*37) * percent / 100
		return int(n+percent/100) > int(n)
	}
}

// String is for logs.
func (s Status) String() string {
	return strconv.Itoa(s.On) + " on, " + strconv.FormatInt(s.Connected, 10) + " connected, " + strconv.Itoa(s.Containers) + " containers"
}
