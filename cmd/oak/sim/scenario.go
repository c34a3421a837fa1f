package sim

import (
	"fmt"
	"slices"
	"strconv"

	"oakestra/pkg/errs"
)

// Scenario is what to simulate.
type Scenario struct {
	Name          string `json:"name"`
	Workers       int    `json:"workers"`
	Clusters      int    `json:"clusters"` // cluster-managers; worker i belongs to i modulo their number
	Agent         string `json:"agent"`    // ours: one combined report per 2 s; original: two messages per 2 s
	Broker        string `json:"broker"`   // embedded, or mosquitto: one beside each cluster-manager
	StartMS       int    `json:"start_ms"` // from the order until a container runs
	MilliCPU      int64  `json:"milli_cpu"`
	MemoryMB      int64  `json:"memory_mb"`
	TimeoutS      int    `json:"timeout_s"`       // for a step to converge
	OnClusterLoss string `json:"on_cluster_loss"` // of the services: keep or replace
	Steps         []Step `json:"steps"`
}

// Step is one thing to do; it ends when the system has converged.
type Step struct {
	Do        string  `json:"do"`
	Instances int     `json:"instances,omitempty"` // deploy
	Services  int     `json:"services,omitempty"`  // deploy: over which the instances are spread
	Percent   float64 `json:"percent,omitempty"`   // kill, partition
	Seconds   int     `json:"seconds,omitempty"`   // measure, partition, cut
	What      string  `json:"what,omitempty"`      // restart, cut
	Clusters  int     `json:"clusters,omitempty"`  // cut: the first ones; 0 is 1
}

// The steps.
const (
	doStart     = "start"
	doDeploy    = "deploy"
	doMeasure   = "measure"
	doKill      = "kill"
	doRevive    = "revive"
	doPartition = "partition"
	doCut       = "cut"
	doRestart   = "restart"
	doStorm     = "storm"
	doUndeploy  = "undeploy"
)

// What can be restarted.
const (
	whatManager = "cluster-manager"
	whatRoot    = "system-manager"
	whatBroker  = "broker"
)

// What can be cut.
const whatLink = "root-link"

// Default is the scenario without a file.
func Default() Scenario {
	return Scenario{
		Name: "default", Workers: 1000, Clusters: 1, Agent: "ours", Broker: "embedded", StartMS: 200, MilliCPU: 4000, MemoryMB: 8192, TimeoutS: 180, OnClusterLoss: "keep",
		Steps: []Step{
			{Do: doStart}, {Do: doDeploy, Instances: 2000, Services: 20}, {Do: doMeasure, Seconds: 30},
			{Do: doKill, Percent: 10}, {Do: doRevive}, {Do: doPartition, Percent: 10, Seconds: 20},
			{Do: doRestart, What: whatManager}, {Do: doStorm}, {Do: doUndeploy},
		},
	}
}

// check collects what is wrong.
type check struct{ p errs.Problems }

func (c *check) between(path string, v, low, high int) {
	if v < low || v > high {
		c.p = append(c.p, errs.Problem{Path: path, Value: strconv.Itoa(v), Message: fmt.Sprintf("want %d to %d", low, high)})
	}
}

func (c *check) word(path, v string, words ...string) {
	for _, w := range words {
		if v == w {
			return
		}
	}
	c.p = append(c.p, errs.Problem{Path: path, Value: strconv.Quote(v), Message: fmt.Sprintf("want one of %q", words)})
}

func (c *check) none(path string, given bool) {
	if given {
		c.p = append(c.p, errs.Problem{Path: path, Message: "means nothing for this step"})
	}
}

