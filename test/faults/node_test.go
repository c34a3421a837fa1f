package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/test/site"
)

const lostAfter = 10 * time.Second // what a cluster-manager without flags has

// TestNodePartition is F2: a worker is cut off for lost_after and a minute,
// then returns with the containers that were replaced meanwhile.
func TestNodePartition(t *testing.T) {
	long(t)
	f := startField(t)
	ids := f.create("pair", spec{name: "server", image: nginx, address: "10.30.1.1"},
		spec{name: "client", image: curl, cmd: []string{"sleep", "100000"}})
	f.deploy(ids["client"])
	f.waitRunning(ids["client"], 1, time.Minute)
	client := f.box(ids["client"], 0)
	f.scale(ids["server"], 4)
	f.waitRunning(ids["server"], 4, time.Minute)
	f.check()
	away := "w1"
	if client.Worker == "w1" {
		away = "w2"
	}
	names := f.hostNames(ids["server"])
	lost := 0
	for c := range names {
		if c.Worker == away {
			lost++
		}
	}
	if lost == 0 || lost == 4 {
		t.Fatalf("all servers are on one worker: %v", names)
	}
	before := f.pids()
	stream := visitAgain(t, client, "10.30.1.1")
	eventually(t, "all four answer", 20*time.Second, func() error { return answeredBy(stream.since(time.Time{}), slices.Collect(maps.Values(names))) })

	down := f.cut(away)
	eventually(t, "the replacements run", time.Minute, func() error { return f.runningOn(ids["server"], client.Worker, 4) })
	promise(t, fmt.Sprintf("from the cut to %d replacements RUNNING", lost), time.Since(down), lostAfter+5*time.Second)
	after(down, lostAfter+60*time.Second)
	all, failed, last := stream.failures(down)
	stream.say(t, down)
	figure(t, "while the worker was away %d of %d requests failed, the last %s after the cut", failed, all, last.Round(10*time.Millisecond))

	up := f.heal(away)
	took := eventually(t, "exactly the wanted containers live", time.Minute, func() error { return f.exactly(ids["server"], 4) })
	promise(t, "from the return to exactly the wanted containers", took, 5*time.Second)
	after(up, 20*time.Second)
	// One that was stopped cannot answer: a request that goes to it fails.
	all, failed, last = stream.failures(up)
	promise(t, fmt.Sprintf("%d of %d requests failed after the return, the last of them after it", failed, all), last, 2*time.Second)
	f.check()
	for group, pid := range before { // what ran on the other side was never touched
		if strings.HasPrefix(group, client.Worker+"/") && f.pids()[group] != pid {
			t.Errorf("container %s was restarted", group)
		}
	}
}

// hostNames of the containers of a service, as nginx says them.
func (f *field) hostNames(service string) map[site.Container]string {
	f.user.t.Helper()
	out := map[site.Container]string{}
	for _, c := range f.Containers() {
		if id, _, _, _ := c.Attempt(); id == service {
			who, err := visitOnce(f.user.t.Context(), c, "127.0.0.1")
			f.fatal(err)
			out[c] = who
		}
	}
	return out
}

func answeredBy(list []visit, names []string) error {
	seen := map[string]bool{}
	for _, v := range list {
		seen[v.who] = true
	}
	for _, n := range names {
		if !seen[n] {
			return fmt.Errorf("no answer of %s, only of %v", n, slices.Sorted(maps.Keys(seen)))
		}
	}
	return nil
}

// runningOn says why not n instances of a service are listed as running on a
// worker.
func (f *field) runningOn(service, worker string, n int) error {
	s, err := f.service(service)
	if err != nil {
		return err
	}
	run := 0
	for _, i := range s.Instances {
		if i.Status == "RUNNING" && i.Worker == worker {
			run++
		}
	}
	if run != n {
		return fmt.Errorf("%d of %d: %+v", run, n, s.Instances)
	}
	return nil
}

// exactly says why a service has not n live containers with distinct numbers.
func (f *field) exactly(service string, n int) error {
	numbers, all := map[int]bool{}, 0
	for _, c := range f.Containers() {
		if id, number, _, _ := c.Attempt(); id == service {
			numbers[number] = true
			all++
		}
	}
	if all != n || len(numbers) != n {
		return fmt.Errorf("%d containers of %d instances, want %d", all, len(numbers), n)
	}
	return nil
}

// TestFlappingNode is F3: five seconds down, five seconds up. In short form
// (without OAK_TEST_LONG it is part of TestShort) twice, else ten.
func TestFlappingNode(t *testing.T) {
	long(t)
	f := startField(t)
	f.flap(10)
}

