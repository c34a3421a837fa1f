package mongostore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// breakage is a way for the n-th write to fail.
type breakage struct {
	name  string
	after bool // it happened, and the answer was lost
	once  bool // else nothing works from then on: the process died
}

var breakages = []breakage{
	{"dies before a write", false, false}, {"dies after a write", true, false},
	{"one write fails", false, true}, {"the answer to one write is lost", true, true},
}

// breakAt makes the n-th write of s fail; broke says whether there was one.
func breakAt(s *Store, n int, b breakage) (broke func() bool) {
	count, failed := 0, false
	s.fault = func(op string, after bool) error {
		if !after {
			count++
		}
		switch {
		case count == n && after == b.after:
			failed = true
		case !failed || b.once || after:
			return nil
		}
		class := errs.Internal // is not tried again
		if b.once {
			class = errs.Unavailable
		}
		return fmt.Errorf("%s: the test breaks write %d: %w", op, n, class)
	}
	return func() bool { return failed }
}

// try is one round of a scenario with names and ids of its own.
type try struct {
	n int
	w *Store // that works
}

func (y try) ctx() context.Context { return context.Background() }

func (y try) app(k int) model.Application {
	return model.Application{ID: model.ApplicationID(fmt.Sprintf("a%08d%02d", y.n, k)), Name: fmt.Sprintf("app%dx%d", y.n, k), Namespace: "test", Owner: "ann"}
}

func (y try) service(a model.Application, k int) model.Service {
	return model.Service{
		ID: model.ServiceID(fmt.Sprintf("s%08d%02d", y.n, k)), Application: a.ID, Owner: a.Owner, Revision: 1, Address: y.address(k),
		Name: model.ServiceName{App: a.Name, AppNamespace: a.Namespace, Service: fmt.Sprintf("s%d", k), ServiceNamespace: "test"},
	}
}

func (y try) address(k int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 30 + byte(k/8), byte(y.n >> 5), byte(y.n<<3) | byte(k%8)})
}

func (y try) one() store.Descriptor {
	a := y.app(0)
	return store.Descriptor{Applications: []model.Application{a}, Services: []model.Service{y.service(a, 0), y.service(a, 1)}}
}

func (y try) seed(s *Store) error { return s.Descriptors().Commit(y.ctx(), y.one()) }

