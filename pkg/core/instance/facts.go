package instance

import (
	"net/netip"
	"slices"

	"oakestra/pkg/core/model"
)

// Verdict is the cluster's answer to a grant.
type Verdict uint8

// The verdicts. A refused grant goes back to the root, which tries the next
// cluster or says why none can.
const (
	Pending Verdict = iota
	Placed
	Refused
)

// Reason counts why nodes (or clusters) did not qualify: "memory" -> 3.
type Reason struct {
	Name   string // vcpus, memory, cordon, node, ...
	Count  int
	Detail string // one example, e.g. "w3: 512 > 300 MiB free"; may be empty
}

// Reasons that do not come from a filter of placement.
const (
	// ReasonFailed counts workers of a refused slot that could not start it.
	ReasonFailed = "failed"
	// ReasonSent counts the orders to start a placed slot; its worker does not
	// report it yet.
	ReasonSent = "sent"
)

// Placement is the cluster's fact about a slot.
type Placement struct {
	Try     uint32
	Node    model.NodeID
	Host    string     // the node's host name
	HostIP  netip.Addr // the node's address
	Verdict Verdict
	Reasons []Reason // why refused, or what is waited for
}

// Failed says that workers could not start it, and none is left to try.
func (p Placement) Failed() bool {
	return p.Verdict == Refused && slices.ContainsFunc(p.Reasons, func(r Reason) bool { return r.Name == ReasonFailed })
}

// State is the position of one attempt. Within an epoch it only grows.
type State uint8

// The states in order. The four last are terminal; among them the greater
// wins, so that two reports merge to the same result in any order.
const (
	Unknown    State = iota // nothing reported yet
	Creating                // pulling the image, making container and network
	Created                 // container made, not yet executing
	Running                 // the process executes
	Completed               // one-shot ended with 0
	Dead                    // ended by itself
	Failed                  // could not be started, or lost
	Undeployed              // removed on request
)

// Terminal says that the attempt is over.
func (s State) Terminal() bool { return s >= Completed }

// Observed is the node's fact about an attempt.
type Observed struct {
	Epoch  Epoch
	State  State
	Seq    uint64 // grows with every change the node saw in this attempt
	Reason string // why failed, or how it ended
	Exit   int32  // exit code, meaningful for Completed and Dead
}

// Vital is the node's running report; it never moves State.
type Vital struct {
	Boot  string // id of the agent's start
	Seq   uint64
	Usage model.Usage
	// NamespaceIP is the address in the node's /26, once NetManager gave one.
	NamespaceIP netip.Addr
	PublicIP    string
	Healthy     bool
	LogTail     string // last bytes of output
}
