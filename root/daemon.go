package root

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"oakestra/pkg/errs"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
	"oakestra/root/assign"
	"oakestra/root/auth"
	"oakestra/root/clusters"
	"oakestra/root/control"
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
}

// below is what users see of clusters: observed by the book, decided at the
// desk.
type below struct {
	*clusters.Book
	*assign.Desk
}

// New puts a system manager together; nothing runs before Run.
func New(cfg Config, deps Deps) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	book := clusters.NewBook(nil)
	desk := assign.NewDesk(assign.Deps{Store: deps.Store, Book: book, Witness: deps.Witness, Logger: deps.Logger})
	seen := below{book, desk}
	users, err := auth.New(auth.Deps{
		Store: deps.Store, Key: deps.Key, Policy: cfg.policy(), Mailer: deps.Mailer, Pages: cfg.origins(), Logger: deps.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("logins: %w", err)
	}
	d := &Daemon{cfg: cfg, deps: deps, desk: desk, users: users, links: clusters.NewServer(book, desk, deps.Logger)}
	d.handler = rest.New(rest.Deps{
		Control: control.New(control.Deps{Store: deps.Store, Addresses: desk, Below: seen, Logger: deps.Logger, Now: time.Now}),
		Auth:    users, Below: seen, Logger: deps.Logger, Version: deps.Version, Ready: desk.Ready, Quoted: cfg.Quoted,
		RoleObjects: cfg.RoleObjects, Strict: cfg.Security == securityStrict, Origins: cfg.origins(),
	})
	return d, nil
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
