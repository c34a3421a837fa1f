package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"oakestra/test/site"
)

// TestRootLinkDown is F1: the root is cut off for two minutes while 20 services
// run, and takes orders meanwhile.
func TestRootLinkDown(t *testing.T) {
	long(t)
	f := startField(t)
	var many []spec
	for i := range 20 {
		many = append(many, spec{name: fmt.Sprintf("web%d", i), image: nginx})
	}
	ids := f.create("many", many...)
	for _, s := range many {
		f.deploy(ids[s.name])
	}
	pair := f.create("pair", spec{name: "server", image: nginx, address: "10.30.1.1"},
		spec{name: "client", image: curl, cmd: []string{"sleep", "100000"}})
	f.deploy(pair["server"])
	f.deploy(pair["client"])
	for _, s := range many {
		f.waitRunning(ids[s.name], 1, time.Minute)
	}
	f.waitRunning(pair["server"], 1, time.Minute)
	f.waitRunning(pair["client"], 1, time.Minute)
	f.check()
	before := f.pids()
	stream := openFlow(t, f.box(pair["client"], 0), "10.30.1.1")

	down := f.cut("root")
	f.deploy(ids["web0"]) // before the root can know
	noticed := eventually(t, "the root shows the cluster as away", time.Minute, func() error { return f.shown(ids["web0"], "is not connected") })
	figure(t, "the root shows the cluster as not connected %s after the cut", noticed.Round(100*time.Millisecond))
	after(down, 40*time.Second) // by now the root counts it as inactive
	for i := 1; i < 10; i++ {
		f.deploy(ids[fmt.Sprintf("web%d", i)])
	}
	f.scale(ids["web10"], 3)
	eventually(t, "the deploys are REQUESTED, with the reason", 20*time.Second, func() error {
		for i := 1; i < 10; i++ {
			if err := f.shown(ids[fmt.Sprintf("web%d", i)], "REQUESTED", "field", "is not connected"); err != nil {
				return err
			}
		}
		return nil
	})
	svc, err := f.service(ids["web1"])
	f.fatal(err)
	figure(t, "a deploy meanwhile is accepted and shown as %s: %s", svc.Instances[1].Status, svc.Instances[1].Detail)
	after(down, 2*time.Minute)
	f.unchanged(before)

	up := f.heal("root")
	linked := eventually(t, "the cluster is active again", time.Minute, func() error {
		var active []site.ClusterView
		if _, err := f.do("GET", "/api/clusters/active", nil, &active); err != nil || len(active) != 1 {
			return fmt.Errorf("%w: %v", err, active)
		}
		return nil
	})
	figure(t, "the cluster is active again %s after the heal", linked.Round(10*time.Millisecond))
	for i := range 10 {
		f.waitRunning(ids[fmt.Sprintf("web%d", i)], 2, time.Minute)
	}
	f.waitRunning(ids["web10"], 3, time.Minute)
	promise(t, "from the heal of the root's link to all 12 new instances RUNNING", time.Since(up), 10*time.Second)
	f.check()
	stream.close(t)
	f.unchanged(before)
	if got, want := len(f.pids()), 22+12; got != want {
		t.Errorf("%d containers, want %d", got, want)
	}
}

// shown says why no instance of a service has all the words in status or
// detail.
func (f *field) shown(id string, words ...string) error {
	s, err := f.service(id)
	if err != nil {
		return err
	}
	for _, i := range s.Instances {
		text, all := i.Status+" "+i.Detail, true
		for _, w := range words {
			all = all && strings.Contains(text, w)
		}
		if all {
			return nil
		}
	}
	return fmt.Errorf("no instance shows %q: %+v", words, s.Instances)
}
