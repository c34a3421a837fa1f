package faults

import (
	"testing"
	"time"
)

// TestBrokerKilled is F6: an outside broker dies with 500 commands that it has
// not delivered, and is away for half a minute. Workers only count.
func TestBrokerKilled(t *testing.T) {
	long(t)
	c := startCrowd(t, 4, true)
	ids := c.create("many", spec{name: "job", image: curl, cmd: []string{"sleep", "100000"}, memory: 1})
	begin := time.Now()
	c.scale(ids["job"], 500)
	c.waitRunning(ids["job"], 500, time.Minute)
	figure(t, "500 instances without a fault: %s", time.Since(begin).Round(10*time.Millisecond))
	c.scale(ids["job"], 0)
	eventually(t, "all are gone", time.Minute, func() error { return c.exactly(0) })

	for _, w := range c.workers { // commands reach the broker, and go no further
		c.fatal(c.lab.Host(w).Down())
	}
	c.scale(ids["job"], 500)
	eventually(t, "all are placed and ordered", 8*time.Second, func() error { return c.words(ids["job"], "NODE_SCHEDULED", 500) })
	c.broker.Kill()
	dead := time.Now()
	for _, w := range c.workers {
		c.fatal(c.lab.Host(w).Up())
	}
	c.fatal(c.exactly(0))
	holds(t, "nobody is taken for lost while nobody can be heard", 30*time.Second, func() error { return c.words(ids["job"], "NODE_SCHEDULED", 500) })
	figure(t, "the broker was away for %s", time.Since(dead).Round(time.Second))
	c.broker.Again()
	up := time.Now()
	eventually(t, "all 500 are effected", time.Minute, func() error { return c.exactly(500) })
	promise(t, "from the broker's return to all 500 commands effected", time.Since(up), 15*time.Second)
	c.waitRunning(ids["job"], 500, time.Minute)
	c.fatal(c.exactly(500))
	c.fatal(c.nobody())
	figure(t, "commands effected twice: 0 of 500; attempts that replaced another: %d", c.tally().retried)
	if n := c.tally().retried; n > 0 {
		t.Errorf("%d attempts were replaced", n)
	}
}

// TestBrokerAway: half a minute without a broker stops and replaces nothing
// that runs.
func TestBrokerAway(t *testing.T) {
	long(t)
	c := startCrowd(t, 2, true)
	ids := c.create("many", spec{name: "job", image: curl, cmd: []string{"sleep", "100000"}, memory: 1})
	c.scale(ids["job"], 20)
	c.waitRunning(ids["job"], 20, time.Minute)
	c.broker.Kill()
	holds(t, "all run on", 40*time.Second, func() error { return c.running(ids["job"], 20) })
	c.broker.Again()
	holds(t, "all run on", 30*time.Second, func() error { return c.running(ids["job"], 20) })
	c.fatal(c.exactly(20))
	v := c.tally()
	figure(t, "after 40 s without a broker: %d containers live, %d were replaced", len(v.live), v.retried)
	if v.retried > 0 || len(v.started) != 20 {
		t.Errorf("%d attempts were started, %d of them to replace another", len(v.started), v.retried)
	}
}
