package broker

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"oakestra/pkg/errs"
)

// Config says where the broker listens and what it may hold in memory. Zero
// values stand for the defaults.
type Config struct {
	// Listen is host:port; port 0 chooses one. Default ":10003".
	Listen string
	// MaxConnections bounds open connections of all clients. Default 20480.
	MaxConnections int
	// MaxPending bounds connections of one remote address that have not yet
	// been let in. Default 256.
	MaxPending int
	// MaxQueued bounds messages waiting for one client; the client that lets
	// more pile up is cut. Each client takes 8 bytes for each. Default 512.
	MaxQueued int
	// MaxPacket bounds one packet from a client, in bytes. Default 1 MiB.
	MaxPacket int
	// ConnectTimeout is the time a client has to say who it is. Default 5 s.
	ConnectTimeout time.Duration
	// WriteTimeout is how long one write to a client may take before the
	// client is cut. Default 5 s.
	WriteTimeout time.Duration
	// Incumbent is how long a client that was heard keeps its client id
	// against another address or another start of an agent. Default 10 s.
	Incumbent time.Duration
	// Admit decides whether an agent of a node may connect from an address;
	// nil admits all. It is called from many goroutines.
	Admit func(node string, remote netip.Addr) bool
}

// DefaultConfig is the configuration of a cluster manager without flags.
func DefaultConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Listen == "" {
		c.Listen = ":10003"
	}
	orInt(&c.MaxConnections, 20480)
	orInt(&c.MaxPending, 256)
	orInt(&c.MaxQueued, 512)
	orInt(&c.MaxPacket, 1<<20)
	orTime(&c.ConnectTimeout, 5*time.Second)
	orTime(&c.WriteTimeout, 5*time.Second)
	orTime(&c.Incumbent, 10*time.Second)
	return c
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	c = c.withDefaults()
	var p errs.Problems
	bad := func(path, value, message string) {
		p = append(p, errs.Problem{Path: path, Value: value, Message: message})
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		bad("mqtt-listen", c.Listen, "want host:port or :port")
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		bad("mqtt-listen", c.Listen, "want a port between 0 and 65535")
	}
	for _, f := range []struct {
		path  string
		value int
	}{
		{"max-connections", c.MaxConnections}, {"max-pending", c.MaxPending},
		{"max-queued", c.MaxQueued}, {"max-packet", c.MaxPacket},
		{"connect-timeout", int(c.ConnectTimeout)}, {"write-timeout", int(c.WriteTimeout)},
		{"incumbent", int(c.Incumbent)},
	} {
		if f.value < 0 {
			bad(f.path, strconv.Itoa(f.value), "must not be negative")
		}
	}
	return p.Err()
}
