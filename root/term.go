package root

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
	"oakestra/root/assign"
	"oakestra/root/auth"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/rest"
)

// secondLook is when the holder of a new term reads the store once more: a
// write that its predecessor sent in its last moment has arrived by then.
const secondLook = 10 * time.Second

// term is everything that lives while this process serves. The next term
// begins with a new one, which reads the store.
type term struct {
	desk    *assign.Desk
	links   *clusters.Server
	handler http.Handler
}

// below is what users see of clusters: observed by the book, decided at the
// desk.
type below struct {
	*clusters.Book
	*assign.Desk
}

func (d *Daemon) newTerm() (*term, error) {
	deps := d.deps
	book := clusters.NewBook(nil)
	desk := assign.NewDesk(assign.Deps{Store: deps.Store, Book: book, Witness: deps.Witness, Logger: deps.Logger})
	seen := below{book, desk}
	users, err := auth.New(auth.Deps{Users: deps.Store.Users(), Key: deps.Key, Logger: deps.Logger})
	if err != nil {
		return nil, fmt.Errorf("logins: %w", err)
	}
	t := &term{desk: desk, links: clusters.NewServer(book, desk, deps.Logger)}
	t.handler = rest.New(rest.Deps{
		Control: control.New(control.Deps{Store: deps.Store, Addresses: desk, Below: seen, Logger: deps.Logger, Now: time.Now}),
		Auth:    users, Below: seen, Logger: deps.Logger, Version: deps.Version, Ready: desk.Ready, Quoted: d.cfg.Quoted,
	})
	return t, nil
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
	// What is under way ends with the term, since the next holder is about to
	// read the store. Where there is no other, it may be finished.
	requests := ctx
	if number == 0 {
		requests = context.WithoutCancel(ctx)
	}
	links := d.door.Open(requests, t.handler)
	defer d.door.Shut()
	server := t.links.GRPC()
	parts := []lifecycle.Part{
		{Name: "assign", Run: t.desk.Run},
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
