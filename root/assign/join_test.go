package assign_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/events"
)

func TestTheSameKeyIsTheSameClusterAcrossRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a := newFake("a").join(r)
		id := a.id
		if len(id) != 24 {
			t.Fatalf("id %q", id)
		}
		a.leave()
		r = r.restart()
		a.join(r)
		if a.id != id {
			t.Errorf("after a restart of the root %s became %s", id, a.id)
		}
		// The cluster forgets its id, even its name, but has its key.
		a.leave().set(func(f *fake) { f.id, f.name = "", "renamed" })
		a.join(r)
		if a.id != id {
			t.Errorf("after a change of its name %s became %s", id, a.id)
		}
		if list := r.book.Clusters(); len(list) != 1 || list[0].Name != "renamed" || !list[0].Active {
			t.Errorf("clusters: %+v", list)
		}
	})
}

func TestANameBelongsToItsKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)

		thief := newFake("a")
		thief.key = "another-key-0123456789"
		refused := func(when string) {
			t.Helper()
			thief.join(r)
			err := thief.why()
			if status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "CLUSTER_NAME") {
				t.Errorf("%s: %v", when, err)
			}
			thief.leave()
		}
		refused("while the cluster is active")
		a.leave()
		pass(seconds(60))
		refused("while the cluster holds an instance")
		a.join(r)
		r.undeploy(svc.ID, 0)
		a.leave()
		pass(seconds(60))
		changed := func() (list []events.Event) {
			return slices.DeleteFunc(r.told.List(events.Cluster, a.id), func(e events.Event) bool { return e.Reason != "KeyChanged" })
		}
		if got := changed(); len(got) != 0 {
			t.Errorf("nobody changed the key, but told: %+v", got)
		}
		if thief.join(r); thief.why() != nil || thief.id != a.id {
			t.Errorf("a cluster that lost its data and holds nothing: %v, id %s", thief.why(), thief.id)
		}
		if got := changed(); len(got) != 1 || got[0].Kind != events.Warning {
			t.Errorf("another key took the name; told: %+v", got)
		}
		if thief.leave().join(r); len(changed()) != 1 || changed()[0].Count != 1 {
			t.Errorf("the same key again: %+v", changed())
		}
	})
}

// A site whose data directory is lost asks with another key. Approved, it is
// the same cluster with the same assignments; the key of before is none.
func TestALostKeyIsApproved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		grant := r.instance(svc.ID, 0).Grant
		approve := func(id string) error { _, err := r.desk.ApproveCluster(t.Context(), model.ClusterID(id)); return err }
		if err := approve(a.id); !errors.Is(err, errs.NotFound) {
			t.Errorf("nobody asks: %v", err)
		}
		again := newFake("a")
		again.key = "another-key-0123456789"
		again.join(r)
		if err := approve(a.id); !errors.Is(err, errs.Conflict) {
			t.Errorf("while it is connected: %v", err)
		}
		again.leave()
		a.leave()
		pass(seconds(60))
		again.join(r)
		if err := again.why(); err == nil || !strings.Contains(err.Error(), "oak cluster approve a") {
			t.Errorf("it does not learn how to be approved: %v", err)
		}
		again.leave()
		if err := approve(a.id); err != nil {
			t.Fatal(err)
		}
		if again.join(r); again.why() != nil || again.id != a.id || !again.executes(svc.ID, 0) {
			t.Fatalf("approved: %v, id %s, want %s with its instance", again.why(), again.id, a.id)
		}
		if in := r.instance(svc.ID, 0); in.Grant != grant {
			t.Errorf("its grant was %v and is %v", grant, in.Grant)
		}
		if known := r.mem.Record().Clusters; len(known) != 1 || known[0].ID != a.id {
			t.Errorf("the witness knows %+v", known)
		}
		if a.join(r); status.Code(a.why()) != codes.AlreadyExists {
			t.Errorf("the key of before: %v", a.why())
		}
		a.leave()
		pass(seconds(3600))
		again.leave()
		pass(seconds(60))
		if err := approve(a.id); !errors.Is(err, errs.NotFound) {
			t.Errorf("long after it was asked: %v", err)
		}
	})
}

// Who is welcomed asks no more, and who went away is not approved: each would
// make approve speak of somebody else than the one that asks now.
func TestNobodyIsApprovedWhoNoLongerAsks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 1)
		a.leave()
		other := newFake("a")
		other.key = "another-key-0123456789"
		ask := func() {
			t.Helper()
			if other.join(r); status.Code(other.why()) != codes.AlreadyExists {
				t.Fatalf("the other key: %v", other.why())
			}
			other.leave()
		}
		nobody := func(when string) {
			t.Helper()
			if _, err := r.desk.ApproveCluster(t.Context(), model.ClusterID(a.id)); !errors.Is(err, errs.NotFound) {
				t.Errorf("%s: %v", when, err)
			}
		}
		ask()
		a.join(r)
		nobody("the cluster itself came back")
		a.leave()
		ask()
		pass(seconds(31))
		nobody("the one that asked went away")
		ask()
		r.undeploy(svc.ID, -1)
		a.join(r).leave() // carries the undeployment out
		pass(seconds(60))
		if other.join(r); other.why() != nil || other.id != a.id {
			t.Fatalf("the name of a cluster that holds nothing: %v, id %s", other.why(), other.id)
		}
		nobody("the one that asked is the cluster now")
	})
}

