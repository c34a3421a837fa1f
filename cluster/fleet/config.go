package fleet

import (
	"time"

	"oakestra/pkg/errs"
)

// Config holds the periods of the fleet. Zero values stand for the defaults.
type Config struct {
	LostAfter      time.Duration // both agents silent: 10 s
	AgentLostAfter time.Duration // only NodeEngine silent: 5 min
	ClusterRetry   time.Duration // between placements of a refused slot: 10 s
	Grace          time.Duration // between TERM and KILL: 10 s
	BrakeFor       time.Duration // pause of replacement after mass loss: 5 min
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.LostAfter, 10 * time.Second}, {&c.AgentLostAfter, 5 * time.Minute}, {&c.ClusterRetry, 10 * time.Second},
		{&c.Grace, 10 * time.Second}, {&c.BrakeFor, 5 * time.Minute}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return c
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	if c.LostAfter != 0 && c.LostAfter < 4*time.Second {
		p = append(p, errs.Problem{Path: "lost-after", Value: c.LostAfter.String(), Message: "must be at least 4s: workers report every 2s"})
	}
	return p.Err()
}
