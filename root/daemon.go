package root

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"oakestra/pkg/errs"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
	"oakestra/root/auth"
	"oakestra/root/door"
	"oakestra/root/lease"
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
	// Shared says that other system managers may work on the same store: one
	// at a time serves, the others forward to it.
	Shared bool
	// Chores runs while this process serves; may be nil.
	Chores func(context.Context) error
}

// Daemon is a system manager.
type Daemon struct {
	cfg    Config
	deps   Deps
	door   *door.Door
	keeper *lease.Keeper // nil unless the store is shared
	first  *term         // made by New, so that mistakes show there
	inside chan struct{} // closed when the first term lets callers in
	letIn  func()        // closes it
}

// New puts a system manager together; nothing runs before Run.
func New(cfg Config, deps Deps) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, deps: deps, inside: make(chan struct{})}
	d.letIn = sync.OnceFunc(func() { close(d.inside) })
	var holder door.Holder
	if deps.Shared {
		at := cfg.Advertise
		if at == "" {
			at = deps.Listener.Addr().String()
		}
		d.keeper = lease.New(lease.Config{
			Leases: deps.Store.Leases(), Name: "root", Holder: at + " " + rand.Text(), Address: at, Logger: deps.Logger,
		})
		holder = func() (string, uint64, bool) {
			l, mine := d.keeper.Holder()
			return l.Address, l.Term, mine
		}
	}
	d.door = door.New(door.Deps{Holder: holder, Logger: deps.Logger, Version: deps.Version})
	var err error
	d.first, err = d.newTerm()
	return d, err
}

// Addr is where the daemon listens.
func (d *Daemon) Addr() net.Addr { return d.deps.Listener.Addr() }

// Run serves until ctx ends. Errors: the store cannot be read or written.
func (d *Daemon) Run(ctx context.Context) error {
	d.deps.Logger.Info("system manager starts", "listen", d.Addr().String(), "data", d.cfg.Data, "version", d.deps.Version, "security", d.cfg.Security, "shared", d.deps.Shared)
	listen := func(ctx context.Context) error { return httpx.Serve(ctx, d.deps.Listener, d.door, d.door) }
	if d.keeper == nil {
		return lifecycle.Run(ctx,
			lifecycle.Part{Name: "serve", Run: func(ctx context.Context) error { return d.serve(ctx, 0) }},
			lifecycle.Part{Name: "listen", Run: func(ctx context.Context) error {
				select { // early callers wait instead of hearing that nobody serves
				case <-d.inside:
				case <-ctx.Done():
				}
				return listen(ctx)
			}},
		)
	}
	return lifecycle.Run(ctx,
		lifecycle.Part{Name: "listen", Run: listen},
		lifecycle.Part{Name: "follow", Run: d.door.Run},
		lifecycle.Part{Name: "lease", Run: func(ctx context.Context) error { return d.keeper.Run(ctx, d.lead) }},
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
