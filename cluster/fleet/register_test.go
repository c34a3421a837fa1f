package fleet

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func anOriginal(host, address, machine string) Registration {
	r := registration(host)
	r.Key, r.Machine, r.Address = "", machine, netip.MustParseAddr(address)
	return r
}

func (r *rig) register(in Registration) string {
	r.t.Helper()
	id, err := r.f.Register(r.ctx, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(id)
}

// speak keeps the agent of a node heard for a time.
func (r *rig) speak(id string, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); elapse(time.Second) {
		r.hub.Node(model.NodeID(id)).Send(nodelink.Inbound{Report: &nodelink.NodeReport{Original: true}})
	}
}

// Two machines of one host name never share an id, and each gets its own again.
func TestOriginalsOfOneHostName(t *testing.T) {
	const a, b = "192.0.2.1", "192.0.2.2"
	for _, c := range []struct {
		name   string
		first  Registration // registers as vm
		speaks bool         // and is heard until the second comes
		second Registration
		want   string
	}{
		{"the agent starts again", anOriginal("vm", a, "m1"), true, anOriginal("vm", a, "m1"), "vm"},
		{"the agent starts again, and says nothing of its machine", anOriginal("vm", a, ""), true, anOriginal("vm", a, ""), "vm"},
		{"another machine, both in use", anOriginal("vm", a, "m1"), true, anOriginal("vm", b, "m2"), "vm-2"},
		{"another address, both in use", anOriginal("vm", a, ""), true, anOriginal("vm", b, ""), "vm-2"},
		{"a copy of the disk, both in use", anOriginal("vm", a, "m1"), true, anOriginal("vm", b, "m1"), "vm-2"},
		{"another machine behind the same address, both in use", anOriginal("vm", a, "m1"), true, anOriginal("vm", a, "m2"), "vm-2"},
		{"another machine while the first is off", anOriginal("vm", a, "m1"), false, anOriginal("vm", b, "m2"), "vm-2"},
		{"the machine moved", anOriginal("vm", a, "m1"), false, anOriginal("vm", b, "m1"), "vm"},
		{"the address changed and nothing is said of the machine", anOriginal("vm", a, ""), false, anOriginal("vm", b, ""), "vm"},
		{"a reboot changed what it says of its machine", anOriginal("vm", a, "boot1"), false, anOriginal("vm", a, "boot2"), "vm"},
		{"a worker with a key has the name", registration("vm"), false, anOriginal("vm", a, ""), "vm-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				if id := r.register(c.first); id != "vm" {
					t.Fatalf("the first is %q", id)
				}
				r.speak("vm", time.Minute)
				if !c.speaks {
					elapse(time.Minute)
				}
				if id := r.register(c.second); id != c.want {
					t.Fatalf("the second is %q, want %q", id, c.want)
				}
				if c.want != "vm" { // both come back after everything was off
					r.stop()
					r.start()
					elapse(time.Minute)
					if id := r.register(c.second); id != c.want {
						t.Errorf("the second comes back as %q", id)
					}
					if id := r.register(c.first); id != "vm" {
						t.Errorf("the first comes back as %q", id)
					}
				}
			})
		})
	}
}

// A manager that has just started does not know yet who speaks.
func TestNoIDIsTakenOverRightAfterAStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.register(anOriginal("vm", "192.0.2.1", ""))
		r.stop()
		r.start()
		if id := r.register(anOriginal("vm", "192.0.2.2", "")); id != "vm-2" {
			t.Errorf("it is %q", id)
		}
	})
}

// Ours is known by its key, wherever it is; a copy of a disk is refused while
// the other one speaks.
func TestAKeyIsOneWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		in := registration("vm")
		in.Address, in.Boot = netip.MustParseAddr("192.0.2.1"), "b1"
		r.register(in)
		r.speak("vm", 20*time.Second)
		twin := in
		twin.Address, twin.Boot = netip.MustParseAddr("192.0.2.2"), "b2"
		if _, err := r.f.Register(r.ctx, twin); !errors.Is(err, errs.Conflict) {
			t.Fatalf("a copy of its disk: %v", err)
		}
		if n := r.book.nodes["vm"]; n.Address != in.Address {
			t.Errorf("the copy changed the record: %+v", n)
		}
		again := in
		again.Boot = "b3" // the agent started again
		if id := r.register(again); id != "vm" {
			t.Errorf("it is %q", id)
		}
		elapse(20 * time.Second)
		if id := r.register(twin); id != "vm" { // it was the same machine after all: it moved
			t.Errorf("it is %q", id)
		}
		other := registration("vm")
		other.Key = "another"
		if id := r.register(other); id != "vm-2" {
			t.Errorf("another key is %q", id)
		}
	})
}