func TestHelloMustMakeSense(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		for name, change := range map[string]func(*fake){
			"no name":   func(f *fake) { f.name = "  " },
			"long name": func(f *fake) { f.name = strings.Repeat("x", 65) },
			"no key":    func(f *fake) { f.key = "short" },
		} {
			f := newFake("a").set(change)
			f.join(r)
			if status.Code(f.why()) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, f.why())
			}
			f.leave()
		}
		if len(r.book.Clusters()) != 0 {
			t.Errorf("clusters: %+v", r.book.Clusters())
		}
	})
}

// A manager that was cut without noticing dials again: its new stream counts
// at once, and nothing says that the cluster was away.
func TestASecondStreamReplacesTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		first, cancel, conn := a.ended, a.cancel, a.conn
		a.join(r) // the first stream is still open
		if status.Code(<-first) != codes.Aborted {
			t.Error("the first stream goes on")
		}
		cancel()
		_ = conn.Close()
		synctest.Wait()
		if list := r.book.Clusters(); len(list) != 1 || !list[0].Active {
			t.Fatalf("clusters: %+v", list)
		}
		r.deploy(svc.ID, 1)
		if !a.executes(svc.ID, 0) {
			t.Error("the second stream gets no orders")
		}
	})
}

func TestTheFirstAnswerIsWelcomeThenASnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 20)
		for range 20 {
			a.leave()
			a.connect(r)
			r.undeploy(svc.ID, -1) // races with the hello
			r.deploy(svc.ID, 3)
			a.mu.Lock()
			downs := slices.Clone(a.downs)
			a.mu.Unlock()
			if len(downs) == 0 || downs[0].GetWelcome() == nil {
				t.Fatalf("first answer: %v", downs)
			}
			if a.count() != 3 {
				t.Fatalf("%d run, want 3", a.count())
			}
		}
	})
}

// What the cluster has in the right revision is not sent again.
func TestASnapshotCarriesOnlyDifferences(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		svc := r.service("one", wants{memory: 100})
		a := newFake("a").join(r)
		r.deploy(svc.ID, 4)
		a.leave().join(r)
		if got := a.orders(); len(got) != 0 {
			t.Errorf("nothing changed, but ordered: %v", got)
		}
		a.leave()
		k := func(n int) string { return key(string(svc.ID), n) }
		a.set(func(f *fake) {
			delete(f.held, k(0)) // lost
			delete(f.runs, k(0))
			f.held[k(1)].Revision--                                                             // old
			f.held[k(2)].Grant--                                                                // of before
			f.held["feed/0"] = &linkv1.Assignment{ServiceId: "feed", Grant: f.held[k(2)].Grant} // nobody knows it
		})
		r.undeploy(svc.ID, 3)
		a.join(r)
		var numbers []uint32
		for _, o := range a.orders() {
			numbers = append(numbers, o.Number)
			if o.Tombstone != (o.Number == 3) || o.Spec.GetImage() == "" || o.Spec.GetAppDescription() != "about one" {
				t.Errorf("order %v", o)
			}
		}
		if !slices.Equal(numbers, []uint32{0, 1, 2, 3}) {
			t.Errorf("ordered %v", numbers)
		}
		snap := got(a, desired)[0]
		if !snap.Snapshot || len(snap.Unknown) != 1 || snap.Unknown[0].ServiceId != "feed" {
			t.Errorf("snapshot: %v", snap)
		}
	})
}

func TestABlockIsNeverLeasedTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		owner := map[string]string{}
		ask := func(f *fake) {
			t.Helper()
			f.tell(func(f *fake) *linkv1.Up {
				return &linkv1.Up{Body: &linkv1.Up_BlockRequest{BlockRequest: &linkv1.BlockRequest{Held: f.blocks}}}
			})
			for _, b := range f.blocks {
				if o := owner[b]; o != "" && o != f.name {
					t.Fatalf("block %s of %s is leased to %s", b, o, f.name)
				}
				owner[b] = f.name
			}
		}
		a, b := newFake("a").join(r), newFake("b").join(r)
		for range 3 {
			ask(a)
			ask(b)
		}
		if len(a.blocks) != 3 || len(b.blocks) != 3 {
			t.Fatalf("a has %v, b has %v", a.blocks, b.blocks)
		}
		// The answer was lost: the same again, not one more.
		a.set(func(f *fake) { f.blocks = f.blocks[:2] })
		ask(a)
		if len(a.blocks) != 3 {
			t.Errorf("a has %v", a.blocks)
		}
		a.leave()
		b.leave()
		r = r.restart()
		b.join(r)
		ask(b)
		a.join(r)
		ask(a)
		if len(a.blocks) != 4 || len(b.blocks) != 4 {
			t.Errorf("after a restart a has %v, b has %v", a.blocks, b.blocks)
		}
	})
}

// A cluster is its key, not its address: behind one address there may be many,
// each with its place as it was written.
func TestTwoClustersBehindOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		a, b := newFake("a").set(func(f *fake) { f.place = "48.15,11.58,1000" }), newFake("b").set(func(f *fake) { f.place = "the cellar, left" })
		a.join(r)
		b.join(r)
		svc := r.service("one", wants{memory: 100})
		r.deploy(svc.ID, 2)
		if a.id == b.id || a.count()+b.count() != 2 {
			t.Fatalf("ids %s and %s, %d and %d run", a.id, b.id, a.count(), b.count())
		}
		list := r.book.Clusters()
		if len(list) != 2 || list[0].Location != "48.15,11.58,1000" || list[1].Location != "the cellar, left" || list[0].Address != list[1].Address {
			t.Fatalf("%+v", list)
		}
		a.leave()
		if list = r.book.Clusters(); list[0].Active || !list[1].Active {
			t.Errorf("%+v", list)
		}
	})
}
