package runner

import (
	"fmt"

	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
)

// Kind of a step.
type Kind uint8

// The steps. At most one is under way per attempt.
const (
	Nothing Kind = iota
	Make         // pull, create container and task
	Launch       // attach the network, start
	Adopt        // it runs: attach the network again (idempotent), say RUNNING
	Finish       // it is over: detach, remove the container, keep the record
	Stop         // TERM, grace, KILL
	Clear        // deleted: detach, remove container and logs, forget the record
)

// String names the kind in logs.
func (k Kind) String() string {
	return [...]string{"nothing", "make", "launch", "adopt", "finish", "stop", "clear"}[k%7]
}

// Action is the next step of one attempt.
type Action struct {
	Kind   Kind
	State  instance.State // of a Finish
	Reason string
	Exit   int32
}

// Plan decides the next step of an attempt: r is its record, c its container
// (nil: none), boot the machine's present boot id. Pure.
func Plan(r Record, c *runtime.Container, boot string) Action {
	switch {
	case r.Delete:
		if c != nil && c.Phase == runtime.Running {
			return Action{Kind: Stop}
		}
		return Action{Kind: Clear}
	case r.State.Terminal():
		if c == nil {
			return Action{}
		}
		return Action{Kind: Finish, State: r.State, Reason: r.Reason, Exit: r.Exit}
	case c == nil, c.Phase == runtime.NoTask:
		return planMissing(r, c, boot)
	case c.Phase == runtime.Ready:
		return Action{Kind: Launch}
	case c.Phase == runtime.Running:
		if r.State != instance.Running || !r.Networks {
			return Action{Kind: Adopt}
		}
		return Action{}
	}
	return ended(r, c.Exit)
}

// planMissing tells an attempt that was not made yet, and one whose machine
// rebooted, from one that was taken away.
func planMissing(r Record, c *runtime.Container, boot string) Action {
	if r.Boot == "" || r.Boot != boot {
		return Action{Kind: Make}
	}
	what := "its process"
	if c == nil {
		what = "its container"
	}
	return Action{Kind: Finish, State: instance.Dead, Reason: what + " disappeared", Exit: 137}
}

func ended(r Record, exit int32) Action {
	reason := fmt.Sprintf("Container exited with status: %d", exit)
	if exit == 0 && r.Spec.OneShot {
		return Action{Kind: Finish, State: instance.Completed, Reason: reason}
	}
	return Action{Kind: Finish, State: instance.Dead, Reason: reason, Exit: exit}
}
