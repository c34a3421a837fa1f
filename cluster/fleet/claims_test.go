package fleet

import (
	"context"
	"slices"
	"testing"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// claimed is a slot in one of the situations of TestClaims.
type claimed func(s *slot)

func placedOn(node model.NodeID) claimed {
	return func(s *slot) {
		s.Placement = instance.Placement{Try: 1, Node: node, Verdict: instance.Placed}
	}
}

func and(list ...claimed) claimed {
	return func(s *slot) {
		for _, f := range list {
			f(s)
		}
	}
}

func sent(s *slot)   { s.DeployAt = time.Unix(1, 0) }
func loaded(s *slot) { s.Loaded = true }
func buried(s *slot) { s.Tombstone = true }
func runs(s *slot)   { s.Observed.State = instance.Running }
func once(s *slot)   { s.Service.Spec.OneShot, s.Observed.State = true, instance.Completed }
func carries(s *slot) {
	s.Carried = instance.Epoch{Grant: s.Grant, Try: 1}
}
func had(s *slot) {
	s.Old = append(s.Old, store.Old{Epoch: instance.Epoch{Grant: s.Grant, Try: 1}, Node: "w"})
}
func deletes(s *slot) {
	for _, o := range s.Old {
		s.DeletedAt[o] = time.Unix(1, 0)
	}
}

// TestClaims: what one slot of a name means to another one, of a later grant, on
// an original worker w.
func TestClaims(t *testing.T) {
	on := placedOn("w")
	for _, v := range []struct {
		name string
		a, b claimed
		// Of b, which is placed on w in the columns that say so.
		taken, stays, leaves bool
		// Of b, as if it had no place: w is out of the question, or avoided.
		out, avoided bool
		means        string // what the worker says is about
	}{
		{name: "a has nothing to do with it", a: placedOn("x"), b: on, leaves: true, means: "b"},
		{name: "a is elsewhere, and runs", a: and(placedOn("x"), sent, runs), b: and(on, sent), means: "b"},
		{name: "a comes first", a: on, b: on, taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a was not sent, b was", a: on, b: and(on, sent), out: true, means: "b"},
		{name: "a was sent", a: and(on, sent), b: on, taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a runs", a: and(on, sent, runs), b: on, taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a runs, and the manager has started again", a: and(on, loaded, runs), b: and(on, loaded), taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "nothing is known of either", a: and(on, loaded), b: and(on, loaded), taken: true, out: true, means: "a"},
		{name: "b was taken up again there", a: and(on, loaded), b: and(on, loaded, carries), out: true, means: "b"},
		{name: "a is being removed", a: and(on, sent, runs, buried), b: on, taken: true, leaves: true, avoided: true, means: "a"},
		{name: "a is being removed and was not sent", a: and(on, buried), b: on, taken: true, leaves: true, avoided: true, means: "a"},
		{name: "a was removed", a: and(had, buried), b: on, taken: true, leaves: true, avoided: true, means: "a"},
		{name: "a was removed, the manager has started again", a: and(had, buried), b: and(on, loaded), taken: true, leaves: true, avoided: true, means: "a"},
		{name: "a keeps an old attempt", a: had, b: on, taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a keeps an old attempt, the manager has started again", a: had, b: and(on, loaded), taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a has given up an old attempt", a: and(had, deletes, placedOn("x"), sent, runs), b: on, taken: true, leaves: true, avoided: true, means: "a"},
		{name: "a waits for its own old attempt", a: and(had, deletes, on), b: on, taken: true, stays: true, leaves: true, out: true, means: "a"},
		{name: "a is done", a: and(on, sent, once), b: on, leaves: true, means: "b"},
		{name: "a is done, b runs", a: and(on, sent, once), b: and(on, sent, runs), means: "b"},
		{name: "b is done", a: and(on, sent, runs), b: and(on, sent, once), taken: true, stays: true, leaves: true, out: true, means: "a"},
	} {
		c := claimsCore(t)
		ids := map[model.ServiceID]string{first.Instance.Service: "a", second.Instance.Service: "b"}
		a, b := c.slots[first.Instance], c.slots[second.Instance]
		v.a(a)
		v.b(b)
		c.where.move(a)
		c.where.move(b)
		n := c.nodes["w"]
		if taken, stays := c.taken(b); taken != v.taken || stays != v.stays {
			t.Errorf("%s: taken %v, stays %v", v.name, taken, stays)
		}
		if got := c.leftNothing(b); got != v.leaves {
			t.Errorf("%s: b has left nothing: %v", v.name, got)
		}
		id, _ := c.meant(n, first.Service.Name.String(), 0)
		if ids[id] != v.means {
			t.Errorf("%s: the worker means %q", v.name, ids[id])
		}
		b.Placement, b.Old = instance.Placement{}, nil
		c.where.move(b)
		r := c.onto(b)
		if out, avoided := slices.Contains(r.Taken, "w"), slices.Contains(r.Avoid, "w"); out != v.out || avoided != v.avoided {
			t.Errorf("%s: out %v, avoided %v", v.name, out, avoided)
		}
		n.Original, c.nodes["x"].Original = false, false // ours tell them apart
		b.Placement = instance.Placement{Try: 1, Node: "w", Verdict: instance.Placed}
		taken, stays := c.taken(b)
		if r := c.onto(b); taken || stays || c.leftNothing(b) || len(r.Taken)+len(r.Avoid) > 0 {
			t.Errorf("%s: a worker of ours: %v %v %+v", v.name, taken, stays, r)
		}
	}
}

// claimsCore has two slots of one name and two original workers.
func claimsCore(t *testing.T) *core {
	t.Helper()
	f := New(Config{}, Deps{Book: newBook(), Network: quiet{}, Root: &above{facts: map[model.InstanceID]Facts{}}})
	var st store.State
	for _, id := range []model.NodeID{"w", "x"} {
		st.Nodes = append(st.Nodes, store.Node{Node: model.Node{ID: id, Host: string(id)}, Original: true})
	}
	for _, a := range []Assignment{first, second} {
		st.Slots = append(st.Slots, store.Slot{Instance: a.Instance, Grant: a.Grant, Service: a.Service})
	}
	f.deps.Link = (&world{}) // nothing is sent
	c := newCore(context.Background(), f, st)
	for _, s := range c.slots {
		s.Loaded = false
	}
	return c
}

// What has to give way is placed anew, what has to wait is not sent.
func TestWhatATakenNameMeans(t *testing.T) {
	now := time.Unix(1000, 0)
	w := Want{Slot: store.Slot{Instance: second.Instance, Grant: 9, Service: second.Service, Placement: instance.Placement{Try: 1, Node: "w", Verdict: instance.Placed}}}
	for _, v := range []struct {
		taken, stays bool
		want         Kind
	}{{false, false, Deploy}, {true, true, Retry}, {true, false, 0}} {
		h := Have{Nodes: map[model.NodeID]NodeHave{"w": {Liveness: instance.Alive, CompleteAt: now, Original: true}}, Synced: true, Taken: v.taken, Stays: v.stays}
		acts, again := Plan(w, h, now)
		if v.want == 0 && (len(acts) != 0 || !again.After(now)) || v.want != 0 && (len(acts) != 1 || acts[0].Kind != v.want) {
			t.Errorf("taken %v, stays %v: %v, again at %v", v.taken, v.stays, acts, again)
		}
	}
}
