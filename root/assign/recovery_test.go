package assign_test

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root/assign"
	"oakestra/root/clusters"
	"oakestra/root/store"
	"oakestra/root/witness"
)

// everything is what a root has stored, without what only its own store can
// know: when a record was made and how often it changed.
type everything struct {
	Applications []model.Application
	Services     []model.Service
	Instances    []store.Instance
	Claims       []store.Claim
	Blocks       []store.Block
	Clusters     []model.Cluster
}

func (r *rig) everything() everything {
	r.t.Helper()
	ctx := r.t.Context()
	apps, err1 := r.file.Applications().List(ctx, "")
	svcs, err2 := r.file.Services().List(ctx, "")
	ins, err3 := r.file.Instances().List(ctx, "")
	claims, err4 := r.file.Claims().List(ctx)
	blocks, err5 := r.file.Blocks().List(ctx)
	list, err6 := r.file.Clusters().List(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		r.t.Fatal(err)
	}
	for i := range ins {
		// Who had it before is known to a root that lost its store once they come.
		ins[i].CreatedAt, ins[i].Revision, ins[i].Service.NextNumber, ins[i].Former = time.Time{}, 0, 0, nil
		ins[i].Service.Spec = model.ServiceSpec{Image: ins[i].Service.Spec.Image}
	}
	out := everything{Applications: apps, Services: svcs, Instances: ins, Claims: claims, Blocks: blocks}
	for _, c := range list {
		out.Clusters = append(out.Clusters, model.Cluster{ID: c.ID, Name: c.Name})
	}
	return out
}

func (r *rig) same(want everything) {
	r.t.Helper()
	if diff := gocmp.Diff(want, r.everything(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("what is stored has changed (-before +after):\n%s", diff)
	}
}

// ask requests a block and waits for the answer.
func (f *fake) ask() *linkv1.BlockGrant {
	f.tell(func(f *fake) *linkv1.Up {
		return &linkv1.Up{Body: &linkv1.Up_BlockRequest{BlockRequest: &linkv1.BlockRequest{Held: f.blocks}}}
	})
	all := got(f, blockGrants)
	return all[len(all)-1]
}

// hold makes the cluster hold and run a slot under another grant.
func (f *fake) hold(a *linkv1.Assignment, grant instance.Grant, runs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := key(a.ServiceId, int(a.Number))
	f.held[k] = proto.CloneOf(a)
	f.held[k].Grant, f.held[k].Tombstone = uint64(grant), false
	if f.runs[k] = runs; !runs {
		delete(f.runs, k)
	}
}

// orderOf is what the cluster holds of a slot.
func (f *fake) orderOf(id model.ServiceID, number int) *linkv1.Assignment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return proto.CloneOf(f.held[key(string(id), number)])
}

// refuses checks that a root in recovery takes no change.
func (r *rig) refuses(id model.ServiceID) {
	r.t.Helper()
	_, errNew := r.tryService("late", wants{})
	_, errDeploy := r.ctl.Deploy(r.t.Context(), admin, id)
	errUndeploy := r.ctl.Undeploy(r.t.Context(), admin, id, 0)
	errDelete := r.ctl.DeleteService(r.t.Context(), admin, id)
	for what, err := range map[string]error{"create": errNew, "deploy": errDeploy, "undeploy": errUndeploy, "delete": errDelete} {
		if !errors.Is(err, errs.Unavailable) {
			r.t.Errorf("%s in recovery: %v", what, err)
		}
	}
}

func (r *rig) waitsFor(want ...string) {
	r.t.Helper()
	if on, names := r.desk.Recovery(); on != (len(want) > 0) || !slices.Equal(names, want) {
		r.t.Errorf("recovery %v, waiting for %v, want %v", on, names, want)
	}
}

// world is a root with two clusters that run nine instances of two services
// and have a block each. Number 1 of the first service was undeployed.
func world(t *testing.T) (r *rig, a, b *fake, one, two model.Service) {
	t.Helper()
	r = start(t, t.TempDir())
	one = r.service("one", wants{memory: 100, vcpus: 1, address: "10.30.9.9", port: "8080:80/udp"})
	two = r.service("two", wants{memory: 50, rules: `[{"type":"clusters","allowed":["a","b"]}]`})
	a, b = newFake("a").join(r), newFake("b").join(r)
	r.deploy(one.ID, 6)
	r.deploy(two.ID, 4)
	a.ask()
	b.ask()
	r.undeploy(one.ID, 1)
	pass(seconds(90)) // its address is free again
	if a.count() == 0 || b.count() == 0 || a.count()+b.count() != 9 {
		t.Fatalf("a runs %d, b runs %d", a.count(), b.count())
	}
	a.past, b.past = nil, nil
	return r, a, b, one, two
}

func highest(list ...store.Instance) (g instance.Grant) {
	for _, in := range list {
		g = max(g, in.Grant)
	}
	return g
}

