package e2e

import (
	"fmt"
	"testing"
	"time"

	"oakestra/test/site"
)

// twoClusters is a site with two clusters of two workers each.
var twoClusters = site.Config{Clusters: []site.Cluster{
	{Name: "north", Host: "north", Workers: []string{"n1", "n2"}},
	{Name: "south", Host: "south", Workers: []string{"s1", "s2"}},
}}

// TestPowerOff takes a worker's power away and gives it back: the instances
// start elsewhere, and what was on its disk is cleaned up after the boot.
func TestPowerOff(t *testing.T) {
	s := site.New(t, twoClusters)
	_, ids := s.DeploySeed()
	s.Settled(10 * time.Second)
	victim := s.Service(ids["nginx"]).Instances[0].Worker
	s.PowerOff(victim)
	if err := s.Check(); err == nil {
		t.Log("nothing to see")
	} else {
		t.Log("right after:", err)
	}
	s.Eventually("nginx runs elsewhere", 60*time.Second, func() error {
		i := s.Service(ids["nginx"]).Instances[0]
		if i.Worker == victim || i.Status != "RUNNING" {
			return fmt.Errorf("%+v", i)
		}
		return nil
	})
	s.Settled(10 * time.Second)
	s.PowerOn(victim)
	s.WaitWorkers(30*time.Second, victim)
	s.Settled(30 * time.Second)
}
