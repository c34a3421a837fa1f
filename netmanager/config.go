package netmanager

import (
	"net"
	"net/netip"
	"strconv"

	"oakestra/pkg/errs"
)

// TunnelPort is the UDP port workers exchange overlay packets on.
const TunnelPort = 50103

// Config of one NetManager.
type Config struct {
	Listen  string // local API, host:port; port 0 chooses
	Socket  string // unix socket of the local API, "" = none; optional when it cannot be made
	DataDir string
	Iface   string // underlay interface, "" = that of the default route

	// From netcfg.json, for engines that send no cluster address.
	ClusterHost string     // "" = only what /register says
	ClusterPort int        // MQTT
	PublicIP    netip.Addr // underlay address others send to; invalid = ask the kernel
	PublicPort  int        // UDP port others send to, when a port is forwarded
}

// DefaultConfig is NetManager without flags.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:6000", DataDir: "/var/lib/netmanager",
		ClusterPort: 10003, PublicPort: TunnelPort,
	}
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	bad := func(path, value, message string) {
		p = append(p, errs.Problem{Path: path, Value: value, Message: message})
	}
	if host, port, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen", c.Listen, "want host:port")
	} else {
		if a, err := netip.ParseAddr(host); err != nil || !a.IsLoopback() {
			bad("listen", c.Listen, "the local API listens on a loopback address only")
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			bad("p", port, "want a port from 1 to 65535")
		}
	}
	if c.DataDir == "" {
		bad("data", "", "must name a directory")
	}
	if c.ClusterPort < 1 || c.ClusterPort > 65535 {
		bad("ClusterMqttPort", strconv.Itoa(c.ClusterPort), "want a port from 1 to 65535")
	}
	if c.PublicPort < 1 || c.PublicPort > 65535 {
		bad("NodePublicPort", strconv.Itoa(c.PublicPort), "want a port from 1 to 65535")
	}
	if c.PublicIP.IsValid() && !c.PublicIP.Is4() {
		bad("NodePublicAddress", c.PublicIP.String(), "want an IPv4 address")
	}
	return p.Err()
}
