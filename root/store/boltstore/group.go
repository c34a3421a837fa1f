package boltstore

import (
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// group joins writes that wait at the same time into one transaction, so that
// they share one sync. A lone write is not delayed: whoever leads takes
// everything that has queued up so far, its own write included, and hands the
// lead to the first that came meanwhile. Nobody waits for a lock that all want:
// with one, the writes that were done stood in line with those to come.
type group struct {
	mu    sync.Mutex // guards what follows
	queue []*write
	led   bool // somebody runs a transaction, and will look at queue
}

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

func (g *group) do(db *bolt.DB, m *memory, f func(*txn) error) error {
	w := &write{f: f, told: make(chan turn, 1)}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	first := !g.led
	g.led = true
	g.mu.Unlock()
	if first || <-w.told == lead {
		g.lead(db, m, w)
	}
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// lead runs what has queued up, own among it.
func (g *group) lead(db *bolt.DB, m *memory, own *write) {
	g.mu.Lock()
	batch := g.queue
	g.queue = nil
	g.mu.Unlock()
	commit(db, m, batch)
	g.mu.Lock()
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

// commit runs the writes of a batch in order. One that fails ends the
// transaction, since it may have written already, and the others run again
// without it.
func commit(db *bolt.DB, m *memory, batch []*write) {
	for len(batch) > 0 {
		failed := -1
		err := db.Update(func(raw *bolt.Tx) error {
			tx := &txn{raw, m}
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
