package netmanager

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/netmanager/local"
)

// told checks what the cluster was told of containers, in order: whether
// nothing listens in them.
func (r *rig) told(when string, want ...bool) {
	r.Helper()
	var list []bool
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	for _, m := range r.cluster.sent {
		if m.Deployed != nil {
			list = append(list, m.Deployed.Pending)
		}
	}
	if !slices.Equal(list, want) {
		r.Errorf("%s: told that nothing listens: %v, want %v", when, list, want)
	}
}

func TestAContainerTakesFlowsOnceSomethingListens(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.kernel.with(func() { r.kernel.mute[100], r.kernel.mute[200] = true, true })
		first := r.deploy(request("a.n.s.n", 100)) // answered at once: it can only start then
		second := request("a.n.s.n", 200)
		second.Endpoint.Instance = 1
		r.deploy(second)
		wait(time.Second)
		r.told("deployed", true, true)
		r.kernel.with(func() { r.kernel.mute[100] = false })
		wait(2 * listenEvery)
		r.told("once it listens", true, true, false)
		got, _ := r.kernel.service("10.30.30.30")
		if len(got) != 1 || got[0] != first {
			t.Errorf("flows go to %v, want %s alone", got, first)
		}
		wait(pendingTime)
		r.told("when it never listens", true, true, false, false)
		if got, _ = r.kernel.service("10.30.30.30"); len(got) != 2 {
			t.Errorf("in the end flows go to %v", got)
		}
	})
}

// A NetManager that starts anew goes on waiting; for one that had listened it
// does not begin to: the container may serve.
func TestPendingOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		r := start(t, dir, k)
		r.register()
		r.deploy(request("a.n.s.n", 100))
		k.with(func() { k.mute[100], k.mute[200] = true, true })
		second := request("a.n.s.n", 200)
		second.Endpoint.Instance = 1
		r.deploy(second)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r = start(t, dir, k)
		wait(time.Second)
		if got, _ := k.service("10.30.30.30"); len(got) != 1 {
			t.Errorf("after the restart flows go to %v, want the first alone", got)
		}
		k.with(func() { k.mute[200] = false })
		wait(2 * listenEvery)
		if got, _ := k.service("10.30.30.30"); len(got) != 2 {
			t.Errorf("once both listen flows go to %v", got)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A container that goes while nothing listens in it is not waited for.
func TestARemovedContainerIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register()
		r.kernel.with(func() { r.kernel.mute[100] = true })
		r.deploy(request("a.n.s.n", 100))
		if err := r.daemon.Undeploy(t.Context(), local.Removal{Name: "a.n.s.n"}); err != nil {
			t.Fatal(err)
		}
		wait(2 * pendingTime)
		r.told("deployed", true)
	})
}
