package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"oakestra/cluster"
	"oakestra/cluster/nodelink/broker"
	"oakestra/cluster/nodelink/mqttlink"
	"oakestra/cluster/store/boltstore"
	"oakestra/pkg/version"
)

type options struct {
	cluster.Config
	mqttListen string
	outside    string // URL of an outside broker, "" = embedded
	data       string
	level      string
	format     string
	version    bool
}

const help = `cluster-manager runs one site: workers register here, and the root sends it work.

Example:
  cluster-manager -root 192.0.2.1 -name kitchen -location 48.15,11.58,1000

Environment (flags win):
  SYSTEM_MANAGER_URL   -root        CLUSTER_NAME      -name
  CLUSTER_LOCATION     -location
  MQTT_BROKER_URL, MQTT_BROKER_PORT   use this broker instead of the embedded one

Flags:
`

func parse(args []string, env func(string) string, out io.Writer) (options, error) {
	o := options{Config: cluster.DefaultConfig()}
	o.Version = version.Version
	fs := flag.NewFlagSet("cluster-manager", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() { fmt.Fprint(out, help); fs.PrintDefaults() }
	get := func(name, def string) string { return cmp.Or(strings.TrimSpace(env(name)), def) }
	fs.StringVar(&o.Root, "root", get("SYSTEM_MANAGER_URL", o.Root), "system-manager as host[:port] or URL, port 10000 when absent")
	fs.StringVar(&o.Name, "name", get("CLUSTER_NAME", ""), "name of the cluster")
	fs.StringVar(&o.Location, "location", get("CLUSTER_LOCATION", ""), "lat,lon,radius (degrees, degrees, metres) or free text")
	fs.StringVar(&o.Listen, "listen", o.Listen, "HTTP address for workers")
	fs.StringVar(&o.mqttListen, "mqtt-listen", ":10003", "address of the embedded broker")
	fs.StringVar(&o.data, "data", "/var/lib/oakestra/cluster", "directory of the cluster's book")
	fs.DurationVar(&o.LostAfter, "lost-after", o.LostAfter, "silence after which a worker is lost")
	fs.StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&o.format, "log-format", "text", "text or json")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil || o.version {
		return o, err
	}
	o.Root, o.Name, o.Location = strings.TrimSpace(o.Root), strings.TrimSpace(o.Name), strings.TrimSpace(o.Location)
	if err := o.broker(get("MQTT_BROKER_URL", ""), get("MQTT_BROKER_PORT", "")); err != nil {
		return o, err
	}
	return o, o.Validate()
}

// broker decides which broker is used and what workers are told of it.
func (o *options) broker(address, port string) error {
	if address == "" {
		_, p, err := net.SplitHostPort(o.mqttListen)
		if err != nil || p == "" || p == "0" {
			return fmt.Errorf("mqtt-listen: want host:port or :port (got %q)", o.mqttListen)
		}
		o.MQTTPort = p
		return broker.Config{Listen: o.mqttListen}.Validate()
	}
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("MQTT_BROKER_URL: want host, host:port or URL (got %q)", address)
	}
	o.MQTTHost, o.MQTTPort = u.Hostname(), cmp.Or(port, u.Port(), "10003")
	u.Host = net.JoinHostPort(o.MQTTHost, o.MQTTPort)
	o.outside = u.String()
	return nil
}

// serve builds every effect and runs the daemon.
func serve(ctx context.Context, o options, logger *slog.Logger) (err error) {
	book, err := boltstore.Open(o.data)
	if err != nil {
		return err
	}
	defer func() {
		if e := book.Close(); err == nil {
			err = e
		}
	}()
	deps := cluster.Deps{Store: book, Logger: logger}
	link := mqttlink.Config{URL: o.outside, ClusterName: o.Name}
	if o.outside == "" {
		b := broker.New(broker.Config{Listen: o.mqttListen}, logger)
		link.Local, deps.Broker = b, b.Run
	}
	deps.Link = mqttlink.New(link, logger)
	return cluster.New(o.Config, deps).Run(ctx)
}
