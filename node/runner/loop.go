package runner

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// Config of a Runner.
type Config struct {
	Boot  string        // the machine's boot id
	Every time.Duration // between full looks; default 2 s
	Grace time.Duration // TERM to KILL where a delete names none; default 10 s
	Limit int           // steps under way at once; default 8
}

// Deps are the effects of a Runner.
type Deps struct {
	Runtime runtime.Runtime
	Network Network // nil: loopback only
	Journal *Journal
	Log     *slog.Logger
	// Changed is called by the loop after every change of a state; it must not block.
	Changed func(Record)
}

// Runner is the loop. Make it with New.
type Runner struct {
	cfg     Config
	rt      runtime.Runtime
	net     Network
	journal *Journal
	log     *slog.Logger
	changed func(Record)
	slots   chan struct{}

	commands chan func()
	outcomes chan outcome
	ring     chan struct{}
	ready    chan struct{}

	records map[string]*Record // the loop's
	past    past               // the loop's
	steps   sync.WaitGroup

	mu       sync.Mutex
	snapshot []Record
}

// New makes a Runner; nothing happens before Run.
func New(cfg Config, d Deps) *Runner {
	if cfg.Every == 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Limit == 0 {
		cfg.Limit = 8
	}
	changed := d.Changed
	if changed == nil {
		changed = func(Record) {}
	}
	return &Runner{cfg: cfg, rt: d.Runtime, net: d.Network, journal: d.Journal, log: d.Log, changed: changed,
		slots: make(chan struct{}, cfg.Limit), commands: make(chan func()), outcomes: make(chan outcome),
		ring: make(chan struct{}, 1), ready: make(chan struct{}), records: map[string]*Record{}}
}

// Deploy asks for an attempt; asking again changes nothing, and one that was
// deleted or has a successor here is not started. It returns once the wish is on
// disk. An attempt whose wish cannot be kept has FAILED for good: the cluster
// reads so in the next report, and asking again says the same.
func (r *Runner) Deploy(ctx context.Context, s runtime.Spec) error {
	if s.Service == "" || s.Image == "" || s.Number < 0 {
		return fmt.Errorf("deploy of %s: service and image are needed: %w", s.ID(), errs.Invalid)
	}
	result := make(chan error, 1)
	return r.command(ctx, result, func() {
		if r.records[s.ID()] != nil {
			result <- nil
			return
		}
		if r.past.covers(s) || r.succeeded(s) {
			r.log.Info("order for an attempt that is over", "container", s.ID())
			r.changed(Record{Spec: s, State: instance.Undeployed, Seq: 1})
			result <- nil
			return
		}
		result <- r.accept(s)
	})
}

func (r *Runner) accept(s runtime.Spec) error {
	rec := &Record{Spec: s, State: instance.Creating, Seq: 1}
	err := r.journal.Save(*rec)
	if err != nil {
		rec.State, rec.Reason = instance.Failed, "the order could not be kept: "+err.Error()
		if !s.Attempt().Epoch.IsZero() { // without epochs the next try has the same name
			r.records[s.ID()] = rec
		}
	} else {
		r.records[s.ID()] = rec
		r.log.Info("attempt accepted", "container", s.ID(), "service", s.JobName, "image", s.Image)
	}
	r.changed(*rec)
	return err
}

// succeeded says that a later attempt of the slot is here: the order was held
// up, as epochs only grow. What it ordered would do a finished job again.
func (r *Runner) succeeded(s runtime.Spec) bool {
	a := s.Attempt()
	for _, rec := range r.records {
		if b := rec.Spec.Attempt(); b.Instance == a.Instance && !a.Epoch.IsZero() && a.Epoch.Less(b.Epoch) {
			return true
		}
	}
	return false
}

