package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	wire "oakestra/api/local"
	"oakestra/netmanager"
	"oakestra/netmanager/clusterlink"
	"oakestra/netmanager/host/linux"
	"oakestra/netmanager/local"
	"oakestra/netmanager/state"
	"oakestra/pkg/lifecycle"
	"oakestra/pkg/logging"
	"oakestra/pkg/version"
)

const usage = `NetManager gives the containers of this worker their network. Start it as root,
then NodeEngine with the same port:

  sudo NetManager -p 6000
  sudo NodeEngine -a <cluster manager> -p 10100 -n 6000

It stops without touching running containers. To take away every link, route,
rule and table it made (this cuts off running containers):

  sudo NetManager purge

Flags (there are no environment variables; netcfg.json may hold NodePublicAddress,
NodePublicPort, ClusterUrl, ClusterMqttPort and DefaultInterface):
`

type options struct {
	cfg     netmanager.Config
	file    string
	debug   bool
	level   string
	format  string
	version bool
	purge   bool
}

func parse(args []string) (options, error) {
	o := options{cfg: netmanager.DefaultConfig()}
	if len(args) > 0 && args[0] == "purge" {
		o.purge, args = true, args[1:]
	}
	f := flag.NewFlagSet("NetManager", flag.ContinueOnError)
	port := f.Int("p", 6000, "port of the local API on 127.0.0.1")
	f.StringVar(&o.file, "cfg", "/etc/netmanager/netcfg.json", "settings file, may be missing")
	f.BoolVar(&o.debug, "D", false, "debug messages, same as -log-level debug")
	f.StringVar(&o.cfg.DataDir, "data", o.cfg.DataDir, "directory of the state file")
	f.StringVar(&o.cfg.Iface, "iface", "", "interface towards other workers (default that of the default route)")
	f.StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.format, "log-format", "text", "text or json")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	f.Usage = func() { fmt.Fprint(f.Output(), usage); f.PrintDefaults() }
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; see NetManager -h", f.Arg(0))
	}
	o.cfg.Listen = "127.0.0.1:" + strconv.Itoa(*port)
	if o.cfg.DataDir == netmanager.DefaultConfig().DataDir {
		o.cfg.Socket = wire.SocketPath // one daemon per machine has it
	}
	if o.debug {
		o.level = "debug"
	}
	return o, nil
}

// settings adds the file; flags win.
func settings(o *options) error {
	text, err := os.ReadFile(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var in struct {
		NodePublicAddress, NodePublicPort, ClusterURL, ClusterMqttPort, DefaultInterface string
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("settings %s: %w", o.file, err)
	}
	if a := strings.TrimSpace(in.NodePublicAddress); a != "" && a != "0.0.0.0" {
		if o.cfg.PublicIP, err = netip.ParseAddr(a); err != nil {
			return fmt.Errorf("settings %s: NodePublicAddress %q is no address", o.file, a)
		}
	}
	for name, f := range map[string]struct {
		text string
		into *int
	}{"NodePublicPort": {in.NodePublicPort, &o.cfg.PublicPort}, "ClusterMqttPort": {in.ClusterMqttPort, &o.cfg.ClusterPort}} {
		if f.text == "" {
			continue
		}
		if *f.into, err = strconv.Atoi(f.text); err != nil {
			return fmt.Errorf("settings %s: %s %q is no port", o.file, name, f.text)
		}
	}
	o.cfg.ClusterHost = local.HostOf(in.ClusterURL)
	if o.cfg.Iface == "" {
		o.cfg.Iface = in.DefaultInterface
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Println(version.Version)
		return nil
	}
	if err := settings(&o); err != nil {
		return err
	}
	if err := o.cfg.Validate(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root to make links and rules; run it with sudo")
	}
	log, err := logging.New(os.Stderr, o.level, o.format)
	if err != nil {
		return err
	}
	if o.cfg.DataDir, err = filepath.Abs(o.cfg.DataDir); err != nil {
		return err
	}
	h, err := linux.New(linux.DefaultConfig(), log)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	file := state.Open(o.cfg.DataDir)
	if o.purge {
		return netmanager.Purge(ctx, h, file)
	}
	d := netmanager.New(o.cfg, netmanager.Deps{
		Host: h, File: file, Logger: log,
		Dial: func(t netmanager.Target) netmanager.Uplink { return clusterlink.New(t, log) },
	})
	return lifecycle.Run(ctx,
		lifecycle.Part{Name: "host", Run: h.Run}, // held packets, and the watch over the firewall
		lifecycle.Part{Name: "daemon", Run: d.Run},
	)
}