// slots seeds and adds two instances to the first service.
func (y try) slots(s *Store) error {
	if err := y.seed(s); err != nil {
		return err
	}
	for k := range 2 {
		if _, err := s.Instances().Add(y.ctx(), y.one().Services[0].ID, y.address(8+k), time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// services counts those of this round that are there.
func (y try) services() (n int, err error) {
	for _, k := range []int{0, 1} {
		list, failed := y.w.Services().List(y.ctx(), y.app(k).ID)
		n, err = n+len(list), errors.Join(err, failed)
	}
	return n, err
}

func (y try) wanted() (n int, err error) {
	list, err := y.w.Instances().List(y.ctx(), y.one().Services[0].ID)
	for _, in := range list {
		if !in.Tombstone {
			n++
		}
	}
	return n, err
}

// scenario is a call with what it needs, and a count that goes from one value
// to another when the call happens, and is never left in between once things
// have settled.
type scenario struct {
	name     string
	prepare  func(try, *Store) error
	call     func(try, *Store) error
	count    func(try) (int, error)
	from, to int
	whole    bool // never in between for a reader either
}

var scenarios = []scenario{
	{"commit an application", func(try, *Store) error { return nil }, try.seed, try.services, 0, 2, true},
	{"commit into an application", func(y try, s *Store) error {
		return s.Descriptors().Commit(y.ctx(), store.Descriptor{Applications: y.one().Applications})
	}, func(y try, s *Store) error {
		return s.Descriptors().Commit(y.ctx(), store.Descriptor{Services: y.one().Services})
	}, try.services, 0, 2, true},
	{"commit into two applications, one of them new", try.seed, func(y try, s *Store) error {
		return s.Descriptors().Commit(y.ctx(), store.Descriptor{Applications: []model.Application{y.app(1)},
			Services: []model.Service{y.service(y.app(0), 2), y.service(y.app(1), 3)}})
	}, try.services, 2, 4, true},
	{"add an instance", try.seed, func(y try, s *Store) error {
		_, err := s.Instances().Add(y.ctx(), y.one().Services[0].ID, y.address(9), time.Now())
		return err
	}, try.wanted, 0, 1, true},
	{"put an instance", try.seed, func(y try, s *Store) error {
		return s.Instances().Put(y.ctx(), store.Instance{ID: model.InstanceID{Service: y.one().Services[0].ID, Number: 4}, Address: y.address(9)})
	}, try.wanted, 0, 1, true},
	{"remove an application", try.slots, func(y try, s *Store) error {
		return s.Descriptors().Remove(y.ctx(), []model.ApplicationID{y.app(0).ID}, nil, time.Now().Add(time.Hour))
	}, func(y try) (int, error) {
		n, err1 := y.services()
		m, err2 := y.wanted()
		return n + m, errors.Join(err1, err2)
	}, 4, 0, false},
	{"remove a service", try.slots, func(y try, s *Store) error {
		return s.Descriptors().Remove(y.ctx(), nil, []model.ServiceID{y.one().Services[0].ID}, time.Now().Add(time.Hour))
	}, func(y try) (int, error) {
		n, err1 := y.services()
		m, err2 := y.wanted()
		return n + m, errors.Join(err1, err2)
	}, 4, 1, false},
	{"delete a service", try.seed, func(y try, s *Store) error { return s.Services().Delete(y.ctx(), y.one().Services[0].ID) }, try.services, 2, 1, true},
	{"delete an instance", try.slots, func(y try, s *Store) error {
		return s.Instances().Delete(y.ctx(), model.InstanceID{Service: y.one().Services[0].ID}, time.Now().Add(time.Hour))
	}, try.wanted, 2, 1, true},
}

// Whatever write of a call is the last, the call has happened or it has not,
// and nothing useless stays.
func TestEveryWriteMayBeTheLast(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		for _, sc := range scenarios {
			t.Run(sc.name, func(t *testing.T) {
				for _, b := range breakages {
					t.Run(b.name, func(t *testing.T) {
						// Small: FerretDB reads all of it for every filter.
						w := connect(t, database(t, server, t.TempDir()))
						for at := 1; ; at++ {
							if !sc.round(t, try{at, w}, at, b) {
								if at < 3 {
									t.Errorf("the call made only %d writes", at-1)
								}
								return
							}
						}
					})
				}
			})
		}
	})
}

// round breaks one write; false when the call has fewer.
func (sc scenario) round(t *testing.T, y try, at int, b breakage) (broke bool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("write %d: %v", at, err)
		}
	}
	must(sc.prepare(y, y.w))
	dying := newStore(y.w.client, y.w.db.Name())
	failed := breakAt(dying, at, b)
	err := sc.call(y, dying)
	if !failed() {
		must(err)
	}
	now, failure := sc.count(y)
	must(failure)
	if sc.whole && now != sc.from && now != sc.to || err == nil && now != sc.to {
		t.Errorf("write %d, the call said %v: a reader counts %d, want %d or %d", at, err, now, sc.from, sc.to)
	}
	y.settle(t)
	then, failure := sc.count(y)
	must(failure)
	if then != sc.from && then != sc.to || now == sc.to && then != now {
		t.Errorf("write %d: a reader counts %d after %d, want %d or %d", at, then, now, sc.from, sc.to)
	}
	if then == sc.from { // it did not happen, and may
		must(sc.call(y, y.w))
		if last, err := sc.count(y); err != nil || last != sc.to {
			t.Errorf("write %d, called again: a reader counts %d (%v), want %d", at, last, err, sc.to)
		}
		y.settle(t)
	}
	y.clean(t, at)
	return failed()
}

// settle sweeps as a manager does that runs on for a few minutes.
func (y try) settle(t *testing.T) {
	t.Helper()
	late := time.Duration(0)
	y.w.sweep = newSweeper()
	y.w.sweep.now = func() time.Time { return time.Unix(0, 0).Add(late) }
	for range 3 {
		if err := y.w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		late += 2 * sweepAge
	}
}

// clean checks that everything stored has a reason.
func (y try) clean(t *testing.T, at int) {
	t.Helper()
	ctx := y.ctx()
	services, err1 := y.w.services.find(ctx, nil)
	there, err2 := y.w.listServices(ctx, "")
	slots, err3 := y.w.instances.find(ctx, nil)
	claims, err4 := y.w.claims.find(ctx, nil)
	commits, err5 := y.w.commits.find(ctx, nil)
	removals, err6 := y.w.removals.find(ctx, nil)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	if len(services) != len(there) || len(commits)+len(removals) != 0 {
		t.Errorf("write %d: %d services are stored and %d there, %d commits and %d removals are left", at, len(services), len(there), len(commits), len(removals))
	}
	holders, held := map[string]string{}, map[string]string{}
	for _, r := range services {
		holders[r.Address] = r.Name
	}
	for _, r := range slots {
		if r.Address != "" {
			holders[r.Address] = r.model().ID.String()
		}
	}
	for _, c := range claims {
		if c.Until == "" {
			held[c.ID] = c.Holder
		}
	}
	for a, who := range holders {
		if held[a] != who {
			t.Errorf("write %d: %s has the address %s, its claim says %q", at, who, a, held[a])
		}
	}
	for a, who := range held {
		if holders[a] == "" {
			t.Errorf("write %d: %s is claimed by %s, which is not there", at, a, who)
		}
	}
}
