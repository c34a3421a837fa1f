package assign_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/events"
)

// found lists the messages of OrphanFound that are kept of a cluster, each as
// often as it was told.
func (r *rig) found(a *fake) (out []string) {
	for _, e := range r.told.List(events.Cluster, a.id) {
		if e.Reason == "OrphanFound" {
			for range e.Count {
				out = append(out, e.Message)
			}
		}
	}
	return out
}

// A container without a record is told of once: not with every report, not
// when its cluster manager starts again, and not when this root ends it itself.
func TestAnOrphanIsToldOfOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		grant := r.instance(svc.ID, 0).Grant
		r.undeploy(svc.ID, 0)
		original := &linkv1.Orphan{NodeId: "w1", ServiceName: "x.y.z.w", Number: 2}
		ours := &linkv1.Orphan{NodeId: "w1", ServiceId: string(svc.ID), ServiceName: svc.Name.String(), Number: 0, Grant: uint64(grant), Try: 1}
		tell := func(list ...*linkv1.Orphan) {
			a.set(func(f *fake) { f.lost = list })
			a.tell(func(f *fake) *linkv1.Up { return f.report(true) })
		}
		tell(original, ours)
		pass(seconds(5))
		if got := r.found(a); len(got) != 0 {
			t.Errorf("told at once: %q", got)
		}
		for range 4 {
			tell(original)
			pass(seconds(10))
		}
		tell()
		pass(seconds(20)) // its cluster manager starts again
		// The cluster has found out whose it was, and forgets it again.
		named := &linkv1.Orphan{NodeId: "w1", ServiceId: "abc", ServiceName: "x.y.z.w", Number: 2}
		tell(named)
		pass(time.Minute)
		if got := r.found(a); len(got) != 1 || !strings.Contains(got[0], "x.y.z.w/2") {
			t.Errorf("told of %q", got)
		}
		if l := r.desk.Unknown(); len(l) != 1 || time.Since(l[0].Since) < 55*time.Second || time.Since(l[0].Since) > time.Minute {
			t.Errorf("%+v", l)
		}
		tell()
		pass(20 * time.Minute)
		tell(original)
		pass(time.Minute)
		if got := r.found(a); len(got) != 2 {
			t.Errorf("when it is there again: %q", got)
		}
	})
}

// What a cluster runs under an order that nobody but it remembers ends with a
// tombstone, sent until nothing is left; not when it is about something else by
// now, and nobody else's.
func TestWhatOnlyAClusterRemembersIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		forgotten := &linkv1.Assignment{ServiceId: "feedfeedfeedfeedfeedfeed", Number: 3, Grant: uint64(instance.MakeGrant(1, 9)), Spec: &linkv1.ServiceSpec{}}
		a.set(func(f *fake) {
			f.held[key(forgotten.ServiceId, 3)], f.runs[key(forgotten.ServiceId, 3)] = forgotten, true
		})
		a.tell(func(f *fake) *linkv1.Up { return f.report(true) })
		pass(seconds(15))
		list := r.desk.Unknown()
		if len(list) != 1 || !list[0].Held || len(r.found(a)) != 1 {
			t.Fatalf("%+v, told of %q", list, r.found(a))
		}
		u := list[0]
		end := func(u control.UnknownView, class error) {
			t.Helper()
			if err := r.desk.EndHeld(t.Context(), u); !errors.Is(err, class) {
				t.Errorf("%v, want %v", err, class)
			}
		}
		stale := u
		stale.Epoch.Try++
		end(stale, errs.Conflict)
		wanted := u
		wanted.Instance = model.InstanceID{Service: svc.ID}
		end(wanted, errs.Conflict)
		elsewhere := u
		elsewhere.Cluster = "c9"
		end(elsewhere, errs.NotFound)
		pass(seconds(10))
		if n := len(a.tombstones()); n != 0 {
			t.Fatalf("%d tombstones", n)
		}
		a.set(func(f *fake) { f.mute = true }) // it loses the first
		end(u, nil)
		pass(seconds(5))
		a.set(func(f *fake) { f.mute = false })
		pass(seconds(5))
		if a.executes(u.Instance.Service, 3) || !a.executes(svc.ID, 0) || len(r.desk.Unknown()) != 0 {
			t.Errorf("it is still there, or the other one is gone: %+v", r.desk.Unknown())
		}
		sent := len(a.orders())
		pass(time.Minute)
		if again := len(a.orders()); again != sent {
			t.Errorf("%d orders after it was gone", again-sent)
		}
		a.leave()
		pass(time.Minute)
		end(u, errs.NotFound)
	})
}
