package control

import (
	"fmt"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/rollout"
)

// Progress is a rollout as a user sees it.
type Progress struct {
	Revision, Target uint64
	Updated, Total   int
	MaxUnavailable   int
	State            model.RolloutState
	Message          string
}

// Progress sums the rollout up. An instance that no cluster has yet counts as
// updated: whoever takes it is given what the service says then.
func (v ServiceView) Progress() Progress {
	p := Progress{
		Revision: v.Service.Rollout.From, Target: v.Service.Revision, Total: len(v.Slots), State: v.Service.Rollout.State,
		Message: v.Service.Rollout.Message, MaxUnavailable: rollout.LimitsOf(v.Service.Spec).MaxUnavailable,
	}
	if p.State == model.RolloutDone {
		p.Revision = v.Service.Revision
	}
	for _, s := range v.Slots {
		if s.Grant != 0 && !s.Instance.Service.Spec.Runs(v.Service.Spec) {
			continue
		}
		p.Updated++
		waits := s.Grant != 0 && s.Word != instance.WordRunning && s.Word != instance.WordCompleted
		if p.State == model.RolloutRunning && p.Message == "" && waits {
			p.Message = fmt.Sprintf("waiting for instance %d: %s", s.ID.Number, s.Word)
			if s.Detail != "" {
				p.Message += ": " + s.Detail
			}
		}
	}
	return p
}