// Validate lists every mistake as errs.Problems.
func (s Scenario) Validate() error {
	var c check
	c.between("workers", s.Workers, 1, 200_000)
	c.between("clusters", s.Clusters, 1, 50)
	c.word("agent", s.Agent, "ours", "original")
	c.word("broker", s.Broker, "embedded", "mosquitto")
	c.between("start_ms", s.StartMS, 0, 60_000)
	c.between("milli_cpu", int(s.MilliCPU), 1, 1_000_000)
	c.between("memory_mb", int(s.MemoryMB), 16, 10_000_000)
	c.between("timeout_s", s.TimeoutS, 5, 3600)
	c.word("on_cluster_loss", s.OnClusterLoss, "keep", "replace")
	if len(s.Steps) == 0 {
		c.p = append(c.p, errs.Problem{Path: "steps", Message: "want at least one"})
	} else if s.Steps[0].Do != doStart {
		c.p = append(c.p, errs.Problem{Path: "steps[0].do", Value: strconv.Quote(s.Steps[0].Do), Message: "want start: nothing runs before it"})
	}
	wanted := 0
	for i, step := range s.Steps {
		c.step(fmt.Sprintf("steps[%d]", i), step, s, i, &wanted)
	}
	return c.p.Err()
}

func (c *check) step(path string, s Step, of Scenario, i int, wanted *int) {
	c.word(path+".do", s.Do, doStart, doDeploy, doMeasure, doKill, doRevive, doPartition, doCut, doRestart, doStorm, doUndeploy)
	switch s.Do {
	case doStart:
		if i > 0 {
			c.p = append(c.p, errs.Problem{Path: path + ".do", Value: `"start"`, Message: "starts once, as the first step; see revive"})
		}
	case doDeploy:
		c.between(path+".instances", s.Instances, 1, 60_000)
		c.between(path+".services", s.Services, 1, max(1, s.Instances))
		*wanted += s.Instances
	case doUndeploy:
		*wanted = 0
	case doKill, doPartition:
		c.percent(path+".percent", s, *wanted > 0)
	case doCut:
		c.word(path+".what", s.What, whatLink)
		c.between(path+".clusters", max(1, s.Clusters), 1, of.Clusters)
	case doRestart:
		c.word(path+".what", s.What, whatManager, whatRoot, whatBroker)
		if s.What == whatBroker && of.Broker == "embedded" {
			c.p = append(c.p, errs.Problem{Path: path + ".what", Value: `"broker"`, Message: `the embedded broker is part of the cluster-manager: want "cluster-manager", or broker "mosquitto"`})
		}
	}
	if s.timed() {
		c.between(path+".seconds", s.Seconds, 1, 3600)
	}
	c.foreign(path, s)
}

// timed says that a step has a length.
func (s Step) timed() bool { return s.Do == doMeasure || s.Do == doPartition || s.Do == doCut }

// cuts says that a step of the scenario cuts clusters off.
func (s Scenario) cuts() bool {
	return slices.ContainsFunc(s.Steps, func(v Step) bool { return v.Do == doCut })
}

func (c *check) percent(path string, s Step, deployed bool) {
	message := ""
	switch {
	case s.Percent <= 0 || s.Percent > 100:
		message = "want more than 0, to 100"
	case s.Do == doKill && s.Percent > 30 && deployed:
		message = "want at most 30 while something is deployed: above, the cluster replaces nothing for 5 minutes"
	default:
		return
	}
	c.p = append(c.p, errs.Problem{Path: path, Value: fmt.Sprint(s.Percent), Message: message})
}

// foreign finds what means nothing for a step.
func (c *check) foreign(path string, s Step) {
	c.none(path+".instances", s.Do != doDeploy && s.Instances != 0)
	c.none(path+".services", s.Do != doDeploy && s.Services != 0)
	c.none(path+".percent", s.Do != doKill && s.Do != doPartition && s.Percent != 0)
	c.none(path+".seconds", !s.timed() && s.Seconds != 0)
	c.none(path+".what", s.Do != doRestart && s.Do != doCut && s.What != "")
	c.none(path+".clusters", s.Do != doCut && s.Clusters != 0)
}

// String is the step as a line of the table.
func (s Step) String() string {
	switch s.Do {
	case doDeploy:
		return fmt.Sprintf("deploy %d in %d services", s.Instances, s.Services)
	case doMeasure:
		return fmt.Sprintf("measure %d s", s.Seconds)
	case doKill:
		return fmt.Sprintf("kill %g %%", s.Percent)
	case doPartition:
		return fmt.Sprintf("partition %g %% for %d s", s.Percent, s.Seconds)
	case doCut:
		return fmt.Sprintf("cut the root link of %d for %d s", max(1, s.Clusters), s.Seconds)
	case doRestart:
		return "kill -9, start " + s.What
	}
	return s.Do
}
