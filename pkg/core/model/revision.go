package model

import "slices"

// MaxHistory bounds the revisions kept of a service, the present one included.
const MaxHistory = 10

// Defaults of how a change is rolled out.
const (
	DefaultMaxUnavailable = 1
	DefaultStartSeconds   = 300 // images are large and links are thin
)

// Revision is an earlier spec of a service.
type Revision struct {
	Number uint64
	Spec   ServiceSpec
}

// RolloutState says how far a service's instances are brought to its spec.
type RolloutState string

// The states. A failed rollout leaves what was not replaced as it is.
const (
	RolloutDone    RolloutState = ""
	RolloutRunning RolloutState = "running"
	RolloutFailed  RolloutState = "failed"
)

// Rollout brings the instances of a service to its present revision.
type Rollout struct {
	State RolloutState
	From  uint64 // the last revision that was rolled out completely
	// Message says what went wrong, or what is waited for.
	Message string
}

// Change gives the service a new spec, keeps the old one, and begins a
// rollout. The store counts Revision up. Without a difference nothing changes,
// but a rollout that failed begins again.
func (s Service) Change(spec ServiceSpec) Service {
	if spec.Equal(s.Spec) {
		if s.Rollout.State == RolloutFailed {
			s.Rollout.State, s.Rollout.Message = RolloutRunning, ""
		}
		return s
	}
	history := append(slices.Clone(s.History), Revision{s.Revision, s.Spec})
	s.History = history[max(0, len(history)-(MaxHistory-1)):]
	if s.Rollout.State == RolloutDone {
		s.Rollout.From = s.Revision
	}
	s.Spec, s.Rollout.State, s.Rollout.Message = spec, RolloutRunning, ""
	return s
}

// Assigned is the service as an instance remembers it.
func (s Service) Assigned() Service {
	s.History, s.Rollout = nil, Rollout{}
	return s
}

// Equal says that two specs are the same to a user.
func (s ServiceSpec) Equal(o ServiceSpec) bool {
	return s.Runs(o) && s.PortText == o.PortText && s.OnClusterLoss == o.OnClusterLoss && s.Kept == o.Kept &&
		s.MaxUnavailable == o.MaxUnavailable && s.StartSeconds == o.StartSeconds
}

// Runs says that two specs are the same to a node: an instance of one need
// not be replaced to be one of the other.
func (s ServiceSpec) Runs(o ServiceSpec) bool {
	return s.Image == o.Image && s.Runtime == o.Runtime && s.Demand == o.Demand && s.OneShot == o.OneShot &&
		slices.Equal(s.Command, o.Command) && slices.Equal(s.Environment, o.Environment) && slices.Equal(s.Ports, o.Ports) &&
		slices.Equal(s.Arch, o.Arch) && slices.EqualFunc(s.Constraints, o.Constraints, sameConstraint)
}

func sameConstraint(a, b Constraint) bool {
	return a.Type == b.Type && a.Cluster == b.Cluster && slices.Equal(a.Nodes, b.Nodes) && slices.Equal(a.Allowed, b.Allowed)
}