// unharmed checks that nothing was stopped and everything runs.
func unharmed(t *testing.T, runs int, list ...*fake) {
	t.Helper()
	sum := 0
	for _, f := range list {
		sum += f.count()
		if s := f.stopped(); len(s) > 0 {
			t.Errorf("%s ended %v", f.name, s)
		}
	}
	if sum != runs {
		t.Errorf("%d instances run, want %d", sum, runs)
	}
}

func TestALostStoreIsFilledAgainByItsClusters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, two := world(t)
		before := r.everything()
		most := highest(before.Instances...)
		a.leave()
		b.leave()
		r = r.restart(loseStore)
		r.waitsFor("a", "b")
		pass(seconds(3600))
		r.refuses(one.ID)

		a.join(r)
		r.waitsFor("b")
		r.refuses(one.ID)
		if w := got(a, welcomes); len(w) != 1 || !w[0].Recovery || w[0].Incarnation <= most.Incarnation() {
			t.Errorf("welcome %v", w)
		}
		if g := a.ask(); g.Error == "" || len(g.Blocks) != 0 {
			t.Errorf("a block in recovery: %v", g)
		}
		if o := a.orders(); len(o) != 0 {
			t.Errorf("orders in recovery: %v", o)
		}
		if v, ok := r.book.Facts(model.InstanceID{Service: a.slots()[0].Service, Number: a.slots()[0].Number}); !ok || v.Observed.State != instance.Running {
			t.Errorf("status in recovery: %+v %v", v, ok)
		}
		a.leave() // it was heard; nobody needs it to stay
		pass(seconds(120))
		b.join(r)
		r.waitsFor()
		r.same(before)
		a.join(r)
		if n := len(a.orders()) + len(b.orders()); n != 0 {
			t.Errorf("%d orders although nothing differs", n)
		}
		if s, ok := r.desk.Resolve("10.30.9.9"); !ok || s.ID != one.ID {
			t.Errorf("10.30.9.9 is %v", s.Name)
		}
		if u := r.desk.Unknown(); len(u) != 0 {
			t.Errorf("unknown: %v", u)
		}
		unharmed(t, 9, a, b)

		r.deploy(one.ID, 1)
		r.deploy(two.ID, 1)
		for id, number := range map[model.ServiceID]int{one.ID: 6, two.ID: 4} {
			in := r.instance(id, number)
			if in.Grant <= most || slices.ContainsFunc(before.Claims, func(c store.Claim) bool { return c.Address == in.Address }) {
				t.Errorf("%+v: a grant or address of before", in)
			}
		}
		blocks := slices.Concat(a.ask().Blocks, b.ask().Blocks)
		slices.Sort(blocks)
		if len(slices.Compact(blocks)) != 4 {
			t.Errorf("blocks %v", blocks)
		}
		unharmed(t, 11, a, b)
	})
}

// The stream of a restarted root finds clusters that never knew it was gone.
func TestClustersThatStayConnectedAreHeardAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, _ := world(t)
		before := r.everything()
		r = r.restart(loseStore)
		for _, f := range []*fake{a, b} {
			f.leave().connect(r)
		}
		synctest.Wait()
		r.waitsFor()
		r.same(before)
		unharmed(t, 9, a, b)
		if c, ok := r.claim(one.Address); !ok || c.Holder != one.Name.String() || !c.Until.IsZero() {
			t.Errorf("claim %+v %v", c, ok)
		}
	})
}

// The root is started again, twice, before everybody was heard.
func TestRecoveryOutlivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, _ := world(t)
		before := r.everything()
		a.leave()
		b.leave()
		r = r.restart(loseStore)
		first := r.mem.Record().Incarnation
		b.join(r).leave()
		for range 2 {
			r = r.restart()
			r.waitsFor("a", "b")
			r.refuses(one.ID)
		}
		if again := r.mem.Record().Incarnation; again != first {
			t.Errorf("incarnation %d became %d without another loss", first, again)
		}
		b.join(r)
		a.join(r)
		r.waitsFor()
		r.same(before)
		unharmed(t, 9, a, b)
	})
}

func TestAcceptedRecoveryGoesOnWithoutTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, a, b, one, _ := world(t)
		before := r.everything()
		most := highest(before.Instances...)
		a.leave()
		b.leave()
		r = r.restart(loseStore)
		a.join(r)
		if err := r.ctl.AcceptRecovery(t.Context(), admin); err != nil {
			t.Fatal(err)
		}
		r.waitsFor()
		if err := r.ctl.AcceptRecovery(t.Context(), admin); !errors.Is(err, errs.Conflict) {
			t.Errorf("accepted twice: %v", err)
		}
		if err := r.desk.AcceptRecovery(t.Context()); err != nil {
			t.Errorf("when there is none: %v", err)
		}
		in, err := r.ctl.Deploy(t.Context(), admin, one.ID)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if in = r.instance(one.ID, in.ID.Number); in.Grant <= most || in.Grant.Incarnation() <= most.Incarnation() {
			t.Errorf("%+v, but %d was given before", in, most)
		}
		b.join(r)
		pass(seconds(30))
		for _, was := range before.Instances {
			switch {
			case was.ID == in.ID: // b's slot of this number was given out anew
			case was.Address == in.Address: // as was an address: people decide
				u := r.desk.Unknown()
				if len(u) != 1 || u[0].Instance != was.ID || !b.executes(was.ID.Service, was.ID.Number) {
					t.Errorf("%+v lost its address, unknown are %+v", was, u)
				}
			default:
				now := r.instance(was.ID.Service, was.ID.Number)
				if now.Grant != was.Grant || now.Address != was.Address || now.Cluster != was.Cluster {
					t.Errorf("%+v became %+v", was, now)
				}
			}
		}
		for k, n := range copies(a, b) {
			if n != 1 {
				t.Errorf("%s runs %d times", k, n)
			}
		}
		if len(copies(a, b)) < 9 {
			t.Errorf("%d slots run", len(copies(a, b)))
		}
		blocks := r.everything().Blocks
		if len(blocks) != 2 {
			t.Errorf("blocks %v", blocks)
		}
	})
}

// copies counts what runs, by slot.
func copies(list ...*fake) map[string]int {
	out := map[string]int{}
	for _, f := range list {
		for _, id := range f.slots() {
			out[key(string(id.Service), id.Number)]++
		}
	}
	return out
}

// slots lists what executes.
func (f *fake) slots() (list []model.InstanceID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.runs {
		a := f.held[k]
		list = append(list, model.InstanceID{Service: model.ServiceID(a.ServiceId), Number: int(a.Number)})
	}
	slices.SortFunc(list, func(a, b model.InstanceID) int {
		return cmp.Or(strings.Compare(string(a.Service), string(b.Service)), cmp.Compare(a.Number, b.Number))
	})
	return list
}

// A cluster was away when the service was deleted, and the store was lost
// before it heard. What it cannot have heard lives on; what it heard is done.
func TestADeletedServiceDoesNotComeToLifeAgain(t *testing.T) {
	for _, order := range []string{"ab", "ba"} {
		t.Run(order, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, t.TempDir())
				svc := r.service("one", wants{memory: 100, address: "10.30.9.9"})
				other := r.service("two", wants{memory: 100})
				list := map[string]*fake{"a": newFake("a").join(r)}
				a := list["a"]
				r.deploy(svc.ID, 1)
				r.deploy(other.ID, 1)
				b := newFake("b").join(r)
				list["b"] = b
				// b had the slot under a lower grant once and was cut off.
				b.hold(a.orderOf(svc.ID, 0), r.instance(svc.ID, 0).Grant-1, true)
				b.leave()
				a.set(func(f *fake) { f.mute = true })
				if err := r.ctl.DeleteApplication(t.Context(), admin, svc.Application); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if _, dead, ok := a.has(svc.ID, 0); !ok || !dead {
					t.Fatal("a has no tombstone")
				}
				a.leave()
				r = r.restart(loseStore)
				for _, name := range strings.Split(order, "") {
					list[name].join(r)
				}
				r.waitsFor()
				all := r.everything()
				if len(all.Services) != 1 || all.Services[0].ID != other.ID || len(all.Applications) != 1 {
					t.Errorf("services %v, applications %v", all.Services, all.Applications)
				}
				if b.executes(svc.ID, 0) {
					t.Error("b still runs what was deleted under a higher grant")
				}
				a.set(func(f *fake) { f.mute = false })
				a.tell(func(f *fake) *linkv1.Up { return f.report(true) })
				pass(seconds(90))
				all = r.everything()
				if len(all.Instances) != 1 || a.executes(svc.ID, 0) || !a.executes(other.ID, 0) || len(all.Claims) != 2 {
					t.Errorf("%+v", all)
				}
				if _, err := r.tryService("one", wants{address: "10.30.9.9"}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestReadyAndRecoveryBeforeTheStoreWasRead(t *testing.T) {
	mem, err := witness.Open(t.TempDir() + "/witness.json")
	if err != nil {
		t.Fatal(err)
	}
	d := assign.NewDesk(assign.Deps{Book: clusters.NewBook(nil), Witness: mem, Logger: testkit.Logger(t)})
	if err := d.Ready(); !errors.Is(err, errs.Unavailable) {
		t.Errorf("ready: %v", err)
	}
	if on, waiting := d.Recovery(); !on || len(waiting) != 1 {
		t.Errorf("recovery %v %v", on, waiting)
	}
	if _, err := d.PickInstance(t.Context()); !errors.Is(err, errs.Unavailable) {
		t.Errorf("an address: %v", err)
	}
	bubble(t, func(t *testing.T) {
		r, _, _, _, _ := world(t)
		r = r.restart(loseStore)
		if err := r.desk.Ready(); err != nil {
			t.Errorf("a root in recovery answers: %v", err)
		}
	})
}
