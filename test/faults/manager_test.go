package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"

	"oakestra/test/netlab"
)

// seed of the random instants of a run; a failing run names it.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	t.Logf("COUNT: seed %d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// serves waits until a cluster-manager answers on its machine.
func serves(t *testing.T, host *netlab.Host) {
	t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}}
	eventually(t, "the cluster-manager serves", 30*time.Second, func() error {
		resp, err := client.Get("http://" + host.Addr + ":10100/healthz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

// TestManagerKilled is F7: the cluster-manager is killed at ten random instants
// of a deploy of 1,000 instances; in half of them the root is away when it
// starts again. Workers only count.
func TestManagerKilled(t *testing.T) {
	long(t)
	const all = 1000
	c := startCrowd(t, 4, false)
	random := seed(t)
	ids := c.create("many", spec{name: "job", image: curl, cmd: []string{"sleep", "100000"}, memory: 1})
	begin := time.Now()
	c.scale(ids["job"], all)
	c.waitRunning(ids["job"], all, time.Minute)
	undisturbed := time.Since(begin)
	figure(t, "%d instances without a fault: %s", all, undisturbed.Round(10*time.Millisecond))
	c.empty(ids["job"])
	for run := range 10 {
		rootAway := run%2 == 1
		instant := time.Duration(random.Int64N(int64(undisturbed)))
		asked := make(chan error, 1)
		begin := time.Now()
		go func() {
			_, err := c.do("POST", "/api/service/"+ids["job"]+"/scale", map[string]int{"replicas": all}, nil)
			asked <- err
		}()
		after(begin, instant)
		c.manager.Kill()
		c.fatal(<-asked)
		if rootAway {
			c.root.Kill()
		}
		up := time.Now()
		c.manager.Again()
		serves(t, c.lab.Host("site"))
		took := time.Since(up)
		if rootAway {
			after(up, 5*time.Second)
			c.root.Again()
			up = time.Now()
		}
		what := fmt.Sprintf("run %d, killed %s after the order, root away %v", run, instant.Round(time.Millisecond), rootAway)
		promise(t, what+": start to serving", took, 2*time.Second)
		eventually(t, what+": exactly all run", 2*time.Minute, func() error { return c.running(ids["job"], all) })
		promise(t, what+": exactly 1,000 run", time.Since(up), 30*time.Second)
		c.fatal(c.exactly(all))
		c.fatal(c.nobody())
		c.empty(ids["job"])
	}
}

// empty ends all instances of a service and waits until nothing is left.
func (c *crowd) empty(id string) {
	c.t.Helper()
	c.scale(id, 0)
	eventually(c.t, "no instance is left, here or at the root", time.Minute, func() error {
		if err := c.running(id, 0); err != nil {
			return err
		}
		return c.exactly(0)
	})
}

// TestManagerKilledForReal is F7 in small, with containers: three kills in
// deploys of 60.
func TestManagerKilledForReal(t *testing.T) {
	long(t)
	f := startField(t)
	random := seed(t)
	ids := f.create("many", spec{name: "job", image: curl, cmd: []string{"sleep", "100000"}})
	f.scale(ids["job"], 1) // the image is there, then
	f.waitRunning(ids["job"], 1, time.Minute)
	f.scale(ids["job"], 0)
	for run := range 3 {
		instant := time.Duration(random.Int64N(int64(4 * time.Second)))
		begin := time.Now()
		f.scale(ids["job"], 60)
		after(begin, instant)
		f.Cluster.Kill()
		up := time.Now()
		f.Cluster.Again()
		serves(t, f.Lab.Host("site"))
		promise(t, fmt.Sprintf("run %d, killed %s after the order: start to serving", run, instant.Round(time.Millisecond)), time.Since(up), 2*time.Second)
		f.waitRunning(ids["job"], 60, 2*time.Minute)
		promise(t, fmt.Sprintf("run %d: exactly 60 containers run", run), time.Since(up), 30*time.Second)
		f.check()
		f.scale(ids["job"], 0)
		eventually(t, "no container is left", 2*time.Minute, func() error { return f.exactly(ids["job"], 0) })
		f.check()
	}
}

// stopped is F19: the cluster-manager, with its broker, stands still for 45 s.
func (f *field) stopped() {
	t := f.user.t
	t.Helper()
	ids := f.create("still", spec{name: "server", image: nginx, address: "10.30.3.1"},
		spec{name: "client", image: curl, cmd: []string{"sleep", "100000"}})
	f.scale(ids["server"], 3)
	f.deploy(ids["client"])
	f.waitRunning(ids["server"], 3, time.Minute)
	f.waitRunning(ids["client"], 1, time.Minute)
	f.check()
	before := f.pids()
	stream := openFlow(t, f.box(ids["client"], 0), "10.30.3.1")
	begin := time.Now()
	f.Cluster.Signal(syscall.SIGSTOP)
	after(begin, 45*time.Second)
	f.Cluster.Signal(syscall.SIGCONT)
	on := time.Now()
	f.WaitWorkers(time.Minute, "w1", "w2")
	figure(t, "the cluster-manager stood still for 45 s; both workers are listed again %s later", time.Since(on).Round(100*time.Millisecond))
	holds(t, "nothing is placed anew", 25*time.Second, func() error { return f.running(ids["server"], 3) })
	stream.close(t)
	f.unchanged(before)
	f.notMore(before)
}