// Delete stops and forgets the attempts that t means; none is no error. grace
// 0 is the default, negative kills at once.
func (r *Runner) Delete(ctx context.Context, t Target, grace time.Duration) error {
	result := make(chan error, 1)
	return r.command(ctx, result, func() {
		var first error
		r.past.note(model.InstanceID{Service: model.ServiceID(t.Service), Number: t.Number}, t.Epoch)
		for _, rec := range r.records {
			if !t.Matches(rec.Spec) || rec.Delete {
				continue
			}
			rec.Delete, rec.NotUntil, rec.Fails = true, time.Time{}, 0
			if rec.cancel != nil {
				rec.cancel() // a pull under way must not hold the removal up
			}
			rec.Grace = r.cfg.Grace
			if grace != 0 {
				rec.Grace = max(grace, 0)
			}
			if err := r.journal.Save(*rec); err != nil && first == nil {
				first = err
			}
			r.log.Info("attempt to be removed", "container", rec.Spec.ID(), "grace", rec.Grace)
		}
		result <- first
	})
}

func (r *Runner) command(ctx context.Context, result chan error, f func()) error {
	select {
	case r.commands <- f:
		return <-result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Snapshot is a copy of all records, ordered by id, as of the last look.
func (r *Runner) Snapshot() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Record(nil), r.snapshot...)
}

// Ready is closed once records and containers have been read: before, a
// report would say that nothing runs.
func (r *Runner) Ready() <-chan struct{} { return r.ready }

// Run works until ctx ends. Containers keep running.
func (r *Runner) Run(ctx context.Context) error {
	kept, err := r.journal.Load()
	if err != nil {
		return err
	}
	for _, k := range kept {
		r.records[k.Spec.ID()] = &k
	}
	inner, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(inner) })
	defer func() {
		cancel()
		watch.Wait()
	}()
	defer r.drain(cancel)
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	backoff := lifecycle.NewBackoff(100*time.Millisecond, 2*time.Second)
	for {
		if err := r.pass(inner); err != nil && inner.Err() == nil {
			r.log.Warn("containerd does not answer; trying again", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(backoff.Next()):
			}
		} else {
			backoff.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-r.commands:
			f()
		case o := <-r.outcomes:
			r.take(o)
		case <-r.ring:
		case <-tick.C:
			r.measure(inner)
		}
		r.more()
	}
}

// more takes what else has come: a look at everything costs more the more
// there is, so one look answers all of it.
func (r *Runner) more() {
	for range 256 {
		select {
		case f := <-r.commands:
			f()
		case o := <-r.outcomes:
			r.take(o)
		default:
			return
		}
	}
}

// drain lets steps end that are under way.
func (r *Runner) drain(cancel func()) {
	cancel()
	done := make(chan struct{})
	go func() { r.steps.Wait(); close(done) }()
	for {
		select {
		case o := <-r.outcomes:
			if o.err == nil && o.state != instance.Failed {
				r.take(o)
			}
		case <-done:
			return
		}
	}
}

