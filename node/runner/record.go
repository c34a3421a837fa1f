package runner

import (
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
)

// Record is what is known of one attempt.
type Record struct {
	Spec    runtime.Spec   `json:"spec"`
	State   instance.State `json:"state"`
	Seq     uint64         `json:"seq"` // grows with every change of State or Reason
	Reason  string         `json:"reason,omitempty"`
	Exit    int32          `json:"exit,omitempty"`
	Delete  bool           `json:"delete,omitempty"`
	Grace   time.Duration  `json:"grace,omitempty"`
	Boot    string         `json:"boot,omitempty"`    // of the machine when the task was started
	Address string         `json:"address,omitempty"` // in the node's subnet

	// not kept
	Pid uint32 `json:"-"`
	// Restarting: it ran when the machine went down, and is being started again.
	Restarting bool          `json:"-"`
	Usage      runtime.Stats `json:"-"`
	CPU        float64       `json:"-"` // per cent of one core since the last look
	Networks   bool          `json:"-"` // attached since this start
	Busy       bool          `json:"-"` // a step is being applied
	NotUntil   time.Time     `json:"-"` // the last step failed
	Fails      int           `json:"-"`
	usedAt     time.Time
	cancel     func() // ends the step under way
}

// Observed is the record as the domain's fact.
func (r Record) Observed() instance.Observed {
	return instance.Observed{Epoch: r.Spec.Attempt().Epoch, State: r.State, Seq: r.Seq, Reason: r.Reason, Exit: r.Exit}
}

// Target says which attempts a delete means.
type Target struct {
	Service string // service id; "" when only the job name is known
	JobName string
	Number  int
	Epoch   instance.Epoch // zero: all attempts of the slot
}

// Matches is true for an attempt that t means.
func (t Target) Matches(s runtime.Spec) bool {
	if s.Number != t.Number {
		return false
	}
	if t.Service != "" && string(s.Service) != t.Service {
		return false
	}
	if t.Service == "" && s.JobName != t.JobName {
		return false
	}
	return t.Epoch.IsZero() || s.Attempt().Epoch == t.Epoch
}
