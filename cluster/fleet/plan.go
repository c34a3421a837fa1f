package fleet

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Pauses of the deploy loop.
const (
	settleAfter   = time.Second      // a report this much younger than a message answers it
	originalWait  = 30 * time.Second // originals do not report while they pull
	originalClear = 6 * time.Second
	originalPull  = 10 * time.Minute // what was never heard of may be pulled for so long
	resendMax     = 4 * time.Second  // the node has reported, and does not have it
	takeOver      = 2 * time.Second  // between RUNNING of a replacement and the end of what it replaces
)

// Deadlines of an attempt on a worker that lives: past them it is given up, and
// the worker is the cause. docs/design/instance.md has them all.
const (
	enoughSends   = 5                // orders, and reports after each that do not hold the attempt
	heedWithin    = 30 * time.Second // since the first order
	originalHeeds = originalPull     // the same, since originals say nothing while they pull
	placeWithin   = 15 * time.Minute // waiting for something else of that name on an original: it may be pulled
	makeWithin    = 20 * time.Minute // CREATING without any change; NodeEngine ends a pull after 15 min
	launchWithin  = 10 * time.Minute // CREATED without any change; four steps of 2 min, and the pauses between
)

// Kind of an action.
type Kind uint8

// The kinds, in the order in which a slot needs them.
const (
	Stale    Kind = iota // a reported attempt is older than the current one
	Revert               // go back to an attempt that was thought lost
	Back                 // the attempt ended: wait before the next
	Retry                // give up the attempt; the next is placed
	Move                 // the node is drained: replace the attempt, it runs on meanwhile
	Place                // choose a node
	Deploy               // tell the node
	HandOver             // the replacement runs: take the replaced endpoint out of the tables
	Leave                // take the endpoint out of the tables
	Retire               // the endpoint has left: the attempt may be deleted
	Delete               // tell the node to remove an attempt
	Done                 // nothing is left of a tombstone
)

var kinds = [...]string{"stale", "revert", "back", "retry", "move", "place", "deploy", "hand over", "leave", "retire", "delete", "done"}

// Action is one step for one slot.
type Action struct {
	Kind     Kind
	Instance model.InstanceID
	Node     model.NodeID
	Epoch    instance.Epoch
	Why      string
}

// String fits a line of a golden file.
func (a Action) String() string {
	s := fmt.Sprintf("%s %s %s", kinds[a.Kind], a.Instance, a.Epoch)
	if a.Node != "" {
		s += " on " + string(a.Node)
	}
	if a.Why != "" {
		s += ": " + a.Why
	}
	return s
}

// Want is a slot with what was done for it since start.
type Want struct {
	store.Slot
	DeployAt time.Time // last Deploy, zero: none since start
	Sends    int
	Since    time.Time // the first order of the attempt, or the last change that was heard of it
	RetryAt  time.Time // zero: no pause is set
	Leaving  bool
	Left     bool
	// HandingOver: the endpoint of Handoff is leaving the tables.
	HandingOver bool
	MoveAt      time.Time // no move was possible: not again before
	DeletedAt   map[store.Old]time.Time
	Observed    instance.Observed
	Missed      bool // was reported and is not any more
	Loaded      bool // placed before this start of the manager
}

// NodeHave is a worker as far as a slot needs it.
type NodeHave struct {
	Liveness   instance.Liveness
	CompleteAt time.Time // last complete report since start, zero: none
	Original   bool
	Draining   bool
	// Full: what an attempt of the slot there needs was given to others since.
	Full bool
}

// Seen is an attempt in a worker's last complete report.
type Seen struct {
	Node  model.NodeID
	Epoch instance.Epoch
	State instance.State
	// Restarting: it does not run just now, see nodelink.Container.
	Restarting bool
}

// Have is everything seen that concerns one slot.
type Have struct {
	Nodes  map[model.NodeID]NodeHave
	Seen   []Seen
	Synced bool // the root gave a snapshot since start
	// Recovering: an earlier life of the book may have placed it, see recovers.
	Recovering bool
	Braked     bool // too many nodes were lost at once: nothing is replaced
	// Unheard: a worker that is not lost has not said since start what it holds.
	Unheard bool
	// Taken: the node is an original agent's, and another slot of the same job
	// name and number is there or on its way. Stays: that one is not about to
	// end, and this one was not sent yet.
	Taken, Stays bool
	// Running is since when the attempt runs, zero when that is not known.
	Running time.Time
}

// Plan says what to do for one slot now, and when to look again at the
// latest (zero: when something changes).
func Plan(w Want, h Have, now time.Time) (acts []Action, again time.Time) {
	p := planner{w: w, h: h, now: now}
	p.stale()
	if w.Tombstone {
		p.tombstone()
	} else {
		p.live()
	}
	p.handOver()
	p.deletes()
	sort.SliceStable(p.acts, func(i, j int) bool {
		a, b := p.acts[i], p.acts[j]
		if a.Kind != b.Kind {
			return a.Kind < b.Kind
		}
		if c := a.Epoch.Compare(b.Epoch); c != 0 {
			return c < 0
		}
		return a.Node < b.Node
	})
	return p.acts, p.again
}

