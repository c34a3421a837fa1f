package node

import (
	"path/filepath"
	"strconv"

	"oakestra/pkg/errs"
)

// Config of the daemon. Flags of the same names set it.
type Config struct {
	Address    string // of the cluster manager
	Port       int
	NetPort    int    // of NetManager on this machine; 0 = loopback only
	Data       string // absolute directory for identity, records, logs
	Containerd string // auto, managed, or a socket
	Registries string // file of mirrors and credentials; it may be absent
	VCPUs      int    // cores to offer; 0 = all
	Name       string // host name to register as; "" = the machine's
}

// DefaultConfig is NodeEngine without flags.
func DefaultConfig() Config {
	return Config{Address: "localhost", Port: 10100, Data: "/var/lib/nodeengine", Containerd: "auto",
		Registries: "/etc/oakestra/registries.json"}
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	bad := func(path, value, message string) {
		p = append(p, errs.Problem{Path: path, Value: value, Message: message})
	}
	if c.Address == "" {
		bad("-a", c.Address, "want the cluster manager's address")
	}
	if c.Port < 1 || c.Port > 65535 {
		bad("-p", strconv.Itoa(c.Port), "want a port from 1 to 65535")
	}
	if c.NetPort < 0 || c.NetPort > 65535 {
		bad("-n", strconv.Itoa(c.NetPort), "want NetManager's port, or 0 for no overlay")
	}
	if !filepath.IsAbs(c.Data) {
		bad("-data", c.Data, "want an absolute directory")
	}
	if c.Containerd != "auto" && c.Containerd != "managed" && !filepath.IsAbs(c.Containerd) {
		bad("-containerd", c.Containerd, "want auto, managed or the path of a socket")
	}
	if c.VCPUs < 0 {
		bad("-vcpus", strconv.Itoa(c.VCPUs), "must not be negative")
	}
	return p.Err()
}
