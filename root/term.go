package root

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
	"oakestra/root/assign"
	"oakestra/root/auth"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/metrics"
	"oakestra/root/rest"
	"oakestra/root/store"
)

// secondLook is when the holder of a new term reads the store once more: a
// write that its predecessor sent in its last moment has arrived by then.
const secondLook = 10 * time.Second

// term is everything that lives while this process serves. The next term
// begins with a new one, which reads the store.
type term struct {
	desk    *assign.Desk
	users   *auth.Auth
	links   *clusters.Server
	handler http.Handler
	stopped chan struct{} // closed when the term ends, so that streams end
}

// below is what users see of clusters: observed by the book, decided at the
// desk.
type below struct {
	*clusters.Book
	*assign.Desk
}

// sites is how users change clusters and workers.
type sites struct {
	*clusters.Server
	*assign.Desk
	book *clusters.Book
}

func (s sites) On() map[model.ClusterID]map[model.NodeID][]model.InstanceID { return s.book.On() }

// EndOrphan goes to whoever has the order for it: a cluster, or nobody but it.
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
		s.Server.Forget(id)
	}
	return orphans, err
}

func (d *Daemon) newTerm() (*term, error) {
	cfg, deps := d.cfg, d.deps
	book := clusters.NewBook(nil)
	journal := events.NewJournal(nil)
	desk := assign.NewDesk(assign.Deps{Store: deps.Store, Book: book, Witness: deps.Witness, Events: journal, Logger: deps.Logger})
	seen := below{book, desk}
	users, err := auth.New(auth.Deps{
		Store: deps.Store, Key: deps.Key, Policy: cfg.policy(), Mailer: deps.Mailer, Pages: cfg.origins(), Logger: deps.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("logins: %w", err)
	}
	t := &term{desk: desk, users: users, links: clusters.NewServer(book, desk, deps.Logger, journal), stopped: make(chan struct{})}
	t.handler = rest.New(rest.Deps{
		Control: control.New(control.Deps{
			Store: deps.Store, Addresses: desk, Below: seen, Places: sites{t.links, desk, book}, Dialogs: t.links, Events: journal, Logger: deps.Logger, Now: time.Now,
		}),
		Events: journal, Meter: meter(deps.Store, seen, desk, journal), Stopping: t.stopped, Backup: backupOf(deps.Store),
		Auth: users, Below: seen, Logger: deps.Logger, Version: deps.Version, Ready: desk.Ready, Quoted: cfg.Quoted,
		RoleObjects: cfg.RoleObjects, Strict: cfg.Security == securityStrict, Origins: cfg.origins(),
	})
	return t, nil
}

// meter measures the store, where that can be, and everything seen.
func meter(s store.Store, seen below, desk *assign.Desk, journal *events.Journal) *metrics.Metrics {
	m := metrics.New(metrics.Sources{
		Clusters: seen.Clusters, Nodes: seen.Nodes, Recovery: seen.Recovery, Events: journal.Stats,
		Words: func() map[string]int {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			return desk.Words(ctx)
		},
	})
	if o, ok := s.(interface {
		Observe(f func(write bool, took time.Duration, err error))
	}); ok {
		o.Observe(m.Store)
	}
	return m
}

// backupOf is nil for a store that is backed up by other means.
func backupOf(s store.Store) rest.Backup {
	if b, ok := s.(interface {
		Backup(ctx context.Context, w io.Writer) (int64, error)
	}); ok {
		return b.Backup
	}
	return nil
}

// lead serves while this process has the lease. A store that is away for a
// moment is no reason to end: either it comes back, or the lease goes.
func (d *Daemon) lead(ctx context.Context, number uint64) error {
	for {
		err := d.deps.Store.Leases().Fence(ctx, number)
		if err == nil {
			err = d.serve(ctx, number)
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errs.Unavailable) {
			return err
		}
		d.deps.Logger.Warn("the store fails, serving begins anew", "term", number, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// serve runs the desk and lets users and clusters in. When ctx ends, nobody is
// inside any more when it returns but requests that are about to end.
func (d *Daemon) serve(ctx context.Context, number uint64) error {
	if err := d.ensureAdmin(ctx); err != nil {
		return err
	}
	if err := auth.EnsureRoot(ctx, d.deps.Store); err != nil {
		return err
	}
	t := d.first
	if d.first = nil; t == nil {
		var err error
		if t, err = d.newTerm(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shut := context.AfterFunc(ctx, d.door.Shut)
	defer shut()
	end := sync.OnceFunc(func() { close(t.stopped) })
	defer end()
	defer context.AfterFunc(ctx, end)()
	// What is under way ends with the term, since the next holder is about to
	// read the store. Where there is no other, it may be finished.
	requests := ctx
	if number == 0 {
		requests = context.WithoutCancel(ctx)
	}
	links := d.door.Open(requests, t.handler)
	d.letIn()
	defer d.door.Shut()
	server := t.links.GRPC()
	parts := []lifecycle.Part{
		{Name: "assign", Run: t.desk.Run},
		{Name: "accounts", Run: t.users.Run},
		{Name: "links", Run: func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, server.Stop)
			defer stop()
			defer server.Stop() // streams never end by themselves
			return server.Serve(links)
		}},
	}
	if d.deps.Chores != nil {
		parts = append(parts, lifecycle.Part{Name: "chores", Run: d.deps.Chores})
	}
	if number > 0 {
		parts = append(parts, lifecycle.Part{Name: "second look", Run: func(ctx context.Context) error { return d.lookAgain(ctx, t.desk) }})
	}
	return lifecycle.Run(ctx, parts...)
}

// lookAgain wakes every service once, a while after the term began.
func (d *Daemon) lookAgain(ctx context.Context, desk *assign.Desk) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(secondLook):
	}
	ids := map[model.ServiceID]bool{}
	services, err := d.deps.Store.Services().List(ctx, "")
	for _, v := range services {
		ids[v.ID] = true
	}
	slots, err2 := d.deps.Store.Instances().List(ctx, "")
	for _, in := range slots {
		ids[in.ID.Service] = true
	}
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	for id := range ids {
		desk.Wake(id)
	}
	<-ctx.Done()
	return nil
}
