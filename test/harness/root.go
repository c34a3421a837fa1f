package harness

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"

	"oakestra/pkg/core/model"
	"oakestra/root/assign"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// admin is who asks for everything.
var admin = control.Caller{Name: "Admin", Admin: true}

// below and sites are what root.Daemon hands to users.
type below struct {
	*clusters.Book
	*assign.Desk
}

type sites struct {
	*clusters.Server
	*assign.Desk
	book *clusters.Book
}

func (s sites) On() map[model.ClusterID]map[model.NodeID][]model.InstanceID { return s.book.On() }

// EndOrphan goes to whoever has the order for it.
func (s sites) EndOrphan(ctx context.Context, u control.UnknownView) error {
	if u.Held {
		return s.Desk.EndHeld(ctx, u)
	}
	return s.Server.EndOrphan(ctx, u)
}

// RemoveCluster forgets it at the desk, then what was reported of it.
func (s sites) RemoveCluster(ctx context.Context, id model.ClusterID, force bool) ([]model.InstanceID, error) {
	orphans, err := s.Desk.RemoveCluster(ctx, id, force)
	if err == nil {
		s.Forget(id)
	}
	return orphans, err
}

// Root is one process of a system manager without its HTTP.
type Root struct {
	w       *World
	dir     string
	Store   *boltstore.Store
	Book    *clusters.Book
	Desk    *assign.Desk
	Control *control.Control
	Journal *events.Journal
	Links   *clusters.Server
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// startRoot runs a root on what is in dir.
func (w *World) startRoot(dir string) *Root {
	w.t.Helper()
	r := &Root{w: w, dir: dir, Journal: events.NewJournal(nil)}
	var err error
	if r.Store, _, err = boltstore.Open(filepath.Join(dir, "root.db")); err != nil {
		w.t.Fatal(err)
	}
	mem, err := witness.Open(filepath.Join(dir, "witness.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Book = clusters.NewBook(nil)
	r.Desk = assign.NewDesk(assign.Deps{Store: r.Store, Book: r.Book, Witness: mem, Events: r.Journal, Logger: w.log.With("of", "root")})
	r.Links = clusters.NewServer(r.Book, r.Desk, w.log.With("of", "root"), r.Journal)
	r.Control = control.New(control.Deps{
		Store: r.Store, Addresses: r.Desk, Below: below{r.Book, r.Desk}, Places: sites{r.Links, r.Desk, r.Book}, Events: r.Journal, Logger: w.log.With("of", "root"),
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() {
		if err := r.Desk.Run(ctx); err != nil {
			w.t.Errorf("desk: %v", err)
		}
	})
	return r
}

// kill ends the process as SIGKILL would: nobody hears anything after that
// instant, and what is written after it is lost.
func (r *Root) kill() {
	r.w.t.Helper()
	for _, c := range r.w.Clusters() {
		c.cable.sever()
	}
	var copied bytes.Buffer
	if _, err := r.Store.Backup(context.Background(), &copied); err != nil {
		r.w.t.Fatal(err)
	}
	seen, err := os.ReadFile(filepath.Join(r.dir, "witness.json"))
	if err != nil {
		r.w.t.Fatal(err)
	}
	r.cancel()
	r.done.Wait()
	for _, c := range r.w.Clusters() {
		c.cable.sever()
	}
	if err := r.Store.Close(); err != nil {
		r.w.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"root.db": copied.Bytes(), "witness.json": seen} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			r.w.t.Fatal(err)
		}
	}
}
