package root

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
	"oakestra/root/assign"
	"oakestra/root/auth"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/metrics"
	"oakestra/root/rest"
	"oakestra/root/store"
	"oakestra/root/witness"
)

// Deps are the effects a system manager works with.
type Deps struct {
	Store    store.Store
	Witness  *witness.File
	Key      []byte       // signs logins
	Listener net.Listener // of Config.Listen
	Mailer   auth.Mailer  // nil: reset tokens go to the log
	Logger   *slog.Logger
	Version  string
}

// Daemon is a system manager.
type Daemon struct {
	cfg     Config
	deps    Deps
	desk    *assign.Desk
	users   *auth.Auth
	links   *clusters.Server
	handler http.Handler
	stopped chan struct{} // closed when Run is to end, so that streams end
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

// RemoveCluster forgets it at the desk, then what was reported of it.
func (s sites) RemoveCluster(ctx context.Context, id model.ClusterID, force bool) ([]model.InstanceID, error) {
	orphans, err := s.Desk.RemoveCluster(ctx, id, force)
	if err == nil {
		s.Server.Forget(id)
	}
	return orphans, err
}

// New puts a system manager together; nothing runs before Run.
func New(cfg Config, deps Deps) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
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
	d := &Daemon{cfg: cfg, deps: deps, desk: desk, users: users, stopped: make(chan struct{}), links: clusters.NewServer(book, desk, deps.Logger, journal)}
	d.handler = rest.New(rest.Deps{
		Control: control.New(control.Deps{
			Store: deps.Store, Addresses: desk, Below: seen, Places: sites{d.links, desk, book}, Events: journal, Logger: deps.Logger, Now: time.Now,
		}),
		Events: journal, Meter: meter(deps.Store, seen, desk, journal), Stopping: d.stopped, Backup: backupOf(deps.Store),
		Auth: users, Below: seen, Logger: deps.Logger, Version: deps.Version, Ready: desk.Ready, Quoted: cfg.Quoted,
		RoleObjects: cfg.RoleObjects, Strict: cfg.Security == securityStrict, Origins: cfg.origins(),
	})
	return d, nil
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

// Addr is where the daemon listens.
func (d *Daemon) Addr() net.Addr { return d.deps.Listener.Addr() }

// Run serves until ctx ends. Errors: the store cannot be read or written.
func (d *Daemon) Run(ctx context.Context) error {
	if err := d.ensureAdmin(ctx); err != nil {
		return err
	}
	if err := auth.EnsureRoot(ctx, d.deps.Store); err != nil {
		return err
	}
	d.deps.Logger.Info("system manager starts", "listen", d.Addr().String(), "data", d.cfg.Data, "version", d.deps.Version, "security", d.cfg.Security)
	defer context.AfterFunc(ctx, func() { close(d.stopped) })()
	return lifecycle.Run(ctx,
		lifecycle.Part{Name: "assign", Run: d.desk.Run},
		lifecycle.Part{Name: "accounts", Run: d.users.Run},
		lifecycle.Part{Name: "serve", Run: func(ctx context.Context) error {
			return httpx.Serve(ctx, d.deps.Listener, d.handler, d.links.GRPC())
		}},
	)
}

// ensureAdmin makes the first user. When only the store was lost, the admin
// keeps the password the witness remembers.
func (d *Daemon) ensureAdmin(ctx context.Context) error {
	hash := d.deps.Witness.Record().AdminHash
	users := d.deps.Store.Users()
	_, err := users.Get(ctx, auth.AdminName)
	missing := err != nil
	if err := auth.EnsureAdmin(ctx, users, string(d.cfg.AdminPassword)); err != nil {
		return fmt.Errorf("make the user %s: %w", auth.AdminName, err)
	}
	if !missing || hash == "" || d.cfg.AdminPassword != "" {
		return nil
	}
	_, err = users.Update(ctx, auth.AdminName, func(u store.User) (store.User, error) {
		u.PasswordHash, u.MustChangePassword = hash, false
		return u, nil
	})
	if errors.Is(err, errs.NotFound) {
		return nil // Admin was deleted, another user holds the role
	}
	return err
}