type planner struct {
	w     Want
	h     Have
	now   time.Time
	acts  []Action
	again time.Time
}

func (p *planner) add(k Kind, node model.NodeID, e instance.Epoch, why string) {
	p.acts = append(p.acts, Action{k, p.w.Instance, node, e, why})
}

// due says whether t has come, and remembers to look again then.
func (p *planner) due(t time.Time) bool {
	if !t.After(p.now) {
		return true
	}
	if p.again.IsZero() || t.Before(p.again) {
		p.again = t
	}
	return false
}

func (p *planner) isOld(o store.Old) bool {
	for _, have := range p.w.Old {
		if have == o {
			return true
		}
	}
	return false
}

func (p *planner) current(s Seen) bool {
	return p.w.Placement.Verdict == instance.Placed && s.Node == p.w.Placement.Node && s.Epoch == p.w.Epoch()
}

// stale finds reported attempts of the slot that nothing remembers.
func (p *planner) stale() {
	for _, s := range p.h.Seen {
		o := store.Old{Epoch: s.Epoch, Node: s.Node}
		if p.current(s) || p.isOld(o) {
			continue
		}
		if ours(p.w.Slot, s.Epoch) {
			p.add(Stale, s.Node, s.Epoch, "")
		}
	}
}

func (p *planner) tombstone() {
	if !p.h.Synced {
		return
	}
	if p.w.Placement.Verdict == instance.Placed {
		switch {
		case p.w.Left:
			p.add(Retire, p.w.Placement.Node, p.w.Epoch(), "")
		case !p.w.Leaving:
			p.add(Leave, p.w.Placement.Node, p.w.Epoch(), "")
		}
		return
	}
	if p.h.Recovering && !p.due(p.w.RetryAt) {
		return // a worker that has not come yet may hold it
	}
	if len(p.w.Old) == 0 && len(p.acts) == 0 && !p.h.Unheard {
		for _, n := range p.h.Nodes {
			if n.CompleteAt.IsZero() && n.Liveness != instance.Lost {
				p.due(p.now.Add(settleAfter)) // it may hold an attempt: look again
				return
			}
		}
		p.add(Done, "", p.w.Epoch(), "")
	}
}

func (p *planner) live() {
	if p.revert() {
		return
	}
	if p.w.Placement.Verdict != instance.Placed {
		if p.due(p.w.RetryAt) {
			p.add(Place, "", p.w.Epoch(), "")
		}
		return
	}
	node, known := p.h.Nodes[p.w.Placement.Node]
	o := p.w.Observed
	switch {
	case o.State == instance.Completed && p.w.Service.Spec.OneShot:
	case o.State.Terminal():
		p.ended(o.Reason)
	case !known:
		p.add(Retry, p.w.Placement.Node, p.w.Epoch(), "the node was removed")
	case node.Liveness == instance.Lost:
		if !p.h.Braked {
			p.add(Retry, p.w.Placement.Node, p.w.Epoch(), "the node is lost")
		}
	case p.w.Missed:
		p.ended("the node no longer holds it")
	case p.moves(node):
		p.add(Move, p.w.Placement.Node, p.w.Epoch(), "the node is drained")
	case o.State == instance.Unknown:
		p.deploy(node)
	case o.State == instance.Creating:
		p.within(node, makeWithin, "CREATING")
	case o.State == instance.Created:
		p.within(node, launchWithin, "CREATED")
	}
}

// within ends an attempt that reports have shown in one state for too long, and
// says whether it was that long.
func (p *planner) within(n NodeHave, limit time.Duration, word string) bool {
	end := p.w.Since.Add(limit)
	if p.w.Since.IsZero() || !p.due(end) || !n.CompleteAt.After(end) {
		return false
	}
	p.ended(fmt.Sprintf("it was %s for %s", word, limit))
	return true
}

func (p *planner) ended(why string) {
	switch {
	case p.w.RetryAt.IsZero():
		p.add(Back, p.w.Placement.Node, p.w.Epoch(), why)
	case p.due(p.w.RetryAt):
		p.add(Retry, p.w.Placement.Node, p.w.Epoch(), why)
	}
}

// revert finds the attempt of a returned node while its replacement does not
// run. Once that runs it stays, and the returned attempt ends. So it does where
// its room or its host port was given to another service in between.
func (p *planner) revert() bool {
	if o := p.w.Observed.State; o == instance.Running || o == instance.Completed || p.w.Placement.Try == 0 || p.unsure() {
		return false
	}
	for _, s := range p.h.Seen {
		o := store.Old{Epoch: s.Epoch, Node: s.Node}
		if o == p.w.Handoff && p.w.Placement.Verdict != instance.Refused {
			continue // its replacement is on the way
		}
		if s.State == instance.Running && !s.Restarting && s.Epoch.Grant == p.w.Grant && p.isOld(o) && p.w.DeletedAt[o].IsZero() &&
			p.h.Nodes[s.Node].Liveness == instance.Alive && !p.h.Nodes[s.Node].Full {
			p.add(Revert, s.Node, s.Epoch, "the node returned")
			return true
		}
	}
	return false
}

