package mongostore

import (
	"errors"
	"testing"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// race is a call in the midst of which another one happens as a whole.
type race struct {
	name         string
	prepare      func(try, *Store) error
	call, within func(try, *Store) error
}

func (y try) more(s *Store) error {
	return s.Descriptors().Commit(y.ctx(), store.Descriptor{Services: []model.Service{y.service(y.app(0), 2)}})
}

func (y try) add(s *Store) error {
	_, err := s.Instances().Add(y.ctx(), y.one().Services[0].ID, y.address(9), time.Now())
	return err
}

func (y try) addAnother(s *Store) error {
	_, err := s.Instances().Add(y.ctx(), y.one().Services[0].ID, y.address(10), time.Now())
	return err
}

func (y try) removeService(s *Store) error {
	return s.Descriptors().Remove(y.ctx(), nil, []model.ServiceID{y.one().Services[0].ID}, time.Now().Add(time.Hour))
}

func (y try) removeApplication(s *Store) error {
	return s.Descriptors().Remove(y.ctx(), []model.ApplicationID{y.app(0).ID}, nil, time.Now().Add(time.Hour))
}

func (y try) both(s *Store) error {
	return s.Descriptors().Commit(y.ctx(), store.Descriptor{Applications: []model.Application{y.app(1)},
		Services: []model.Service{y.service(y.app(0), 2), y.service(y.app(1), 3)}})
}

func (y try) rename(s *Store) error {
	_, err := s.Applications().Update(y.ctx(), y.app(0).ID, func(a model.Application) (model.Application, error) {
		a.Description += "x"
		return a, nil
	})
	return err
}

// After any two calls, one in the midst of the other, nothing is left that has
// no reason, no slot is wanted whose service is gone, and whatever call said
// that it succeeded did.
func TestCallsInTheMidstOfOthers(t *testing.T) {
	races := []race{
		{"an instance is added while its service is removed", try.seed, try.add, try.removeService},
		{"a service is removed while an instance is added", try.seed, try.removeService, try.add},
		{"two instances are added", try.seed, try.add, try.addAnother},
		{"a service is added while its application is removed", try.seed, try.more, try.removeApplication},
		{"an application is removed while a service is added", try.seed, try.removeApplication, try.more},
		{"two descriptors go into one application", try.seed, try.more, try.both},
		{"an application is removed in the midst of a commit of two", try.seed, try.both, try.removeApplication},
		{"an application is changed in the midst of a commit of two", try.seed, try.both, try.rename},
		{"a removal is carried out by two", try.slots, try.removeApplication, func(y try, s *Store) error { return s.finish(y.ctx()) }},
		{"the same descriptor is stored by two", func(try, *Store) error { return nil }, try.seed, try.seed},
	}
	servers(t, func(t *testing.T, server string) {
		for _, r := range races {
			t.Run(r.name, func(t *testing.T) {
				w := connect(t, database(t, server, t.TempDir()))
				for at := 1; r.round(t, try{at, w}, at); at++ {
				}
			})
		}
	})
}

// round runs the second call before the n-th write of the first one; false
// when that has fewer.
func (r race) round(t *testing.T, y try, at int) (met bool) {
	t.Helper()
	if err := r.prepare(y, y.w); err != nil {
		t.Fatal(err)
	}
	first, writes := newStore(y.w.client, y.w.db.Name()), 0
	var inner error
	first.fault = func(_ string, after bool) error {
		if !after {
			writes++
		}
		if !after && writes == at {
			met = true
			inner = r.within(y, y.w)
		}
		return nil
	}
	outer := r.call(y, first)
	for _, err := range []error{outer, inner} {
		if err != nil && !errors.Is(err, errs.NotFound) && !errors.Is(err, errs.Conflict) {
			t.Errorf("write %d: %v", at, err)
		}
	}
	y.settle(t)
	y.clean(t, at)
	y.wantedHaveServices(t, at)
	if outer != nil && inner != nil && met {
		t.Errorf("write %d: both calls failed: %v; %v", at, outer, inner)
	}
	return met
}

func (y try) wantedHaveServices(t *testing.T, at int) {
	t.Helper()
	slots, err := y.w.Instances().List(y.ctx(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range slots {
		if _, err := y.w.Services().Get(y.ctx(), in.ID.Service); err != nil && !in.Tombstone {
			t.Errorf("write %d: %s is wanted, but: %v", at, in.ID, err)
		}
	}
}