func (r *Runner) watch(ctx context.Context) {
	backoff := lifecycle.NewBackoff(100*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil {
		_ = r.rt.Watch(ctx, func() {
			backoff.Reset()
			select {
			case r.ring <- struct{}{}:
			default:
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Next()):
		}
	}
}

// pass observes, plans and starts the steps.
func (r *Runner) pass(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := r.rt.List(look)
	if err != nil {
		return err
	}
	have := make(map[string]*runtime.Container, len(list))
	for _, c := range list {
		id := c.Spec.ID()
		have[id] = &c
		if r.records[id] == nil { // its journal entry is lost: the container brings it back
			rec := &Record{Spec: c.Spec, State: instance.Creating, Seq: 1}
			r.records[id] = rec
			r.log.Info("container adopted", "container", id, "phase", c.Phase.String())
		}
		r.records[id].Pid = c.Pid
	}
	now := time.Now()
	for id, rec := range r.records {
		if rec.Busy || now.Before(rec.NotUntil) {
			continue
		}
		if a := Plan(*rec, have[id], r.cfg.Boot); a.Kind != Nothing {
			r.begin(ctx, rec, a, have[id])
		}
	}
	r.publish()
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return nil
}

func (r *Runner) begin(ctx context.Context, rec *Record, a Action, c *runtime.Container) {
	rec.Busy = true
	ctx, rec.cancel = context.WithCancel(ctx)
	copied := *rec
	r.steps.Go(func() {
		defer copied.cancel()
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
		r.outcomes <- r.apply(ctx, copied, a, c, func(o outcome) { r.outcomes <- o })
	})
}

// take writes the outcome of a step into its record.
func (r *Runner) take(o outcome) {
	rec := r.records[o.id]
	if rec == nil {
		return
	}
	if !o.partial {
		r.freed(rec, o)
	}
	if o.forget {
		r.forget(rec)
		return
	}
	r.advance(rec, o)
}

// freed frees the record for the next step, after a pause if this one failed.
func (r *Runner) freed(rec *Record, o outcome) {
	rec.Busy, rec.cancel = false, nil
	rec.Networks = rec.Networks || o.network
	if o.err == nil || (rec.Delete && o.kind == Make) { // done, or cut off on purpose
		rec.Fails = 0
		return
	}
	rec.Fails++
	rec.NotUntil = time.Now().Add(min(time.Second<<min(rec.Fails-1, 4), 10*time.Second))
	r.log.Warn("step failed; trying again", "container", o.id, "step", o.kind.String(), "error", o.err, "fails", rec.Fails)
}

// forget ends a record whose container and wish are gone.
func (r *Runner) forget(rec *Record) {
	id := rec.Spec.ID()
	if err := r.journal.Forget(id); err != nil {
		r.log.Error("journal", "error", err)
		return
	}
	r.log.Info("attempt removed", "container", id)
	rec.State, rec.Seq, rec.Reason = instance.Undeployed, rec.Seq+1, ""
	delete(r.records, id)
	r.publish()
	r.changed(*rec)
}

// advance keeps and tells what a step has found out.
func (r *Runner) advance(rec *Record, o outcome) {
	before := *rec
	if o.boot != "" {
		rec.Boot = o.boot
	}
	if o.address != "" {
		rec.Address = o.address
	}
	if o.state > rec.State || (o.state == rec.State && o.reason != "" && o.reason != rec.Reason) {
		rec.State, rec.Reason, rec.Exit, rec.Seq = o.state, o.reason, o.exit, rec.Seq+1
	}
	if rec.Seq == before.Seq && rec.Boot == before.Boot && rec.Address == before.Address {
		return
	}
	if err := r.journal.Save(*rec); err != nil {
		r.log.Error("journal", "error", err)
	}
	if rec.Seq != before.Seq {
		r.log.Info("attempt changed", "container", o.id, "from", Word(before.State), "to", Word(rec.State), "reason", rec.Reason)
		r.publish()
		r.changed(*rec)
	}
}

// measure reads the usage of what runs.
func (r *Runner) measure(ctx context.Context) {
	for _, rec := range r.records {
		if rec.State != instance.Running {
			continue
		}
		s, err := r.rt.Stats(ctx, rec.Spec)
		if err != nil {
			continue
		}
		now := time.Now()
		if span := now.Sub(rec.usedAt).Seconds(); !rec.usedAt.IsZero() && span > 0 {
			rec.CPU = max(s.CPUSeconds-rec.Usage.CPUSeconds, 0) / span * 100
		}
		rec.Usage, rec.usedAt = s, now
	}
}

func (r *Runner) publish() {
	out := make([]Record, 0, len(r.records))
	for _, id := range slices.Sorted(maps.Keys(r.records)) { // after every step: an id is dear to make
		rec := *r.records[id]
		rec.Restarting = rec.State == instance.Running && rec.Boot != r.cfg.Boot
		out = append(out, rec)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot = out
}

// Word is a state as it is written everywhere.
func Word(s instance.State) string {
	return [...]string{"", "CREATING", "CREATED", "RUNNING", "COMPLETED", "DEAD", "FAILED", "UNDEPLOYED"}[s&7]
}
