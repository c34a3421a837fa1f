package swarm

import (
	"fmt"
	"net"
	"time"

	"oakestra/pkg/errs"
)

// Config of a swarm.
type Config struct {
	Managers []string      `json:"managers"` // host:port of the cluster managers; worker i belongs to i modulo their number
	First    int           `json:"first"`    // number of the first worker
	Count    int           `json:"count"`
	Original bool          `json:"original"`    // behave as the engines of v0.4.2
	StartFor time.Duration `json:"start_for"`   // from Deploy until a container runs
	MilliCPU int64         `json:"milli_cpu"`   // offered by each worker
	MemoryMB int64         `json:"memory_mb"`   // offered by each worker
	Parallel int           `json:"parallel"`    // registrations at one time; default 256
	Every    time.Duration `json:"report_each"` // of originals; ours do as the cluster says. Default 2 s
}

func (c Config) withDefaults() Config {
	if c.Parallel == 0 {
		c.Parallel = 256
	}
	if c.Every == 0 {
		c.Every = 2 * time.Second
	}
	return c
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	for i, m := range c.Managers {
		if _, _, err := net.SplitHostPort(m); err != nil {
			p = append(p, errs.Problem{Path: fmt.Sprintf("managers[%d]", i), Value: m, Message: "want host:port"})
		}
	}
	if len(c.Managers) == 0 {
		p = append(p, errs.Problem{Path: "managers", Message: "want at least one"})
	}
	if c.Count < 1 || c.First < 0 || c.First+c.Count > maxWorkers {
		p = append(p, errs.Problem{Path: "count", Value: fmt.Sprint(c.Count), Message: fmt.Sprintf("want 1 to %d workers in all", maxWorkers)})
	}
	return p.Err()
}

// maxWorkers have an address of their own below 127.0.0.0/8.
const maxWorkers = 250 * 250 * 100

// address is where a worker connects from: everyone is a machine of its own to
// a broker that counts connections per address.
func address(number int) net.IP {
	return net.IPv4(127, byte(100+number/62500), byte(1+number/250%250), byte(1+number%250))
}
