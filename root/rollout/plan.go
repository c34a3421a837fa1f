package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"oakestra/pkg/core/model"
)

// Stable is how long an instance must run before the next one is replaced: a
// program that ends at once has done so by then.
const Stable = 5 * time.Second

// Phase is what an instance does, as far as a rollout needs it.
type Phase uint8

// The phases.
const (
	Waiting  Phase = iota // no cluster has it; whoever takes it gets the new spec
	Starting              // asked for, does not run
	Up                    // runs, or has completed
	Broken                // ended or could not start
)

// Slot is one instance.
type Slot struct {
	Number int
	New    bool // it was given what the service says now
	Kept   bool // and had it before the rollout began: it proves nothing
	Phase  Phase
	For    time.Duration // how long it has been in Phase under its grant
	Asked  time.Duration // how long it has had its grant
	Why    string        // what keeps it from running
	// Blocked is how long it should have been replaced and could not be, and
	// BlockedBy why not.
	Blocked   time.Duration
	BlockedBy string
}

// Limits of a rollout.
type Limits struct {
	MaxUnavailable int
	Start          time.Duration
}

// LimitsOf reads them from a spec.
func LimitsOf(s model.ServiceSpec) Limits {
	l := Limits{MaxUnavailable: model.DefaultMaxUnavailable, Start: model.DefaultStartSeconds * time.Second}
	if s.MaxUnavailable > 0 {
		l.MaxUnavailable = s.MaxUnavailable
	}
	if s.StartSeconds > 0 {
		l.Start = time.Duration(s.StartSeconds) * time.Second
	}
	return l
}

// Decision is what to do now.
type Decision struct {
	State   model.RolloutState
	Message string // why it failed
	Replace []int  // numbers, in order
	Updated int    // instances that run the new spec and have proved it
	Again   time.Duration
}

// Plan decides. It replaces at most MaxUnavailable instances at a time, those
// that do not run first, then by number; it stops at the first new one that
// ends or does not run in time.
func Plan(l Limits, slots []Slot) Decision {
	d := Decision{State: model.RolloutRunning}
	old, pending, failed := d.sort(l, slots)
	slices.SortFunc(failed, func(a, b Slot) int { return cmp.Compare(a.Number, b.Number) })
	slices.SortFunc(old, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Number, b.Number))
	})
	for _, s := range old {
		if s.Blocked >= l.Start {
			failed = append(failed, s)
		}
	}
	if len(failed) > 0 {
		return Decision{State: model.RolloutFailed, Message: explain(failed[0], l), Updated: d.Updated}
	}
	if len(old)+pending == 0 {
		d.State = model.RolloutDone
		return d
	}
	for _, s := range old[:min(len(old), max(0, l.MaxUnavailable-pending))] {
		d.Replace = append(d.Replace, s.Number)
	}
	return d
}

// sort counts what is new and proved, and tells apart what is old, what is new
// and not proved yet, and what is new and failed.
func (d *Decision) sort(l Limits, slots []Slot) (old []Slot, pending int, failed []Slot) {
	for _, s := range slots {
		switch {
		case s.Phase == Waiting:
		case !s.New:
			old = append(old, s)
		case s.Kept:
			d.Updated++
		case s.Phase == Broken || s.Phase == Starting && s.Asked >= l.Start:
			failed = append(failed, s)
		case s.Phase == Up && s.For >= Stable:
			d.Updated++
		case s.Phase == Up:
			pending++
			d.look(Stable - s.For)
		default:
			pending++
			d.look(l.Start - s.Asked)
		}
	}
	return old, pending, failed
}

// look again after a time at the latest; 0 means when something changes.
func (d *Decision) look(after time.Duration) {
	if d.Again == 0 || after < d.Again {
		d.Again = after
	}
}

// rank puts first what serves nobody.
func rank(s Slot) int {
	switch s.Phase {
	case Broken:
		return 0
	case Starting, Waiting:
		return 1
	case Up:
	}
	return 2
}

func explain(s Slot, l Limits) string {
	switch {
	case !s.New:
		return fmt.Sprintf("instance %d cannot be replaced: %s", s.Number, s.BlockedBy)
	case s.Phase == Broken:
		return fmt.Sprintf("instance %d: %s", s.Number, s.Why)
	}
	return fmt.Sprintf("instance %d does not run after %s: %s", s.Number, l.Start, s.Why)
}