func (f *field) flap(times int) {
	t := f.user.t
	t.Helper()
	ids := f.create("flap", spec{name: "server", image: nginx, address: "10.30.2.1"})
	f.scale(ids["server"], 4)
	f.waitRunning(ids["server"], 4, time.Minute)
	f.check()
	before := f.pids()
	begin := time.Now()
	for i := range times {
		f.cut("w2")
		after(begin, time.Duration(2*i+1)*5*time.Second)
		f.heal("w2")
		if i+1 < times {
			after(begin, time.Duration(2*i+2)*5*time.Second)
		}
	}
	figure(t, "%d times 5 s down, 5 s up", times)
	holds(t, "no instance is placed anew", lostAfter, func() error {
		s, err := f.service(ids["server"])
		if err != nil {
			return err
		}
		for _, i := range s.Instances {
			if i.Status != "RUNNING" {
				return fmt.Errorf("%+v", i)
			}
		}
		return nil
	})
	f.unchanged(before)
	f.notMore(before)
	for _, e := range f.Events("/api/nodes/w2") {
		if strings.Contains(e.Message+e.Reason, "lost") {
			t.Errorf("the worker was taken for lost: %+v", e)
		}
	}
	f.check()
}

// TestPowerOff is F5: a worker loses its power and boots while its cluster
// cannot be reached.
func TestPowerOff(t *testing.T) {
	long(t)
	f := startField(t)
	ids := f.create("many", spec{name: "server", image: nginx, address: "10.30.1.1"},
		spec{name: "client", image: curl, cmd: []string{"sleep", "100000"}})
	f.scale(ids["server"], 10)
	f.scale(ids["client"], 2)
	f.waitRunning(ids["server"], 10, time.Minute)
	f.waitRunning(ids["client"], 2, time.Minute)
	f.check()
	wanted := idsOn(f, "w2")
	if len(wanted) < 4 {
		t.Fatalf("only %v are on w2", wanted)
	}
	other := idsOn(f, "w1")
	before := f.pids()

	f.PowerOff("w2")
	f.Cut("site")
	if left := idsOn(f, "w2"); len(left) > 0 {
		t.Fatalf("without power there are still %v", left)
	}
	on := time.Now()
	f.PowerOn("w2")
	eventually(t, "the worker runs what it should, without its cluster", time.Minute, func() error {
		if got := idsOn(f, "w2"); !slices.Equal(got, wanted) {
			return fmt.Errorf("%d of %d", len(got), len(wanted))
		}
		for _, c := range site.ContainersOf("w2") {
			if id, _, _, _ := c.Attempt(); id != ids["server"] {
				continue
			}
			if _, err := visitOnce(t.Context(), c, "127.0.0.1"); err != nil {
				return err
			}
		}
		return nil
	})
	promise(t, fmt.Sprintf("from power on to all %d containers running and nginx answering, cluster unreachable", len(wanted)), time.Since(on), 15*time.Second)
	after(on, 30*time.Second)
	up := f.heal("site")
	f.WaitWorkers(time.Minute, "w1", "w2")
	f.waitRunning(ids["server"], 10, time.Minute)
	f.waitRunning(ids["client"], 2, time.Minute)
	promise(t, "from the cluster's return to all instances RUNNING under the same node ids", time.Since(up), 15*time.Second)
	f.check()
	if got := idsOn(f, "w1"); !slices.Equal(got, other) {
		t.Errorf("w1 had %v and has %v", other, got)
	}
	if got := idsOn(f, "w2"); !slices.Equal(got, wanted) {
		t.Errorf("w2 had %v and has %v", wanted, got)
	}
	for group, pid := range before {
		if strings.HasPrefix(group, "w1/") && f.pids()[group] != pid {
			t.Errorf("container %s was restarted", group)
		}
	}
	nodes, err := f.Nodes()
	f.fatal(err)
	if len(nodes) != 2 {
		t.Errorf("nodes are %v, want w1 and w2", slices.Sorted(maps.Keys(nodes)))
	}
	figure(t, "node ids after the return: %v", slices.Sorted(maps.Keys(nodes)))
}

// idsOn are the ids, with epochs, of the containers that live on a worker.
func idsOn(f *field, worker string) []string {
	var list []string
	for _, c := range site.ContainersOf(worker) {
		list = append(list, c.ID())
	}
	slices.Sort(list)
	return list
}
