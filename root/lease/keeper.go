package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// The times of a lease. A holder that dies is replaced after at most TTL and
// two looks: 4 s.
const (
	TTL    = 3 * time.Second
	every  = time.Second            // a renewal
	look   = 500 * time.Millisecond // at the lease of another one
	margin = 500 * time.Millisecond // for stopping
)

// Config of a Keeper.
type Config struct {
	Leases  store.Leases
	Name    string
	Holder  string // unique per process
	Address string // where this process answers, for the others
	Logger  *slog.Logger
}

// Keeper takes part in the election of one process.
type Keeper struct {
	cfg Config
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	last store.Lease
	mine time.Time // until when this process has it
}

// New makes a keeper that does nothing until Run.
func New(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, log: cfg.Logger.With("part", "lease", "holder", cfg.Holder)}
}

// Holder is the lease as last seen, and whether this process has it now.
func (k *Keeper) Holder() (l store.Lease, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, time.Now().Before(k.mine)
}

func (k *Keeper) note(l store.Lease, mine time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.mine = l, mine
}

// Run calls lead whenever this process has the lease, until ctx ends. The
// context of lead ends when the lease is lost; lead has margin to return, and
// nothing else happens before it has. An error of lead ends Run, and gives the
// lease back.
func (k *Keeper) Run(ctx context.Context, lead func(ctx context.Context, term uint64) error) error {
	for {
		held, until, err := k.acquire(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		k.log.Info("this system manager serves", "term", held.Term)
		if err := k.hold(ctx, held, until, lead); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// acquire waits until this process has the lease. Its error is that of ctx.
func (k *Keeper) acquire(ctx context.Context) (held store.Lease, until time.Time, err error) {
	var w watch
	var failing bool
	for {
		seen, err := k.get(ctx)
		if err == nil {
			k.note(seen, time.Time{})
			if decide(k.cfg.Holder, seen, w.see(seen, time.Now()), TTL) == take {
				next, begin := taken(seen, k.cfg.Holder, k.cfg.Address), time.Now()
				if err = k.swap(ctx, seen, next); err == nil {
					k.note(next, begin.Add(TTL-margin))
					return next, begin.Add(TTL - margin), nil
				}
			}
		}
		if err != nil && !errors.Is(err, errs.Conflict) && ctx.Err() == nil && !failing {
			k.log.Warn("the lease cannot be read or taken; trying again", "error", err)
		}
		failing = err != nil && !errors.Is(err, errs.Conflict)
		select {
		case <-ctx.Done():
			return held, until, ctx.Err()
		case <-time.After(look):
		}
	}
}

// get and swap never wait for longer than a lease lasts.
func (k *Keeper) get(ctx context.Context) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, TTL)
	defer cancel()
	return k.cfg.Leases.Get(ctx, k.cfg.Name)
}

func (k *Keeper) swap(ctx context.Context, was, next store.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, TTL-margin)
	defer cancel()
	return k.cfg.Leases.Swap(ctx, k.cfg.Name, was, next)
}

// hold runs lead while the lease can be renewed.
func (k *Keeper) hold(ctx context.Context, held store.Lease, until time.Time, lead func(context.Context, uint64) error) error {
	leading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	go func() { done <- lead(leading, held.Term) }()
	held, err, ended := k.renewals(ctx, held, until, done, stop)
	if !ended {
		err = <-done
	}
	lost := leading.Err() != nil && ctx.Err() == nil
	k.note(held, time.Time{})
	if lost {
		k.log.Warn("this system manager serves no more", "term", held.Term, "reason", context.Cause(leading))
		return nil // what lead says now is how it stops
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), every)
	defer cancel()
	if failed := k.swap(back, held, released(held)); failed != nil {
		k.log.Warn("the lease could not be given back; it runs out by itself", "error", failed)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return err
}

// renewals renews until ctx ends, lead has ended, or the time is up; then it
// calls stop. It returns the last lease that was stored.
func (k *Keeper) renewals(ctx context.Context, held store.Lease, until time.Time, done <-chan error, stop context.CancelCauseFunc) (store.Lease, error, bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	over := time.NewTimer(time.Until(until))
	defer over.Stop()
	answers := make(chan answer, 1)
	running := false
	for {
		select {
		case <-ctx.Done():
			if running { // what is stored decides how the lease is given back
				held = (<-answers).lease(held)
			}
			return held, nil, false
		case err := <-done:
			if running {
				held = (<-answers).lease(held)
			}
			return held, err, true
		case <-over.C:
			stop(fmt.Errorf("the lease could not be renewed for %s", TTL-margin))
			return held, nil, false
		case <-tick.C:
			if !running {
				running = true
				go k.renew(ctx, held, answers)
			}
		case a := <-answers:
			running = false
			if errors.Is(a.err, errs.Conflict) {
				stop(fmt.Errorf("another one has it: %w", a.err))
				return held, nil, false
			}
			if a.err != nil {
				k.log.Warn("the lease was not renewed", "error", a.err)
				continue
			}
			held = a.next
			k.note(held, a.begin.Add(TTL-margin))
			over.Reset(time.Until(a.begin.Add(TTL - margin)))
		}
	}
}

// answer is how a renewal ended.
type answer struct {
	next  store.Lease
	begin time.Time
	err   error
}

// lease is what is stored after an answer.
func (a answer) lease(before store.Lease) store.Lease {
	if a.err != nil {
		return before
	}
	return a.next
}

// renew makes one beat. When the answer to an earlier one was lost, the stored
// lease is a beat ahead of what is known here: then it goes on from there.
func (k *Keeper) renew(ctx context.Context, held store.Lease, answers chan<- answer) {
	a := answer{next: renewed(held), begin: time.Now()}
	a.err = k.swap(ctx, held, a.next)
	if errors.Is(a.err, errs.Conflict) {
		if now, err := k.get(ctx); err != nil {
			a.err = err
		} else if now.Holder == held.Holder && now.Term == held.Term {
			a.next, a.begin = renewed(now), time.Now()
			a.err = k.swap(ctx, now, a.next)
		}
	}
	answers <- a
}
