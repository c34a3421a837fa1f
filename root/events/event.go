package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"oakestra/pkg/core/model"
)

// Kind says whether somebody should look.
type Kind string

// The kinds.
const (
	Normal  Kind = "normal"
	Warning Kind = "warning"
)

// Type of a subject.
type Type string

// What an event can be about.
const (
	Application Type = "application"
	Service     Type = "service"
	Instance    Type = "instance"
	Cluster     Type = "cluster"
	Node        Type = "node"
	Root        Type = "root"
)

// Subject is what an event is about. Ids of instances are
// "<service>/<number>", those of nodes "<cluster>/<node>".
type Subject struct {
	Type Type
	ID   string
	Name string
}

// ref is a subject without its name, which may change.
type ref struct {
	Type Type
	ID   string
}

// ID orders events: over restarts by Start, then by Seq. The zero ID comes
// before all.
type ID struct {
	Start uint64 // a grant, counted by the store at every start
	Seq   uint64
}

// String is "<start in hex>-<seq>".
func (i ID) String() string { return fmt.Sprintf("%x-%d", i.Start, i.Seq) }

// Less orders ids.
func (i ID) Less(o ID) bool { return i.Start < o.Start || i.Start == o.Start && i.Seq < o.Seq }

// ParseID reads the String form.
func ParseID(s string) (ID, error) {
	start, seq, ok := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(start, 16, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return ID{}, fmt.Errorf("event id %q: want <hex>-<number>", s)
	}
	return ID{a, b}, nil
}

// Event is one thing that happened, or the same thing several times.
type Event struct {
	ID      ID // of the last time; the Journal sets it
	First   time.Time
	Last    time.Time
	Count   int
	Kind    Kind
	Subject Subject
	Reason  string // one word: Created, Assigned, Failed, ...
	Message string

	// Owner may see it; "" is infrastructure, for those who may see that.
	Owner string
	// Also lists it under these subjects.
	Also []Subject
}

// Of makes an event about a service's slot, listed under service and
// application as well.
func Of(svc model.Service, number int) Event {
	id := model.InstanceID{Service: svc.ID, Number: number}
	e := OfService(svc)
	e.Also = append(e.Also, e.Subject)
	e.Subject = Subject{Instance, id.String(), fmt.Sprintf("%s/%d", svc.Name, number)}
	return e
}

// OfService makes an event about a service, listed under its application.
func OfService(svc model.Service) Event {
	return Event{
		Subject: Subject{Service, string(svc.ID), svc.Name.String()}, Owner: svc.Owner,
		Also: []Subject{{Application, string(svc.Application), svc.Name.App}},
	}
}

// OfApplication makes an event about an application.
func OfApplication(a model.Application) Event {
	return Event{Subject: Subject{Application, string(a.ID), a.Name}, Owner: a.Owner}
}

// OfCluster makes an event about a cluster.
func OfCluster(id model.ClusterID, name string) Event {
	return Event{Subject: Subject{Cluster, string(id), name}}
}

// OfNode makes an event about a worker, listed under its cluster.
func OfNode(cluster model.ClusterID, clusterName string, id model.NodeID) Event {
	return Event{
		Subject: Subject{Node, string(cluster) + "/" + string(id), string(id)},
		Also:    []Subject{{Cluster, string(cluster), clusterName}},
	}
}

// Say fills in what happened.
func (e Event) Say(kind Kind, reason, format string, args ...any) Event {
	e.Kind, e.Reason, e.Message = kind, reason, fmt.Sprintf(format, args...)
	return e
}

// Under lists the event under one more subject.
func (e Event) Under(s ...Subject) Event {
	e.Also = append(e.Also[:len(e.Also):len(e.Also)], s...)
	return e
}

// refs are all subjects, each once.
func (e Event) refs() []ref {
	out := []ref{{e.Subject.Type, e.Subject.ID}}
	for _, s := range e.Also {
		r, have := ref{s.Type, s.ID}, false
		for _, o := range out {
			have = have || o == r
		}
		if !have && s.ID != "" {
			out = append(out, r)
		}
	}
	return out
}

// Recorder takes events. It never blocks and never fails.
type Recorder interface {
	Record(e Event)
}

// Discard takes events and forgets them.
type Discard struct{}

// Record forgets.
func (Discard) Record(Event) {}
