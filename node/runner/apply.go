package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

// Network gives containers their addresses. Both calls are idempotent.
type Network interface {
	// Attach moves a task that has not started yet into the overlay.
	Attach(ctx context.Context, s runtime.Spec, pid uint32) (Attached, error)
	// Detach removes what Attach made; unknown containers are no error.
	Detach(ctx context.Context, s runtime.Spec) error
	// DNS is the resolver for new containers, "" for the host's. It may wait
	// for the network to be there.
	DNS(ctx context.Context) (string, error)
}

// Attached is a container's place in the overlay.
type Attached struct{ Address string }

// outcome of a step, applied to the record by the loop.
type outcome struct {
	id      string
	kind    Kind
	state   instance.State // 0: unchanged
	reason  string
	exit    int32
	boot    string
	address string
	network bool
	forget  bool
	err     error // try again later, or give up
	partial bool  // more of the same step follows
}

const (
	makeTries   = 4
	attachTries = 4
	stepLimit   = 2 * time.Minute
)

// apply takes one step. say reports a state reached on the way.
func (r *Runner) apply(ctx context.Context, rec Record, a Action, c *runtime.Container, say func(outcome)) outcome {
	out := outcome{id: rec.Spec.ID(), kind: a.Kind}
	switch a.Kind {
	case Make:
		r.make(ctx, rec, &out, say)
	case Launch:
		r.launch(ctx, rec, c, &out)
	case Adopt:
		out.state, out.boot = instance.Running, r.cfg.Boot
		r.attach(ctx, rec.Spec, c.Pid, &out)
	case Stop:
		ctx, cancel := context.WithTimeout(ctx, rec.Grace+stepLimit)
		defer cancel()
		out.err = r.rt.Stop(ctx, out.id, rec.Grace)
	case Finish:
		out.state, out.reason, out.exit = a.State, a.Reason, a.Exit
		partial := out
		partial.partial = true
		say(partial) // kept on disk before the container that proves it is gone
		out.err = r.takeAway(ctx, rec, c, false)
	case Clear:
		out.err = r.takeAway(ctx, rec, c, true)
		out.forget = out.err == nil
	case Nothing:
	}
	return out
}

// make goes on with the start at once: to look at everything again in between
// takes longer than some starts do.
func (r *Runner) make(ctx context.Context, rec Record, out *outcome, say func(outcome)) {
	c := r.create(ctx, rec, out)
	if out.state != instance.Created || ctx.Err() != nil { // when it was deleted meanwhile
		return
	}
	created := *out
	created.partial = true
	var told sync.WaitGroup
	told.Go(func() { say(created) }) // the loop may be busy; the start does not wait for it
	r.launch(ctx, rec, &c, out)
	told.Wait()
}

func (r *Runner) create(ctx context.Context, rec Record, out *outcome) (made runtime.Container) {
	fail := func(err error) {
		if permanent(err) || rec.Fails+1 >= makeTries {
			out.state, out.reason = instance.Failed, err.Error()
			return
		}
		out.err = err
	}
	if rec.Spec.Ports != "" && r.net == nil {
		fail(fmt.Errorf("ports %q need the network: start NodeEngine with -n <port of NetManager>: %w", rec.Spec.Ports, errs.Invalid))
		return
	}
	if err := r.rt.Pull(ctx, rec.Spec.Image, func(text string) {
		// A transfer can outlive the step, and even the loop: then nobody listens.
		select {
		case r.outcomes <- outcome{id: rec.Spec.ID(), partial: true, state: instance.Creating, reason: text}:
		case <-ctx.Done():
		}
	}); err != nil {
		fail(err)
		return
	}
	spec := rec.Spec
	if r.net != nil {
		dns, err := r.net.DNS(ctx)
		if err != nil {
			fail(err)
			return
		}
		spec.DNS = dns
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	made, err := r.rt.Create(ctx, spec)
	if err != nil {
		fail(err)
		return
	}
	if made.Phase == runtime.Ready {
		out.state = instance.Created
	}
	return made
}

// permanent errors do not go away by trying again on this node.
func permanent(err error) bool {
	return errors.Is(err, errs.NotFound) || errors.Is(err, errs.Invalid)
}

func (r *Runner) launch(ctx context.Context, rec Record, c *runtime.Container, out *outcome) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	r.attach(ctx, rec.Spec, c.Pid, out)
	if out.err != nil {
		if permanent(out.err) || rec.Fails+1 >= attachTries {
			out.state, out.reason, out.err = instance.Failed, out.err.Error(), nil
		}
		return
	}
	if err := r.rt.Start(ctx, out.id); err != nil {
		out.state, out.reason = instance.Failed, err.Error()
		return
	}
	out.state, out.boot = instance.Running, r.cfg.Boot
}

func (r *Runner) attach(ctx context.Context, s runtime.Spec, pid uint32, out *outcome) {
	if r.net == nil {
		out.network = true
		return
	}
	got, err := r.net.Attach(ctx, s, pid)
	if err != nil {
		out.err = fmt.Errorf("network of %s: %w", s.ID(), err)
		return
	}
	out.network, out.address = true, got.Address
}

func (r *Runner) takeAway(ctx context.Context, rec Record, c *runtime.Container, logs bool) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if r.net != nil && c != nil {
		if err := r.net.Detach(ctx, rec.Spec); err != nil && rec.Fails < attachTries {
			return fmt.Errorf("network of %s: %w", rec.Spec.ID(), err)
		}
	}
	return r.rt.Remove(ctx, rec.Spec.ID(), logs)
}
