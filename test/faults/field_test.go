package faults

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakestra/test/site"
)

// field is a site with two workers that run real containers, and a user who
// works on the root's own machine, so that cutting that machine off does not
// cut him off.
type field struct {
	*site.Site
	*user
}

func startField(t *testing.T) *field {
	t.Helper()
	f := &field{Site: site.Start(t)}
	f.user = newUser(t, f.Lab.Host("root"), f.Lab.Host("root").Addr)
	f.login()
	return f
}

// step runs a part of a longer test; the first failure ends it all.
func (f *field) step(t *testing.T, name string, do func()) {
	t.Helper()
	ok := t.Run(name, func(t *testing.T) {
		f.Site.T, f.user.t = t, t
		do()
		f.check()
	})
	if f.Site.T, f.user.t = t, t; !ok {
		t.FailNow()
	}
}

func (f *field) fatal(err error) {
	f.user.t.Helper()
	if err != nil {
		f.user.t.Fatal(err)
	}
}

// cut takes a machine off the switch until heal.
func (f *field) cut(host string) time.Time {
	f.user.t.Helper()
	f.fatal(f.Lab.Host(host).Down())
	return time.Now()
}

func (f *field) heal(host string) time.Time {
	f.user.t.Helper()
	f.fatal(f.Lab.Host(host).Up())
	return time.Now()
}

// pids of all containers by what they are: worker, service, number, epoch.
func (f *field) pids() map[string]int {
	out := map[string]int{}
	for _, c := range f.Containers() {
		out[c.Group] = c.Pid
	}
	return out
}

// unchanged fails when a container of before is gone or another process.
func (f *field) unchanged(before map[string]int) {
	f.user.t.Helper()
	now := f.pids()
	restarts := 0
	for _, group := range slices.Sorted(maps.Keys(before)) {
		if now[group] != before[group] {
			restarts++
			f.user.t.Errorf("container %s had process %d and has %d", group, before[group], now[group])
		}
	}
	figure(f.user.t, "containers restarted or stopped: %d of %d", restarts, len(before))
}

// notMore fails when there are containers that were not there before.
func (f *field) notMore(before map[string]int) {
	f.user.t.Helper()
	for group, pid := range f.pids() {
		if before[group] == 0 {
			f.user.t.Errorf("container %s (process %d) is one more", group, pid)
		}
	}
}

var containerName = regexp.MustCompile(`^([^/]+)/([0-9a-f]{24})-([0-9]+)-([0-9a-f]+)-([0-9]+)`)

// check looks whether API, containers, network and containerd agree, once they
// had a moment to.
func (f *field) check() {
	f.user.t.Helper()
	took := eventually(f.user.t, "API, containers, network and containerd agree", 30*time.Second, f.disagreement)
	figure(f.user.t, "invariants I1, I2, I5, I8 hold (after %s)", took.Round(10*time.Millisecond))
}

// disagreement is I1: wanted are exactly the containers that live, each once;
// I2: each is where its record says; I5: one veth per container; I8: containerd
// has them and nothing else.
func (f *field) disagreement() error {
	var services []site.Service
	if _, err := f.do("GET", "/api/services/", nil, &services); err != nil {
		return err
	}
	wanted := map[string]string{} // slot -> worker
	for _, s := range services {
		for _, i := range s.Instances {
			slot := fmt.Sprintf("%s-%d", s.ID, i.Number)
			if _, twice := wanted[slot]; twice {
				return fmt.Errorf("slot %s is listed twice", slot)
			}
			if i.Status != "RUNNING" {
				return fmt.Errorf("slot %s is %s: %s", slot, i.Status, i.Detail)
			}
			wanted[slot] = i.Worker
		}
	}
	on := map[string]int{}
	for _, c := range f.Containers() {
		m := containerName.FindStringSubmatch(c.Group)
		if m == nil {
			return fmt.Errorf("container %s has a strange name", c.Group)
		}
		slot := m[2] + "-" + m[3]
		worker, ok := wanted[slot]
		if !ok {
			return fmt.Errorf("nobody wants %s, or it lives twice", c.Group)
		}
		if worker != m[1] {
			return fmt.Errorf("%s should be on %s", c.Group, worker)
		}
		delete(wanted, slot)
		on[worker]++
	}
	if len(wanted) > 0 {
		return fmt.Errorf("no container of %v", wanted)
	}
	for _, w := range site.Workers {
		if err := f.leftOn(w, on[w]); err != nil {
			return err
		}
	}
	return nil
}

// leftOn compares what a worker's kernel and containerd hold with n containers.
func (f *field) leftOn(w string, n int) error {
	links, err := f.Lab.Host(w).Run("ip", "-brief", "link", "show", "type", "veth")
	if err != nil {
		return err
	}
	if got := strings.Count(links, "\n") - 1; got != n { // one is eth0 of the lab
		return fmt.Errorf("%s has %d links of containers, want %d:\n%s", w, got, n, links)
	}
	for _, kind := range [][]string{{"containers", "list", "-q"}, {"tasks", "list", "-q"}} {
		out, err := f.Lab.Host(w).Run("ctr", append([]string{"-a", f.socket(w), "-n", "oakestra"}, kind...)...)
		if err != nil {
			return err
		}
		if got := len(strings.Fields(out)); got != n {
			return fmt.Errorf("containerd of %s lists %d %s, want %d:\n%s", w, got, kind[0], n, out)
		}
	}
	out, err := f.Lab.Host(w).Run("ctr", "-a", f.socket(w), "-n", "oakestra", "snapshots", "list")
	if err != nil {
		return err
	}
	if got := strings.Count(out, "Active"); got != n {
		return fmt.Errorf("containerd of %s has %d snapshots in use, want %d:\n%s", w, got, n, out)
	}
	return nil
}

// socket of a worker's private containerd.
func (f *field) socket(w string) string { return f.runDir(w) + "/c.sock" }

func (f *field) runDir(w string) string {
	sum := sha256.Sum256([]byte(f.Lab.Path(w, "node")))
	return fmt.Sprintf("/run/oakestra/%x", sum[:6])
}

// box is the only container of a service.
func (f *field) box(id string, number int) site.Container {
	f.user.t.Helper()
	c, err := f.Container(id, number)
	f.fatal(err)
	return c
}

func namespaceOf(c site.Container) string { return "/proc/" + strconv.Itoa(c.Pid) + "/ns/net" }
