package boltstore

import (
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// group joins writes that wait at the same time into one transaction, so that
// they share one sync. A lone write is not delayed: whoever leads takes
// everything that has queued up so far, its own write included, and hands the
// lead to the first that came meanwhile. Nobody waits for a lock that all want:
// with one, the writes that were done stood in line with those to come.
//
// Callers that write again and again would fall into two crowds, each waiting
// for the sync of the other and then for its own. So the leader gathers: it
// waits for as many writes as were there together a moment ago, for at most
// half of what the last transaction took.
type group struct {
	mu    sync.Mutex // guards what follows
	queue []*write
	led   bool // somebody runs a transaction, and will look at queue
	last  batchSeen
	full  chan struct{} // closed once queue is as long as last.crowd; nil while nobody gathers
}

// batchSeen is what is known of the last transaction.
type batchSeen struct {
	crowd int // its writes, and those that came meanwhile
	took  time.Duration
	ended time.Time
}

// gatherMost bounds the gathering where syncs are slow.
const gatherMost = 2 * time.Millisecond

// write is one caller's part of a transaction.
type write struct {
	f        func(*txn) error
	err      error
	panicked any
	told     chan turn
}

// turn is what a waiting write is told.
type turn int

const (
	done turn = iota
	lead
)

func (g *group) do(s *Store, f func(*txn) error) error {
	w := &write{f: f, told: make(chan turn, 1)}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	if g.full != nil && len(g.queue) >= g.last.crowd {
		close(g.full)
		g.full = nil
	}
	first := !g.led
	g.led = true
	g.mu.Unlock()
	if first || <-w.told == lead {
		g.lead(s, w)
	}
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// lead runs what has queued up, own among it.
func (g *group) lead(s *Store, own *write) {
	batch := g.gather()
	began := time.Now()
	commit(s, batch)
	g.mu.Lock()
	now := time.Now()
	g.last = batchSeen{len(batch) + len(g.queue), now.Sub(began), now}
	var next *write
	if g.led = len(g.queue) > 0; g.led {
		next = g.queue[0]
	}
	g.mu.Unlock()
	if next != nil {
		next.told <- lead
	}
	for _, w := range batch {
		if w != own {
			w.told <- done
		}
	}
}

// gather takes what has queued up, once the others of the last crowd are back
// or take too long. Who comes alone, or after a pause, does not wait.
func (g *group) gather() []*write {
	g.mu.Lock()
	patience := min(g.last.took/2, gatherMost)
	if len(g.queue) < g.last.crowd && time.Since(g.last.ended) < patience {
		full := make(chan struct{})
		g.full = full
		g.mu.Unlock()
		late := time.NewTimer(patience)
		select {
		case <-full:
		case <-late.C:
		}
		late.Stop()
		g.mu.Lock()
		g.full = nil
	}
	defer g.mu.Unlock()
	batch := g.queue
	g.queue = nil
	return batch
}

// commit runs the writes of a batch in order. One that fails ends the
// transaction, since it may have written already, and the others run again
// without it.
func commit(s *Store, batch []*write) {
	for len(batch) > 0 {
		failed := -1
		err := s.db.Update(func(raw *bolt.Tx) error {
			s.ahead.fill(raw.Size())
			tx := &txn{raw, s.memory}
			for i, w := range batch {
				if err := w.run(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed >= 0 {
			batch[failed].err = err
			batch = append(batch[:failed:failed], batch[failed+1:]...)
			continue
		}
		if err != nil {
			err = storage(err)
		}
		for _, w := range batch {
			w.err = err
		}
		return
	}
}

// run turns a panic into a failure of this write alone; do raises it again in
// the caller it belongs to.
func (w *write) run(tx *txn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.panicked = p
			err = fmt.Errorf("write panicked: %v", p)
		}
	}()
	return w.f(tx)
}
