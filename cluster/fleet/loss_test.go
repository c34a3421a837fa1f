package fleet

import (
	"fmt"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// judge over a table: who was heard when, and what that means now.
func TestWhatSilenceMeans(t *testing.T) {
	c := Config{}.withDefaults()
	now := time.Unix(10_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const s, m = time.Second, time.Minute
	for _, v := range []struct {
		name string
		w    witness
		want instance.Liveness
	}{
		{"never heard, just started", witness{Base: ago(s)}, instance.Unseen},
		{"never heard for half the time", witness{Base: ago(5 * s)}, instance.Suspect},
		{"never heard for all of it", witness{Base: ago(10 * s)}, instance.Lost},
		{"heard now", witness{Engine: now, Base: ago(m)}, instance.Alive},
		{"silent for 5 s", witness{Engine: ago(5 * s)}, instance.Suspect},
		{"silent for a moment less than 10 s", witness{Engine: ago(10*s - time.Millisecond)}, instance.Suspect},
		{"silent for 10 s", witness{Engine: ago(10 * s)}, instance.Lost},
		{"only NodeEngine is silent", witness{Engine: ago(4 * m), Net: now, Networked: true}, instance.Alive},
		{"only NodeEngine is silent, for 5 min", witness{Engine: ago(5 * m), Net: now, Networked: true}, instance.Lost},
		{"only NetManager is silent", witness{Engine: now, Net: ago(m), Networked: true}, instance.Alive},
		{"both are silent", witness{Engine: ago(m), Net: ago(10 * s), Networked: true}, instance.Lost},
		{"silent, but we were not listening", witness{Engine: ago(m), Base: ago(s)}, instance.Alive},
	} {
		got, again := judge(v.w, c, now)
		if got != v.want {
			t.Errorf("%s: %d, want %d", v.name, got, v.want)
		}
		if got != instance.Lost && !again.After(now) {
			t.Errorf("%s: looks again at %s", v.name, again.Sub(now))
		}
	}
}

func TestTheBrake(t *testing.T) {
	for _, c := range []struct {
		lost, all int
		want      bool
	}{{1, 1, false}, {3, 3, false}, {3, 4, false}, {4, 4, true}, {4, 10, true}, {4, 13, true}, {4, 14, false}, {5, 14, true}, {30, 100, false}, {31, 100, true}} {
		if got := brake(c.lost, c.all); got != c.want {
			t.Errorf("%d of %d lost: %v", c.lost, c.all, got)
		}
	}
}

// many gives the cluster one small slot for each worker, more if n is larger.
func (r *rig) many(n int) {
	r.t.Helper()
	var all []Assignment
	for i := range n {
		a := order(model.InstanceID{Service: slotID.Service, Number: i}, 7, "x")
		a.Service.Spec.Demand = model.Resources{MilliCPU: 100, MemoryMB: 100}
		all = append(all, a)
	}
	if err := r.f.Desired(r.ctx, Desired{Snapshot: true, Revision: 1, Changed: all}); err != nil {
		r.t.Fatal(err)
	}
}

// paused makes five of six workers silent at once, and says how many attempts
// were started before anything was replaced.
func paused(t *testing.T) (r *rig, before int) {
	var hosts []string
	for i := range 6 {
		hosts = append(hosts, fmt.Sprintf("w%d", i))
	}
	r = newRig(t, hosts...)
	r.many(6)
	elapse(10*time.Second + 500*time.Millisecond)
	_, before = r.total()
	for _, h := range hosts[:5] {
		r.nodes[h].link.Disconnect()
	}
	elapse(time.Minute)
	if _, n := r.total(); n != before || r.root.noted("brake") != 1 {
		t.Fatalf("%d were started (had %d), the brake was noted %d times", n, before, r.root.noted("brake"))
	}
	if left := time.Until(r.root.sums().PausedUntil); left < 3*time.Minute || left > 5*time.Minute {
		t.Errorf("the root was told that the pause goes on for %s", left)
	}
	return r, before
}

// goesOn checks that the root was told that the pause is over.
func (r *rig) goesOn() {
	r.t.Helper()
	if at := r.root.sums().PausedUntil; !at.IsZero() {
		r.t.Errorf("the root thinks that nothing is replaced until %s", at)
	}
}

func TestThePauseOfReplacement(t *testing.T) {
	t.Run("ends by itself after five minutes", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, before := paused(t)
			elapse(4 * time.Minute)
			if _, n := r.total(); n != before {
				t.Fatalf("%d were started too early", n-before)
			}
			elapse(30 * time.Second)
			if _, n := r.total(); n != before+5 || r.root.noted("brake-over") != 1 {
				t.Errorf("%d were replaced, the end was noted %d times", n-before, r.root.noted("brake-over"))
			}
			r.goesOn()
		})
	})
	t.Run("ends when it is confirmed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, before := paused(t)
			if got := r.ordered("", ConfirmLoss).Said; got != "replacement goes on" {
				t.Errorf("it says %q", got)
			}
			elapse(10 * time.Second)
			if _, n := r.total(); n != before+5 {
				t.Errorf("%d were replaced", n-before)
			}
			if got := r.ordered("", ConfirmLoss).Said; got != "nothing was paused" { // twice is once
				t.Errorf("a second time it says %q", got)
			}
			if r.root.noted("brake-over") != 1 {
				t.Errorf("the end was noted %d times", r.root.noted("brake-over"))
			}
			r.goesOn()
		})
	})
	t.Run("holds nothing up that returns", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, before := paused(t)
			for _, w := range r.nodes {
				w.link.Connect()
			}
			elapse(10 * time.Minute)
			if running, n := r.total(); n != before || running != 6 {
				t.Errorf("%d run, %d were started again", running, n-before)
			}
			r.goesOn()
		})
	})
	t.Run("the removal of a worker replaces what it had", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, before := paused(t)
			r.order("w0", Remove)
			elapse(10 * time.Second)
			if _, n := r.total(); n != before+1 {
				t.Errorf("%d were replaced", n-before)
			}
		})
	})
	t.Run("three of four are replaced at once", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "w0", "w1", "w2", "w3")
			r.many(4)
			elapse(10*time.Second + 500*time.Millisecond)
			_, before := r.total()
			for _, h := range []string{"w0", "w1", "w2"} {
				r.nodes[h].link.Disconnect()
			}
			elapse(30 * time.Second)
			if _, n := r.total(); n != before+3 || r.root.noted("brake") != 0 {
				t.Errorf("%d were replaced, brake %d", n-before, r.root.noted("brake"))
			}
		})
	})
}

