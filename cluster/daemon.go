package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"oakestra/cluster/fleet"
	"oakestra/cluster/http"
	"oakestra/cluster/metrics"
	"oakestra/cluster/nodelink"
	"oakestra/cluster/rootlink"
	"oakestra/cluster/sessions"
	"oakestra/cluster/store"
	"oakestra/cluster/tables"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/httpx"
	"oakestra/pkg/lifecycle"
)

// Deps is what the daemon acts through. Broker runs beside, nil for none.
type Deps struct {
	Store  store.Store
	Link   nodelink.Link
	Broker func(context.Context) error
	Logger *slog.Logger
}

// Daemon is a cluster manager.
type Daemon struct {
	cfg  Config
	deps Deps
}

// New starts nothing.
func New(cfg Config, deps Deps) *Daemon { return &Daemon{cfg, deps} }

// Run serves until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", d.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w: %w", d.cfg.Listen, err, errs.Unavailable)
	}
	_, portText, _ := net.SplitHostPort(ln.Addr().String())
	port, _ := strconv.ParseUint(portText, 10, 16)
	var workers *fleet.Fleet
	users := sessions.New(sessions.Fleet{
		Seat: func(ctx context.Context, id model.InstanceID) (fleet.Seat, error) { return workers.Seat(ctx, id) },
		Liveness: func(ctx context.Context, id model.NodeID) (instance.Liveness, error) {
			return workers.Liveness(ctx, id)
		},
	}, d.deps.Link, d.deps.Logger)
	root := rootlink.New(rootlink.Config{Root: d.cfg.Root, Name: d.cfg.Name, Location: d.cfg.Location, Version: d.cfg.Version, Port: uint16(port), Sessions: users}, d.deps.Logger)
	m := metrics.New(metrics.Sources{Count: func(ctx context.Context) (fleet.Count, error) { return workers.Count(ctx) }, Connected: root.Connected})
	plane := tables.New(tables.Deps{Link: d.deps.Link, Uplink: root, Subnets: d.deps.Store, Logger: d.deps.Logger})
	workers = fleet.New(fleet.Config{LostAfter: d.cfg.LostAfter}, fleet.Deps{Book: d.deps.Store, Link: d.deps.Link, Network: plane, Root: root, RootHeard: root.Heard, Logger: d.deps.Logger, Lag: m.Lag})
	handler := http.Handler(http.Config{Name: d.cfg.Name, MQTTHost: d.cfg.MQTTHost, MQTTPort: d.cfg.MQTTPort, Sessions: users}, workers, root, m.Handler())
	parts := []lifecycle.Part{
		{Name: "fleet", Run: workers.Run},
		{Name: "tables", Run: plane.Run},
		{Name: "node link", Run: d.deps.Link.Run},
		{Name: "root link", Run: func(ctx context.Context) error { return root.Run(ctx, d.deps.Store, workers, plane) }},
		{Name: "http", Run: func(ctx context.Context) error { return httpx.Serve(ctx, ln, handler, nil) }},
	}
	if d.deps.Broker != nil {
		parts = append(parts, lifecycle.Part{Name: "broker", Run: d.deps.Broker})
	}
	d.deps.Logger.Info("cluster-manager serves", "http", ln.Addr(), "cluster", d.cfg.Name, "root", d.cfg.Root)
	return lifecycle.Run(ctx, parts...)
}
