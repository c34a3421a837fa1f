package fleet

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// Which workers could not start an instance. It goes to none of them again
// before it was healthy for a minute; when no other worker qualifies it is
// refused, so that the root may try another cluster, and after a pause all of
// them get another chance. What ends by itself blames nobody: it stays here.

// healthyFor is how long an attempt runs before what went wrong is forgotten.
const healthyFor = time.Minute

// failure is a worker that could not start an instance.
type failure struct {
	node model.NodeID
	why  string
}

// forgives forgets what went wrong once an attempt was healthy for a while.
func (c *core) forgives(s *slot) {
	if !s.running.IsZero() && c.now.Sub(s.running) >= healthyFor {
		s.failures, s.rounds, s.failed, s.again = 0, 0, nil, time.Time{}
	}
}

// blame notes the worker of the current attempt if it is the cause of its end:
// it could not start it, or never said that it did.
func (c *core) blame(s *slot, id model.NodeID, why string) {
	switch o := s.Observed; o.State {
	case instance.Failed:
		why = cmp.Or(o.Reason, why)
	case instance.Unknown, instance.Creating, instance.Created:
		if n := c.nodes[id]; n != nil {
			c.f.log.Warn("worker", "node", id, "instance", s.Instance, "problem", why)
			c.f.deps.Root.Note("node-unheeding", string(id), s.Service.Name.String()+": "+why)
		}
	case instance.Running, instance.Completed, instance.Dead, instance.Undeployed:
		return
	}
	s.failed = slices.DeleteFunc(s.failed, func(f failure) bool { return f.node == id })
	s.failed = append(s.failed, failure{id, why})
}

// choose places a slot on a worker that has not failed it. Once all that
// qualify have, and the pause is over, each of them may be tried again.
func (c *core) choose(s *slot) (placement.Choice, error) {
	choice, err := c.index.Place(c.onto(s))
	switch {
	case err == nil, len(s.failed) == 0:
		s.again = time.Time{}
	case s.again.IsZero():
		s.again = c.now.Add(min(c.f.cfg.ClusterRetry<<min(s.rounds, 3), time.Minute))
		s.rounds++
	case !c.now.Before(s.again):
		s.failed, s.again = nil, time.Time{}
		return c.index.Place(c.onto(s))
	}
	return choice, err
}

// reasons says why a slot was refused; none when there are no workers.
func (c *core) reasons(s *slot, err error) []instance.Reason {
	var refusal *placement.Refusal
	if !errors.As(err, &refusal) {
		return nil
	}
	i := slices.IndexFunc(refusal.Reasons, func(r instance.Reason) bool { return r.Name == placement.Excluded })
	if i < 0 || len(s.failed) == 0 {
		return refusal.Reasons
	}
	reasons, last := slices.Clone(refusal.Reasons), s.failed[len(s.failed)-1]
	who := string(last.node)
	if n := c.nodes[last.node]; n != nil {
		who = n.Host
	}
	reasons[i].Name, reasons[i].Detail = instance.ReasonFailed, who+": "+last.why
	return reasons
}