// A worker that is removed and registers again before the root was told is in
// its list.
func TestRemovedAndRegisteredAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1", "w2")
		elapse(10 * time.Second)
		r.nodes["w1"].silence(true)
		elapse(15 * time.Second)
		err := r.f.do(r.ctx, func(c *core) {
			if err := c.orderNode("w1", Remove); err != nil {
				t.Error(err)
			}
			if _, err := c.register(registration("w1")); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		elapse(2 * time.Second)
		if _, listed := r.root.node("w1"); !listed {
			t.Error("the root does not list the worker")
		}
		if _, stored := r.book.nodes["w1"]; !stored {
			t.Error("the book does not have the worker")
		}
	})
}

// talker is a NodeEngine that reports for one start until it is ended.
func (r *rig) talker(id, boot string) (end func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	r.wg.Go(func() {
		defer close(done)
		link := r.hub.Node(model.NodeID(id))
		for seq := uint64(1); ; seq++ {
			link.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Boot: boot, Seq: seq, Complete: true}})
			select {
			case <-ctx.Done():
				return
			case <-time.After(1500 * time.Millisecond): // a real one answers a probe, too
			}
		}
	})
	return func() { cancel(); <-done }
}

// Copies of one disk behind one address are two: the second is told so as long
// as the first one answers.
func TestTwoBehindOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		a, b := registration("vm"), registration("vm")
		a.Boot, b.Boot = "b1", "b2"
		a.Address = netip.MustParseAddr("192.0.2.1")
		b.Address = a.Address
		r.register(a)
		// Before it has reported for the first time, too.
		early := make(chan error, 1)
		go func() { _, err := r.f.Register(r.ctx, b); early <- err }()
		synctest.Wait()
		end := r.talker("vm", "b1")
		if err := <-early; !errors.Is(err, errs.Conflict) {
			t.Fatalf("the copy at once: %v", err)
		}
		for range 5 {
			elapse(700 * time.Millisecond)
			start := time.Now()
			if _, err := r.f.Register(r.ctx, b); !errors.Is(err, errs.Conflict) || time.Since(start) > 3*time.Second {
				t.Fatalf("the copy: %v after %s", err, time.Since(start))
			}
		}
		elapse(10 * time.Second)
		if v, _ := r.root.node("vm"); v.Liveness != instance.Alive {
			t.Errorf("the first is %+v", v)
		}
		end()
		elapse(10 * time.Second)
		if id := r.register(b); id != "vm" {
			t.Errorf("it has %q", id)
		}
	})
}

// An agent that is started again keeps its id: at once when it was silent for a
// while or is the same start, else when the start before has not answered for
// 2 s.
func TestAnAgentThatIsStartedAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		boot string
		away time.Duration
		wait time.Duration
	}{
		{"the session was lost", "b1", 100 * time.Millisecond, 0},
		{"quickly", "b2", 300 * time.Millisecond, 2 * time.Second},
		{"slowly", "b2", 8 * time.Second, 0},
	} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			in := registration("vm")
			in.Boot, in.Address = "b1", netip.MustParseAddr("192.0.2.1")
			r.register(in)
			end := r.talker("vm", "b1")
			elapse(9 * time.Second)
			end()
			elapse(c.away)
			in.Boot = c.boot
			start := time.Now()
			if id := r.register(in); id != "vm" || time.Since(start) != c.wait {
				t.Errorf("%s: %q after %s, want it after %s", c.name, id, time.Since(start), c.wait)
			}
			defer r.talker("vm", c.boot)()
			elapse(10 * time.Second)
			if v, _ := r.root.node("vm"); v.Liveness != instance.Alive {
				t.Errorf("%s: it is %+v", c.name, v)
			}
		})
	}
}

// Of two starts that come at once after a third has gone one is the worker.
func TestTwoStartsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		in := registration("vm")
		in.Boot = "b1"
		r.register(in)
		r.talker("vm", "b1")()
		elapse(100 * time.Millisecond) // its last report has come
		won := make(chan string, 2)
		for _, boot := range []string{"b2", "b3"} {
			go func() {
				in := in
				in.Boot = boot
				_, err := r.f.Register(r.ctx, in)
				if err == nil {
					r.talker("vm", boot)
				} else if boot = ""; !errors.Is(err, errs.Conflict) {
					t.Error(err)
				}
				won <- boot
			}()
		}
		if a, b := <-won, <-won; (a == "") == (b == "") {
			t.Errorf("%q and %q have the id", a, b)
		}
	})
}
