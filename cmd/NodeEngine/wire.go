package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"

	"oakestra/node"
	"oakestra/node/netclient"
	"oakestra/node/runtime"
	"oakestra/node/runtime/containerd"
	"oakestra/node/telemetry"
	"oakestra/pkg/errs"
	"oakestra/pkg/logging"
)

type options struct {
	cfg     node.Config
	log     *slog.Logger
	version bool
	rest    []string
	byHand  bool // a person runs a command
}

const usage = `NodeEngine runs the containers that a cluster sends to this machine.

  sudo NetManager -p 6000 &                               first, for the overlay
  sudo NodeEngine -a 192.0.2.10 -p 10100 -n 6000          join the cluster there
  sudo NodeEngine exec <app.ns.service.ns> <n> <command>  run a command inside an instance
  sudo NodeEngine purge                                   remove everything it made

Stopping it leaves the containers running; started again it takes them over.

`

func parse(command string, args []string) (options, error) {
	o := options{cfg: node.DefaultConfig()}
	f := flag.NewFlagSet("NodeEngine", flag.ContinueOnError)
	f.Usage = func() { fmt.Fprint(f.Output(), usage); f.PrintDefaults() }
	f.StringVar(&o.cfg.Address, "a", o.cfg.Address, "`address` of the cluster manager")
	f.IntVar(&o.cfg.Port, "p", o.cfg.Port, "`port` of the cluster manager")
	f.IntVar(&o.cfg.NetPort, "n", 0, "`port` of NetManager on this machine; 0: no overlay, loopback only")
	f.StringVar(&o.cfg.Data, "data", o.cfg.Data, "`directory` for identity, records and logs")
	f.StringVar(&o.cfg.Containerd, "containerd", o.cfg.Containerd, "auto, managed (a private one) or a `socket`")
	f.StringVar(&o.cfg.Registries, "registries", o.cfg.Registries, "`file` of registry mirrors and credentials")
	f.IntVar(&o.cfg.VCPUs, "vcpus", 0, "`cores` to offer; 0: all")
	f.StringVar(&o.cfg.Name, "name", "", "host `name` to register as (default: the machine's)")
	level := f.String("log-level", "info", "debug, info, warn or error")
	format := f.String("log-format", "text", "text or json")
	f.BoolVar(&o.version, "version", false, "print the version and stop")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.rest = f.Args()
	if command != "exec" && len(o.rest) > 0 {
		return o, fmt.Errorf("%q is no command; see NodeEngine -h", o.rest[0])
	}
	if o.cfg.NetPort == -1 { // how the original says "no overlay"
		o.cfg.NetPort = 0
	}
	var err error
	if o.cfg.Data, err = filepath.Abs(o.cfg.Data); err != nil {
		return o, err
	}
	if o.log, err = logging.New(os.Stderr, *level, *format); err != nil {
		return o, err
	}
	return o, o.cfg.Validate()
}

// socket finds containerd. start says whether a private one may be started.
func socket(ctx context.Context, cfg node.Config, start bool) (string, error) {
	private := containerd.Managed{Data: cfg.Data}
	switch {
	case cfg.Containerd != "auto" && cfg.Containerd != "managed":
		return cfg.Containerd, nil
	case cfg.Containerd == "auto" && !containerd.Answers(private.Socket()) && containerd.Answers(containerd.SystemSocket):
		return containerd.SystemSocket, nil
	case start:
		return private.Socket(), private.Ensure(ctx)
	}
	return private.Socket(), nil
}

func engine(o options, socket string) (*containerd.Engine, error) {
	cfg := containerd.Config{Socket: socket, Data: o.cfg.Data, ByHand: o.byHand}
	text, err := os.ReadFile(o.cfg.Registries)
	if err == nil {
		if err := json.Unmarshal(text, &cfg.Registries); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", o.cfg.Registries, err, errs.Invalid)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("registries: %w: %w", err, errs.Invalid)
	}
	return containerd.New(cfg, o.log)
}

// hangUp ends the connection to containerd. By then the work is done or has
// failed with an error of its own.
func hangUp(rt *containerd.Engine, log *slog.Logger) {
	if err := rt.Close(); err != nil {
		log.Warn("close the connection to containerd", "error", err)
	}
}

func serve(ctx context.Context, o options) error {
	debug.SetGCPercent(50) // a small heap matters more here than speed
	if err := os.MkdirAll(o.cfg.Data, 0o711); err != nil {
		return err
	}
	at, err := socket(ctx, o.cfg, true)
	if err != nil {
		return err
	}
	rt, err := engine(o, at)
	if err != nil {
		return err
	}
	defer hangUp(rt, o.log)
	v, err := rt.Version(ctx)
	if err != nil {
		return err
	}
	o.log.Info("containerd answers", "socket", at, "version", v)
	var leftover sync.WaitGroup
	defer leftover.Wait()
	leftover.Go(func() { // asks every container, so nothing waits for it
		if err := rt.EndCommands(ctx); err != nil && ctx.Err() == nil {
			o.log.Warn("commands of before may still run", "error", err)
		}
	})
	deps := node.Deps{Runtime: rt, Console: rt, Machine: telemetry.New(o.cfg.Data), Log: o.log}
	if o.cfg.NetPort != 0 {
		deps.Net = netclient.New(o.cfg.NetPort)
	}
	return node.New(o.cfg, deps).Run(ctx)
}

func purge(ctx context.Context, o options) error {
	private := containerd.Managed{Data: o.cfg.Data}
	if _, err := os.Stat(filepath.Join(o.cfg.Data, "containerd")); err == nil && o.cfg.Containerd != containerd.SystemSocket {
		// Shims of its containers outlive a containerd that was killed: it is
		// started again to end them.
		if err := private.Ensure(ctx); err != nil {
			return err
		}
	}
	at, err := socket(ctx, o.cfg, false)
	if err != nil {
		return err
	}
	var all []error
	if containerd.Answers(at) {
		rt, err := engine(o, at)
		if err != nil {
			return err
		}
		all = append(all, rt.Purge(ctx), rt.Close())
	}
	all = append(all, private.Stop(ctx))
	for _, name := range []string{"attempts", "logs", "files", "fifo"} {
		all = append(all, os.RemoveAll(filepath.Join(o.cfg.Data, name)))
	}
	return errors.Join(all...)
}

func execute(ctx context.Context, o options) (int, error) {
	if len(o.rest) < 3 {
		return 2, fmt.Errorf("want: NodeEngine exec [-data ..] <app.ns.service.ns> <instance number> <command> [arguments]")
	}
	number, err := strconv.Atoi(o.rest[1])
	if err != nil {
		return 2, fmt.Errorf("instance %q is no number", o.rest[1])
	}
	at, err := socket(ctx, o.cfg, false)
	if err != nil {
		return 1, err
	}
	o.byHand = true
	rt, err := engine(o, at)
	if err != nil {
		return 1, err
	}
	defer hangUp(rt, o.log)
	c, found, err := rt.Find(ctx, o.rest[0], number)
	if err != nil {
		return 1, err
	}
	if !found {
		return 1, fmt.Errorf("no running instance %d of %s on this machine: %w", number, o.rest[0], errs.NotFound)
	}
	return rt.Exec(ctx, c.Spec.ID(), runtime.Command{Args: o.rest[2:], Stdout: os.Stdout, Stderr: os.Stderr})
}
