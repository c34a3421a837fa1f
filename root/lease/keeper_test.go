package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shared is a lease in memory; each process sees it through a wire of its own.
type shared struct {
	mu    sync.Mutex
	lease store.Lease
}

// wire is one process's way to it.
type wire struct {
	*shared
	cut  bool // nothing passes
	deaf bool // a swap happens, the answer is lost
}

func (w *wire) broken(ctx context.Context) error {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	if cut {
		<-ctx.Done()
		return fmt.Errorf("no answer: %w", errs.Unavailable)
	}
	return nil
}

func (w *wire) set(cut, deaf bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.deaf = cut, deaf
}

func (w *wire) Get(ctx context.Context, _ string) (store.Lease, error) {
	if err := w.broken(ctx); err != nil {
		return store.Lease{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease, nil
}

func (w *wire) Swap(ctx context.Context, _ string, was, next store.Lease) error {
	if err := w.broken(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lease != was {
		return errs.Conflict
	}
	w.lease = next
	if w.deaf {
		return errs.Unavailable
	}
	return nil
}

func (w *wire) Fence(context.Context, uint64) error { return nil }

// process is one contender, with what it did.
type process struct {
	*wire
	k    *Keeper
	stop context.CancelFunc
	done chan error

	mu    sync.Mutex
	terms []uint64
	leads bool
}

func (p *process) leading() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads
}

func (p *process) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads = false
}

func begin(t *testing.T, s *shared, name string) *process {
	t.Helper()
	p := &process{wire: &wire{shared: s}, done: make(chan error, 1)}
	p.k = New(Config{Leases: p.wire, Name: "root", Holder: name, Address: name + ":1", Logger: testkit.Logger(t)})
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() {
		p.done <- p.k.Run(ctx, func(ctx context.Context, term uint64) error {
			p.mu.Lock()
			p.terms, p.leads = append(p.terms, term), true
			p.mu.Unlock()
			<-ctx.Done()
			p.over()
			return nil
		})
	}()
	return p
}

// end stops processes in order.
func end(t *testing.T, all ...*process) {
	t.Helper()
	for _, p := range all {
		p.stop()
		if err := <-p.done; err != nil {
			t.Error(err)
		}
	}
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOneServesAndTheOthersKnowWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{}
		a := begin(t, s, "a")
		after(time.Millisecond)
		b := begin(t, s, "b")
		after(time.Minute)
		if !a.leading() || b.leading() {
			t.Errorf("a leads: %v, b leads: %v", a.leading(), b.leading())
		}
		if l, mine := b.k.Holder(); mine || l.Address != "a:1" {
			t.Errorf("b believes %+v, mine = %v", l, mine)
		}
		if _, mine := a.k.Holder(); !mine {
			t.Error("a does not know that it has the lease")
		}
		// One that stops in order hands over at once.
		end(t, a)
		after(look)
		if !b.leading() {
			t.Error("b has not taken over from one that stopped")
		}
		end(t, b)
	})
}

func TestADeadOneIsReplacedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{}
		a := begin(t, s, "a")
		after(time.Millisecond)
		b := begin(t, s, "b")
		after(10 * time.Second)
		a.wire.set(true, false)
		died := time.Now()
		for !b.leading() {
			after(10 * time.Millisecond)
			if a.leading() && b.leading() {
				t.Fatal("both serve")
			}
			if time.Since(died) > 5*time.Second {
				t.Fatal("nobody has taken over within 5 s")
			}
		}
		t.Logf("taken over after %s", time.Since(died))
		// It comes back, and waits.
		a.wire.set(false, false)
		after(time.Minute)
		if a.leading() || !b.leading() {
			t.Errorf("a leads: %v, b leads: %v", a.leading(), b.leading())
		}
		end(t, a, b)
	})
}

// An answer that is lost costs neither the lease nor, if that was taken, the
// chance to have it.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{}
		a := begin(t, s, "a")
		a.wire.set(false, true)
		after(2 * look)
		a.wire.set(false, false)
		after(time.Second)
		if !a.leading() {
			t.Fatal("a does not lead")
		}
		for range 20 {
			a.wire.set(false, true)
			after(every)
			a.wire.set(false, false)
			after(2 * every)
			if !a.leading() {
				t.Fatal("a lost the lease")
			}
		}
		end(t, a)
	})
}

func TestAFailureOfTheLeaderEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{}
		broken := errors.New("no disk")
		k := New(Config{Leases: &wire{shared: s}, Name: "root", Holder: "a", Logger: testkit.Logger(t)})
		err := k.Run(t.Context(), func(context.Context, uint64) error { return broken })
		if !errors.Is(err, broken) || s.lease.Holder != "" {
			t.Errorf("%v, the lease is %+v", err, s.lease)
		}
	})
}

// Whatever wires break, at no moment do two serve, terms grow, and once all
// work again somebody serves.
func TestNeverTwo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type cut struct {
			who, kind int
			pause     time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) cut {
			return cut{rapid.IntRange(0, 2).Draw(t, "who"), rapid.IntRange(0, 2).Draw(t, "kind"),
				time.Duration(rapid.IntRange(1, 6000).Draw(t, "ms")) * time.Millisecond}
		}), 1, 12).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			s := &shared{}
			all := []*process{begin(t, s, "a"), begin(t, s, "b"), begin(t, s, "c")}
			count := func() (n int) {
				for _, p := range all {
					if p.leading() {
						n++
					}
				}
				return n
			}
			pass := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); after(50 * time.Millisecond) {
					if count() > 1 {
						rt.Fatal("two serve at once")
					}
				}
			}
			for _, c := range steps {
				all[c.who].wire.set(c.kind == 1, c.kind == 2)
				pass(c.pause)
			}
			for _, p := range all {
				p.wire.set(false, false)
			}
			pass(2 * TTL)
			if count() != 1 {
				rt.Errorf("%d serve in the end", count())
			}
			seen := map[uint64]bool{}
			for _, p := range all {
				end(t, p)
				for _, term := range p.terms {
					if seen[term] {
						rt.Errorf("term %d was held twice", term)
					}
					seen[term] = true
				}
			}
		})
	})
}
