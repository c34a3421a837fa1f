package node

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oakestra/api/local"
	"oakestra/node/clusterlink"
	"oakestra/node/netclient"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/node/sessions"
	"oakestra/node/telemetry"
	"oakestra/pkg/lifecycle"
)

// NetManagerWait is how long a start waits for NetManager.
const NetManagerWait = 30 * time.Second

// Deps are the daemon's effects.
type Deps struct {
	Runtime runtime.Runtime
	Console runtime.Console   // nil: no logs and commands for users
	Net     *netclient.Client // nil: loopback only
	Machine *telemetry.Machine
	Log     *slog.Logger
}

// Daemon is one NodeEngine.
type Daemon struct {
	cfg  Config
	deps Deps
}

// New makes a daemon; nothing happens before Run.
func New(cfg Config, deps Deps) *Daemon { return &Daemon{cfg: cfg, deps: deps} }

// Run works until ctx ends. Containers are left running.
func (d *Daemon) Run(ctx context.Context) error {
	facts, err := d.deps.Machine.Facts()
	if err != nil {
		return err
	}
	var network runner.Network
	if d.deps.Net != nil {
		if err := d.deps.Net.Wait(ctx, NetManagerWait); err != nil {
			return err
		}
		network = d.deps.Net
		if err := d.remember(); err != nil {
			return err
		}
	}
	journal, err := runner.OpenJournal(filepath.Join(d.cfg.Data, "attempts"))
	if err != nil {
		return err
	}
	var link *clusterlink.Link
	work := runner.New(runner.Config{Boot: facts.Boot}, runner.Deps{
		Runtime: d.deps.Runtime, Network: network, Journal: journal, Log: d.deps.Log,
		Changed: func(r runner.Record) { link.Changed(r) },
	})
	parts := []lifecycle.Part{{Name: "runner", Run: work.Run}}
	cfg := clusterlink.Config{Address: d.cfg.Address, Port: d.cfg.Port, Data: d.cfg.Data, Name: d.cfg.Name, VCPUs: d.cfg.VCPUs, NetPort: d.cfg.NetPort}
	if d.deps.Console != nil {
		users := sessions.New(net.JoinHostPort(strings.Trim(d.cfg.Address, "[]"), strconv.Itoa(d.cfg.Port)), d.deps.Console, d.deps.Log)
		cfg.Ring, cfg.Abilities = users.Ring, sessions.Abilities()
		parts = append(parts, lifecycle.Part{Name: "sessions", Run: users.Run})
	}
	link = clusterlink.New(cfg, work, d.deps.Machine, d.deps.Log, d.identify)
	return lifecycle.Run(ctx, append(parts, lifecycle.Part{Name: "cluster link", Run: link.Run})...)
}

// remember tells NetManager's client who this worker was when it ran last.
func (d *Daemon) remember() error {
	id, err := clusterlink.LoadIdentity(d.cfg.Data)
	if err != nil || id.ID == "" {
		return err
	}
	d.deps.Net.Remember(local.Register{ClientID: id.ID, ClusterAddress: cmp.Or(id.Broker, d.cfg.Address), MQTTPort: id.MQTTPort, NodeKey: id.Key})
	return nil
}

// identify tells NetManager who this worker is, again and again: it may be
// started anew at any time, and the same identity twice is no error.
func (d *Daemon) identify(ctx context.Context, r clusterlink.Registered) {
	if d.deps.Net == nil {
		return
	}
	backoff := lifecycle.NewBackoff(500*time.Millisecond, 10*time.Second)
	told := false
	for {
		err := d.deps.Net.Identify(ctx, local.Register{ClientID: r.ID, ClusterAddress: r.Host, MQTTPort: r.MQTTPort, NodeKey: r.Key})
		if ctx.Err() != nil {
			return
		}
		pause := 10 * time.Second
		switch {
		case err != nil:
			d.deps.Log.Warn("NetManager refused this worker; trying again", "error", err)
			told, pause = false, backoff.Next()
		case !told:
			d.deps.Log.Info("NetManager knows this worker", "node", r.ID)
			told = true
			backoff.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
