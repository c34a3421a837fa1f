package linux

import (
	"time"

	"oakestra/pkg/errs"
)

// Config of a Host. The zero value of a field means its default.
type Config struct {
	// Netns is a file that stands for the network namespace to work in, such
	// as /run/netns/x; "" is that of the thread that calls New.
	Netns string
	// Queue is the NFQUEUE number of held packets, per namespace.
	Queue uint16
	// HoldFor is how long a packet waits for Release; then it is refused.
	HoldFor time.Duration
	// Recheck is the pause between looks at the iptables rules, which other
	// firewalls drop when they reload.
	Recheck time.Duration
	// NewPerSource is how many new unknown addresses one source may ask per second.
	NewPerSource int
}

// DefaultConfig is what NetManager uses.
func DefaultConfig() Config {
	return Config{Queue: 5010, HoldFor: 3 * time.Second, Recheck: 5 * time.Second, NewPerSource: 50}
}

func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.Queue == 0 {
		c.Queue = d.Queue
	}
	if c.HoldFor == 0 {
		c.HoldFor = d.HoldFor
	}
	if c.Recheck == 0 {
		c.Recheck = d.Recheck
	}
	if c.NewPerSource == 0 {
		c.NewPerSource = d.NewPerSource
	}
	return c
}

// Validate lists every mistake.
func (c Config) Validate() error {
	var p errs.Problems
	if c.HoldFor < 0 || c.HoldFor > time.Minute {
		p = append(p, errs.Problem{Path: "holdfor", Value: c.HoldFor.String(), Message: "must be between 0 and 1 minute"})
	}
	if c.Recheck < 0 {
		p = append(p, errs.Problem{Path: "recheck", Value: c.Recheck.String(), Message: "must not be negative"})
	}
	if c.NewPerSource < 0 {
		p = append(p, errs.Problem{Path: "newpersource", Message: "must not be negative"})
	}
	return p.Err()
}