// unsure says that the current attempt was placed before this start of the
// manager, and that its node has not said yet whether it runs.
func (p *planner) unsure() bool {
	n, known := p.h.Nodes[p.w.Placement.Node]
	return p.w.Placement.Verdict == instance.Placed && p.w.Loaded && p.w.Observed.State == instance.Unknown &&
		known && n.CompleteAt.IsZero() && n.Liveness != instance.Lost
}

// deploy sends, and sends again when a report that is younger than the last
// message does not hold the attempt.
func (p *planner) deploy(n NodeHave) {
	if n.CompleteAt.IsZero() && (p.w.Loaded || n.Liveness == instance.Unseen) {
		return // after a start: the node may hold it already
	}
	if p.h.Stays {
		p.add(Retry, p.w.Placement.Node, p.w.Epoch(), "the node has another service of that name")
		return
	}
	if p.h.Taken {
		p.within(n, placeWithin, "waiting for another service of that name to end")
		p.due(p.now.Add(settleAfter))
		return // one name, one container: the two could not be told apart
	}
	if n.Original {
		for _, o := range p.w.Old {
			if o.Node == p.w.Placement.Node {
				p.within(n, placeWithin, "waiting for the one before to end")
				return // without epochs the two could not be told apart
			}
		}
	}
	p.sends(n)
}

// sends sends an order for which the place is free.
func (p *planner) sends(n NodeHave) {
	wait := min(settleAfter<<min(max(p.w.Sends-1, 0), 5), resendMax)
	if n.Original {
		wait = originalWait
	}
	switch {
	case p.w.DeployAt.IsZero():
		// Nothing is sent to an original while an orphan is in the place.
		if !n.Original || !p.within(n, placeWithin, "waiting for an orphan to end") {
			p.add(Deploy, p.w.Placement.Node, p.w.Epoch(), "")
		}
	case !p.due(p.w.DeployAt.Add(wait)) || !n.CompleteAt.After(p.w.DeployAt.Add(settleAfter)):
	case p.unheeded(n):
		p.ended(fmt.Sprintf("it was told to start it %d times, and does not report it", p.w.Sends))
	default:
		p.add(Deploy, p.w.Placement.Node, p.w.Epoch(), "")
	}
}

// unheeded says that a worker which reports was told often enough.
func (p *planner) unheeded(n NodeHave) bool {
	limit := heedWithin
	if n.Original {
		limit = originalHeeds
	}
	return p.w.Sends >= enoughSends && !p.now.Before(p.w.Since.Add(limit))
}

func (p *planner) deletes() {
	if !p.h.Synced {
		return
	}
	for _, o := range p.w.Old {
		n, known := p.h.Nodes[o.Node]
		if !known || n.Liveness == instance.Lost || n.CompleteAt.IsZero() || p.stays(o) {
			continue
		}
		// Not again while reports no longer hold it: the wait for an original
		// agent counts from the last message.
		if at := p.w.DeletedAt[o]; at.IsZero() || p.seen(o) && p.due(at.Add(2*time.Second)) && n.CompleteAt.After(at.Add(settleAfter)) {
			p.add(Delete, o.Node, o.Epoch, "")
		}
	}
}

// stays says that an old attempt is not to end yet: it is handed over or taken
// up again, or what takes its place does not run yet.
func (p *planner) stays(o store.Old) bool {
	if p.reverting(o) || (o == p.w.Handoff || p.unsure() && !p.w.Tombstone) && !p.inTheWay(o) {
		return true
	}
	if p.w.Tombstone || p.inTheWay(o) || p.w.Observed.State == instance.Running || p.w.Observed.State == instance.Completed {
		return false
	}
	return o.Epoch.Grant != p.w.Grant || !p.over(o)
}

// over says that an attempt has ended by itself. One that was not reported may
// run: what its node said may be lost.
func (p *planner) over(o store.Old) bool {
	return slices.ContainsFunc(p.h.Seen, func(s Seen) bool { return s.Node == o.Node && s.Epoch == o.Epoch && s.State.Terminal() })
}

func (p *planner) seen(o store.Old) bool {
	return slices.ContainsFunc(p.h.Seen, func(s Seen) bool { return s.Node == o.Node && s.Epoch == o.Epoch })
}

// inTheWay says that the current attempt cannot start before an old one has
// ended: an original agent knows one attempt of a slot at a time.
func (p *planner) inTheWay(o store.Old) bool {
	return p.w.Placement.Verdict == instance.Placed && p.w.Placement.Node == o.Node && p.h.Nodes[o.Node].Original
}

func (p *planner) reverting(o store.Old) bool {
	for _, a := range p.acts {
		if a.Kind == Revert && a.Node == o.Node && a.Epoch == o.Epoch {
			return true
		}
	}
	return false
}

// ours says whether an attempt was made here, or before. What is newer than
// anything in the book is an orphan: the book may have been restored.
func ours(s store.Slot, e instance.Epoch) bool {
	return e.Grant < s.Grant || e.Grant == s.Grant && (s.Tombstone || e.Try <= s.LastTry)
}
