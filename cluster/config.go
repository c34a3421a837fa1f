package cluster

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"oakestra/cluster/fleet"
	"oakestra/cluster/rootlink"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Config of a cluster manager.
type Config struct {
	Root      string // host, host:port or URL of the system-manager
	Name      string
	Location  string // "lat,lon,radius" (degrees, metres) or free text
	Listen    string // HTTP
	MQTTHost  string // told to workers; "" = the address they registered at
	MQTTPort  string // told to workers
	LostAfter time.Duration
	Version   string
}

// DefaultConfig is what a cluster manager without flags has.
func DefaultConfig() Config {
	return Config{Root: "localhost", Listen: ":10100", MQTTPort: "10003", LostAfter: 10 * time.Second}
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	if _, err := rootlink.Target(c.Root); err != nil {
		p = append(p, errs.Problem{Path: "root", Value: c.Root, Message: "want host, host:port or URL of the system-manager"})
	}
	if strings.TrimSpace(c.Name) == "" {
		p = append(p, errs.Problem{Path: "name", Message: "a cluster needs a name: -name or CLUSTER_NAME"})
	}
	if wrong := model.LocationProblem(c.Location); wrong != "" {
		p = append(p, errs.Problem{Path: "location", Value: strconv.Quote(c.Location), Message: wrong})
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		p = append(p, errs.Problem{Path: "listen", Value: c.Listen, Message: "want host:port or :port"})
	}
	var more errs.Problems
	if errors.As(fleet.Config{LostAfter: c.LostAfter}.Validate(), &more) {
		p = append(p, more...)
	}
	return p.Err()
}