// NodeEngine alone is silent: its instances are not replaced for five minutes.
func TestANodeWithASilentAgentIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		for _, h := range []string{"w1", "w2"} {
			in := registration(h)
			in.Network = true
			r.admit(in)
		}
		r.desire(false)
		elapse(10 * time.Second)
		at := r.where()
		w := r.nodes[at]
		w.silence(true)
		stop := make(chan struct{})
		go func() { // its NetManager goes on
			for seq := uint64(1); ; seq++ {
				w.link.Send(nodelink.Inbound{Net: &nodelink.NetReport{Boot: "n", Seq: seq}})
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Second):
				}
			}
		}()
		elapse(4*time.Minute + 50*time.Second)
		r.wantTotal(1, 1)
		elapse(20 * time.Second)
		r.wantTotal(2, 2)
		w.silence(false)
		elapse(20 * time.Second)
		r.wantTotal(1, 2)
		close(stop)
	})
}

// A worker that is forgotten leaves nothing reserved: as much fits as before.
func TestRemovalFreesWhatWasReserved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.give(7, "v1") // all of the worker
		elapse(10 * time.Second)
		r.nodes["w1"].link.Disconnect()
		elapse(20 * time.Second)
		r.order("w1", Remove)
		elapse(time.Second)
		if f := r.root.get(slotID); f.Placement.Verdict != instance.Refused {
			t.Fatalf("%+v", f)
		}
		// The same worker joins again, empty.
		r.nodes["w1"].becomesEmpty()
		r.register(registration("w1"))
		r.nodes["w1"].link.Connect()
		elapse(20 * time.Second)
		if f := r.root.get(slotID); f.Observed.State != instance.Running || f.Placement.Node != "w1" {
			t.Errorf("%+v", f)
		}
		if s, _ := r.f.Snapshot(r.ctx); len(s.Nodes) != 1 || s.Nodes[0].Reserved.MilliCPU != 4000 {
			t.Errorf("%+v", s.Nodes)
		}
	})
}

// The same worker registers again, whatever happened to agent and manager: it
// is the same record, and what it runs goes on.
func TestRegisteringAgainIsTheSameWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		r.desire(false)
		elapse(10 * time.Second)
		r.order("w1", Cordon)
		for boot := range 3 {
			in := registration("w1")
			in.Boot = fmt.Sprint(boot)
			if boot == 2 {
				r.stop()
				elapse(time.Minute)
				r.start()
			}
			if id := r.register(in); id != "w1" {
				t.Fatalf("it is %q", id)
			}
			elapse(20 * time.Second)
			r.wantTotal(1, 1)
		}
		if n := r.book.nodes; len(n) != 1 || !n["w1"].Cordoned {
			t.Errorf("%+v", n)
		}
	})
}

// The worker knows an attempt by the epoch it was started under.
func TestStartedIsTheEpochOfTheContainer(t *testing.T) {
	s := store.Slot{Grant: 7, Placement: instance.Placement{Try: 3}}
	if s.Started() != s.Epoch() {
		t.Error("an attempt of its own")
	}
	s.Carried = instance.Epoch{Grant: 7, Try: 1}
	if s.Started() != s.Carried || s.Attempt().Epoch.Try != 3 {
		t.Errorf("%+v", s)
	}
}
