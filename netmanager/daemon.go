package netmanager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"oakestra/netmanager/host"
	"oakestra/netmanager/local"
	"oakestra/netmanager/rules"
	"oakestra/netmanager/state"
	"oakestra/pkg/errs"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
)

// Deps are the effects, made by cmd.
type Deps struct {
	Host   host.Host
	File   *state.File
	Dial   func(Target) Uplink // makes a conversation; nothing runs yet
	Logger *slog.Logger
}

// Daemon is NetManager. Make it with New, then Run it.
type Daemon struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	posts chan func(*loop)
	ready chan struct{}
	addr  net.Addr
}

// New makes a daemon that does nothing until Run.
func New(cfg Config, deps Deps) *Daemon {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	return &Daemon{cfg: cfg, deps: deps, log: deps.Logger, posts: make(chan func(*loop)), ready: make(chan struct{})}
}

// Ready is closed once the local API listens; Addr tells where.
func (d *Daemon) Listening() <-chan struct{} { return d.ready }

// Addr of the local API, valid after Listening.
func (d *Daemon) Addr() net.Addr { return d.addr }

// Run checks the machine, adopts what an earlier process left and serves until
// ctx ends. The data plane stays when it returns.
func (d *Daemon) Run(ctx context.Context) error {
	if err := d.cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	ln, err := net.Listen("tcp", d.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s for the local API (is another NetManager running? choose another port with -p): %w", d.cfg.Listen, err)
	}
	defer func() { _ = ln.Close() }()
	d.addr = ln.Addr()
	handler := local.Handler(d, d.log)
	close(d.ready)
	parts := []lifecycle.Part{
		{Name: "local API", Run: func(ctx context.Context) error { return httpx.Serve(ctx, ln, handler, nil) }},
		{Name: "network", Run: d.Loop},
	}
	if unix := d.unixSocket(ctx); unix != nil {
		parts = append(parts, lifecycle.Part{Name: "socket", Run: func(ctx context.Context) error {
			return httpx.Serve(ctx, unix, handler, nil)
		}})
	}
	d.log.Info("local API listens", "address", ln.Addr().String(), "data", d.cfg.DataDir)
	return lifecycle.Run(ctx, parts...)
}

// unixSocket is where late original engines look; without it they fall back to
// nothing, but ours does not need it, so trouble is only logged.
func (d *Daemon) unixSocket(ctx context.Context) net.Listener {
	path := d.cfg.Socket
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.log.Warn("no socket for original engines", "error", err)
		return nil
	}
	if c, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		d.log.Warn("no socket for original engines: another process listens on it", "path", path)
		return nil
	}
	_ = os.Remove(path)
	ln, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		d.log.Warn("no socket for original engines", "error", err)
		return nil
	}
	return ln
}

// Loop runs everything but the listeners; tests call it alone.
func (d *Daemon) Loop(ctx context.Context) error {
	record, err := d.deps.File.Load()
	if err != nil {
		return fmt.Errorf("%w; `NetManager purge` starts afresh and cuts off running containers", err)
	}
	node := rules.Node{ID: record.Registration.Node, Subnet: record.Subnet, Port: TunnelPort}
	if err := d.deps.Host.Check(ctx, node); err != nil {
		return fmt.Errorf("this machine cannot carry the overlay: %w", err)
	}
	return newLoop(d, record).run(ctx)
}

// Purge removes every link, route, rule and table, and the state.
func Purge(ctx context.Context, h host.Host, f *state.File) error {
	if err := h.Remove(ctx); err != nil {
		return fmt.Errorf("remove the overlay: %w", err)
	}
	return f.Remove()
}

// ask runs fn in the loop and waits for what it passes to reply.
func ask[T any](ctx context.Context, d *Daemon, fn func(*loop, func(T, error))) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	reply := func(v T, err error) {
		select {
		case done <- result{v, err}:
		default:
		}
	}
	var none T
	select {
	case d.posts <- func(l *loop) { fn(l, reply) }:
	case <-ctx.Done():
		return none, fmt.Errorf("NetManager is busy: %w", errors.Join(errs.Unavailable, ctx.Err()))
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("not done in time, ask again: %w", errors.Join(errs.Unavailable, ctx.Err()))
	}
}
