package clusters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/events"
)

// change is a report beside what was known before.
type change struct {
	was, now Facts
	known    bool // something was known before
}

// tellRefused tells of whoever may not join. It is an event of the cluster that
// has the name it asked for: what it says of its id proves nothing.
func (s *Server) tellRefused(h Hello, err error) {
	s.events.Record(events.OfCluster(s.book.named(h.Name), h.Name).Say(events.Warning, "Refused", "from %s: %v", h.Address, err))
}

// whyLeft is the end of a stream in words. One that the cluster's side ends in
// order, and one whose connection breaks, is canceled.
func whyLeft(cause error) string {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, io.EOF) || status.Code(cause) == codes.Canceled {
		return "closed its connection"
	}
	return cause.Error()
}

// tellChanges makes events of what is new in a report. A cluster that comes
// back says everything again: what is the same is no event.
func (s *Server) tellChanges(id model.ClusterID, news []change) {
	for _, c := range news {
		kind, reason, message := changed(c)
		if reason == "" {
			continue
		}
		svc, ok := s.desk.Service(c.now.Instance.Service)
		if !ok {
			continue // its records are gone: desk says that it was removed
		}
		e := events.Of(svc, c.now.Instance.Number).Under(events.Subject{Type: events.Cluster, ID: string(id)})
		if n := c.now.Placement.Node; n != "" {
			e = e.Under(events.OfNode(id, "", n).Subject)
		}
		s.events.Record(e.Say(kind, reason, "%s", message))
	}
}

// changed finds the word for a change; "" when nobody need read it.
func changed(c change) (kind events.Kind, reason, message string) {
	was, now := c.was, c.now
	if was.Grant != now.Grant {
		was = Facts{}
	}
	if kind, reason, message = moved(was.Observed, now.Observed, now.Placement); reason != "" {
		return kind, reason, message
	}
	p, before := now.Placement, was.Placement
	switch {
	case p.Verdict == instance.Refused && before.Verdict != instance.Refused:
		return events.Warning, "NoWorker", "no worker qualifies: " + reasonsText(p.Reasons)
	case p.Verdict == instance.Placed && (before.Verdict != instance.Placed || before.Node != p.Node || before.Try != p.Try):
		return events.Normal, "Placed", fmt.Sprintf("try %d on %s", p.Try, p.Node)
	case now.Node == instance.Lost && was.Node != instance.Lost && c.known && !now.Observed.State.Terminal():
		return events.Warning, "NodeLost", fmt.Sprintf("its worker %s is silent", p.Node)
	}
	return "", "", ""
}

// moved is the word for a change of what is observed of the present attempt.
func moved(was, now instance.Observed, p instance.Placement) (kind events.Kind, reason, message string) {
	if now.Epoch != was.Epoch {
		was.State = instance.Unknown
	}
	if now.State == was.State || now.State == instance.Unknown || now.Epoch.Try != p.Try {
		return "", "", ""
	}
	message = fmt.Sprintf("%s -> %s on %s", stateNames[was.State], stateNames[now.State], p.Node)
	if now.Reason != "" {
		message += ": " + now.Reason
	}
	kind = events.Normal
	if now.State == instance.Dead || now.State == instance.Failed {
		kind = events.Warning
	}
	return kind, stateWords[now.State], message
}

var (
	stateNames = map[instance.State]string{
		instance.Unknown: "NODE_SCHEDULED", instance.Creating: "CREATING", instance.Created: "CREATED", instance.Running: "RUNNING", instance.Completed: "COMPLETED",
		instance.Dead: "DEAD", instance.Failed: "FAILED", instance.Undeployed: "UNDEPLOYED",
	}
	stateWords = map[instance.State]string{
		instance.Creating: "Creating", instance.Created: "Created", instance.Running: "Running", instance.Completed: "Completed",
		instance.Dead: "Dead", instance.Failed: "Failed", instance.Undeployed: "Undeployed",
	}
)

func reasonsText(list []instance.Reason) string {
	parts := make([]string, len(list))
	for i, r := range list {
		parts[i] = fmt.Sprintf("%s %d", r.Name, r.Count)
		if r.Detail != "" {
			parts[i] += " (" + r.Detail + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// noteWords are the words of what clusters note, and whether somebody should
// look. Words of newer clusters pass unchanged.
var noteWords = map[string]struct {
	reason string
	kind   events.Kind
}{
	"node-lost": {"Lost", events.Warning}, "node-back": {"Back", events.Normal},
	"node-cordoned": {"Cordoned", events.Normal}, "node-uncordoned": {"Uncordoned", events.Normal}, "node-draining": {"Draining", events.Normal},
	"node-drained": {"Drained", events.Normal}, "node-stuck": {"DrainStuck", events.Warning}, "node-removed": {"Removed", events.Normal},
	"node-orphan-removed": {"OrphanRemoved", events.Normal}, "node-orphan-kept": {"OrphanKept", events.Normal},
	"brake": {"ReplacementPaused", events.Warning}, "brake-over": {"ReplacementResumed", events.Normal},
}

// noted takes what a cluster wants people to read.
func (s *Server) noted(id model.ClusterID, n *linkv1.EventNote) {
	s.log.Info("event of a cluster", "cluster", id, "kind", n.GetKind(), "subject", n.GetSubject(), "message", n.GetMessage())
	name := s.book.name(id)
	e := events.OfCluster(id, name)
	if strings.HasPrefix(n.GetKind(), "node-") {
		e = events.OfNode(id, name, model.NodeID(n.GetSubject()))
	}
	word, known := noteWords[n.GetKind()]
	if !known {
		word.reason, word.kind = n.GetKind(), events.Normal
	}
	s.events.Record(e.Say(word.kind, word.reason, "%s", n.GetMessage()))
}
