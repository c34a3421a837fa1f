package boltstore

import (
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// group joins writes that wait at the same time into one transaction, so that
// they share one sync. A lone write is not delayed: whoever gets the turn
// takes everything that has queued up so far, its own write included, and the
// others find theirs done.
type group struct {
	mu    sync.Mutex // guards queue
	queue []*write
	turn  sync.Mutex // held while a transaction runs; orders the done fields
}

// write is one caller's part of a transaction.
type write struct {
	f        func(*txn) error
	done     bool
	err      error
	panicked any
}

func (g *group) do(db *bolt.DB, m *memory, f func(*txn) error) error {
	w := &write{f: f}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	g.mu.Unlock()

	g.turn.Lock()
	if !w.done {
		g.mu.Lock()
		batch := g.queue
		g.queue = nil
		g.mu.Unlock()
		commit(db, m, batch)
	}
	g.turn.Unlock()
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
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
			batch[failed].done, batch[failed].err = true, err
			batch = append(batch[:failed:failed], batch[failed+1:]...)
			continue
		}
		if err != nil {
			err = storage(err)
		}
		for _, w := range batch {
			w.done, w.err = true, err
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
