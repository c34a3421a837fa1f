package faults

import (
	"maps"
	"slices"
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

// relogin is for a root whose users are new.
func (f *field) relogin() {
	f.login()
	f.Login()
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

// cut takes a machine off the switch until heal, and says when.
func (f *field) cut(host string) time.Time {
	f.user.t.Helper()
	f.Cut(host)
	return time.Now()
}

func (f *field) heal(host string) time.Time {
	f.user.t.Helper()
	f.Heal(host)
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

// check looks whether API, containers, network and containerd agree, once they
// had a moment to; see site.Check.
func (f *field) check() {
	f.user.t.Helper()
	took := eventually(f.user.t, "API, containers, network and containerd agree", 30*time.Second, f.Check)
	figure(f.user.t, "invariants I1, I2, I5, I8 hold (after %s)", took.Round(10*time.Millisecond))
}

// box is the container of an instance of a service.
func (f *field) box(id string, number int) site.Container {
	f.user.t.Helper()
	c, err := f.Container(id, number)
	f.fatal(err)
	return c
}
