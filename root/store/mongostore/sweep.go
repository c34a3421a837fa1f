package mongostore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/errs"
)

const (
	sweepEvery = 15 * time.Second
	// sweepAge is for how long a sweeper must have seen something in the same
	// useless state before it deletes it; by its own clock, so that clocks need
	// not agree. No call takes nearly that long.
	sweepAge = time.Minute
	// resumeAge is for how long it must have seen something decided and not
	// finished before it lends a hand.
	resumeAge = 10 * time.Second
)

// sweeper remembers since when it has seen what.
type sweeper struct {
	now    func() time.Time
	before map[string]time.Time
	seen   map[string]time.Time
}

func newSweeper() *sweeper { return &sweeper{now: time.Now} }

// begin starts a round; what is not seen in it is forgotten.
func (w *sweeper) begin() { w.before, w.seen = w.seen, map[string]time.Time{} }

// due says whether something has been seen for as long as age.
func (w *sweeper) due(key string, age time.Duration) bool {
	since, known := w.before[key]
	if !known {
		since = w.now()
	}
	w.seen[key] = since
	return w.now().Sub(since) >= age
}

// Run sweeps until ctx ends. One call at a time.
func (s *Store) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Warn("sweep the store", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep finishes what was decided and deletes what never will be. It never
// deletes what a reader can see.
func (s *Store) Sweep(ctx context.Context) error {
	s.sweep.begin()
	return errors.Join(
		s.resume(ctx, func(key string) bool { return s.sweep.due(key, resumeAge) }),
		s.sweepApplications(ctx), s.sweepServices(ctx), s.sweepClaims(ctx),
	)
}

// finish does at once what was decided and not finished.
func (s *Store) finish(ctx context.Context) error {
	return s.resume(ctx, func(string) bool { return true })
}

// resume finishes removals and commits.
func (s *Store) resume(ctx context.Context, due func(key string) bool) error {
	removals, err := s.removals.find(ctx, nil)
	if err != nil {
		return err
	}
	for _, r := range removals {
		if due("removal " + r.ID) {
			err = errors.Join(err, s.carryOut(ctx, r))
		}
	}
	commits, failed := s.commits.find(ctx, nil)
	for _, r := range commits {
		if due("commit " + r.ID) {
			err = errors.Join(err, s.settle(ctx, r.ID, r.Applications))
		}
	}
	return errors.Join(err, failed)
}

// sweepApplications ends what waits for a commit that never came.
func (s *Store) sweepApplications(ctx context.Context) error {
	list, err := s.applications.find(ctx, nil)
	if err != nil {
		return err
	}
	for _, r := range list {
		for _, batch := range r.batches() {
			_, absent := s.commits.get(ctx, batch)
			switch {
			case absent == nil:
			case !errors.Is(absent, errs.NotFound):
				err = errors.Join(err, absent)
			case !s.sweep.due("application "+r.ID+" "+batch, sweepAge):
			case batch == r.Batch:
				err = errors.Join(err, s.applications.erase(ctx, r.ID, func(now *applicationRecord) bool { return now.Batch == batch }))
			default:
				err = errors.Join(err, s.forget(ctx, r.ID, batch))
			}
		}
	}
	return err
}

// sweepServices deletes those that are not there. They are read before the
// applications: one that is committed in between is seen as committed.
func (s *Store) sweepServices(ctx context.Context) error {
	all, err := s.services.find(ctx, nil)
	if err != nil {
		return err
	}
	there, err := s.listServices(ctx, "")
	if err != nil {
		return err
	}
	visible := map[string]bool{}
	for _, r := range there {
		visible[r.ID] = true
	}
	for _, r := range all {
		if !visible[r.ID] && s.sweep.due("service "+r.ID, sweepAge) {
			_, failed := s.services.remove(ctx, r)
			err = errors.Join(err, failed)
		}
	}
	return err
}

// sweepClaims deletes claims of services and slots that are not there.
func (s *Store) sweepClaims(ctx context.Context) error {
	claims, err := s.claims.find(ctx, bson.D{{Key: "until", Value: bson.D{{Key: "$exists", Value: false}}}})
	if err != nil {
		return err
	}
	services, err := s.services.find(ctx, nil)
	if err != nil {
		return err
	}
	slots, err := s.instances.find(ctx, nil)
	if err != nil {
		return err
	}
	holds := map[[2]string]bool{} // id and address
	for _, r := range services {
		holds[[2]string{r.ID, r.Address}] = true
	}
	for _, r := range slots {
		holds[[2]string{r.ID, r.Address}] = true
	}
	for _, c := range claims {
		holder := c.Slot
		if holder == "" {
			holder = c.Service
		}
		if holder == "" || holds[[2]string{holder, c.ID}] {
			continue
		}
		if s.sweep.due("claim "+c.ID+" "+holder, sweepAge) {
			_, failed := s.claims.remove(ctx, c)
			if !errors.Is(failed, errs.NotFound) {
				err = errors.Join(err, failed)
			}
		}
	}
	return err
}
