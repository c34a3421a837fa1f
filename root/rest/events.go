package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/events"
)

// Times of a stream of events: a comment is sent when nothing else is, so that
// proxies keep it; then the token is checked again. A reader that takes
// nothing for as long as sendWait is cut.
const (
	sseBeat  = 15 * time.Second
	sendWait = 10 * time.Second
)

// applicationEvents answers those of an application, services and instances.
//
//	@summary	List the events of an application and its parts
//	@tags		events
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"application id"
//	@success	200	{array}		wire.Event
//	@failure	401	{object}	wire.Error
//	@failure	404	{object}	wire.Error
//	@router		/api/application/{id}/events [get]
func (a *api) applicationEvents(c *gin.Context) { a.ownEvents(c, events.Application, c.Param("id")) }

// serviceEvents answers those of a service and its instances.
//
//	@summary	List the events of a service and its instances
//	@tags		events
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"service id"
//	@success	200	{array}		wire.Event
//	@failure	401	{object}	wire.Error
//	@failure	404	{object}	wire.Error
//	@router		/api/service/{id}/events [get]
func (a *api) serviceEvents(c *gin.Context) { a.ownEvents(c, events.Service, c.Param("id")) }

// instanceEvents answers those of an instance.
//
//	@summary	List the events of an instance
//	@tags		events
//	@produce	json
//	@security	Bearer
//	@param		id		path		string	true	"service id"
//	@param		number	path		int		true	"instance number"
//	@success	200		{array}		wire.Event
//	@failure	401		{object}	wire.Error
//	@failure	404		{object}	wire.Error
//	@router		/api/service/{id}/instance/{number}/events [get]
func (a *api) instanceEvents(c *gin.Context) {
	a.ownEvents(c, events.Instance, c.Param("id")+"/"+c.Param("number"))
}

func (a *api) ownEvents(c *gin.Context, t events.Type, id string) {
	if err := a.Control.MayWatch(c.Request.Context(), caller(c), t, id); err != nil {
		a.fail(c, err)
		return
	}
	a.answerEvents(c, t, id)
}

// answerEvents lists what the caller may see of a subject.
func (a *api) answerEvents(c *gin.Context, t events.Type, id string) {
	who, _ := identity(c)
	list := slices.DeleteFunc(a.Events.List(t, id), func(e events.Event) bool { return !maySee(who, e) })
	c.PureJSON(http.StatusOK, each(list, toEvent))
}

// clusterEvents answers those of a cluster and its nodes.
//
//	@summary		List the events of a cluster and its nodes
//	@description	With instances that moved there, as far as the caller may see them. Events of the cluster itself need the role Admin or Infrastructure_Provider.
//	@tags			events
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"cluster id or name"
//	@success		200	{array}		wire.Event
//	@failure		401	{object}	wire.Error
//	@failure		404	{object}	wire.Error
//	@router			/api/cluster/{id}/events [get]
//	@router			/api/clusters/{id}/events [get]
func (a *api) clusterEvents(c *gin.Context) {
	v, err := a.Control.Cluster(c.Param("id"))
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerEvents(c, events.Cluster, string(v.ID))
}

// nodeEvents answers those of a node.
//
//	@summary	List the events of a node
//	@tags		events
//	@produce	json
//	@security	Bearer
//	@param		id		path		string	true	"node id"
//	@param		cluster	query		string	false	"name or id of its cluster"
//	@success	200		{array}		wire.Event
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure	404		{object}	wire.Error
//	@failure	409		{object}	wire.Error	"several clusters have one"
//	@router		/api/nodes/{id}/events [get]
func (a *api) nodeEvents(c *gin.Context) {
	n, err := a.Control.Node(c.Request.Context(), model.NodeID(c.Param("id")), c.Query("cluster"))
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerEvents(c, events.Node, string(n.Cluster)+"/"+string(n.ID))
}

// maySee: an owner sees what is theirs, infrastructure is for those who run it,
// an administrator sees everything.
func maySee(who auth.Identity, e events.Event) bool {
	if e.Owner == "" {
		return seesSites(who)
	}
	return who.Admin() || who.Name == e.Owner
}

// wanted is the filter of a stream.
type wanted struct {
	kind, reason, subject, id string
}

// keeps says whether an event, or one of the things it is listed under, was
// asked for.
func (w wanted) keeps(e events.Event) bool {
	if w.kind != "" && w.kind != string(e.Kind) || w.reason != "" && w.reason != e.Reason {
		return false
	}
	if w.subject == "" && w.id == "" {
		return true
	}
	return slices.ContainsFunc(append([]events.Subject{e.Subject}, e.Also...), func(s events.Subject) bool {
		return (w.subject == "" || w.subject == string(s.Type)) && (w.id == "" || w.id == s.ID)
	})
}

// streamEvents sends events as they happen.
//
//	@summary		Follow events
//	@description	Server-sent events: each has the event's id, the name "event" and the event as JSON. Send Last-Event-ID (or ?after=) to go on after an event; after=0 begins with all that is kept, without either only new ones come. A message named "missed" says that older ones are no longer kept, one named "cut" that the stream ends and why (slow reader, token over). Comments keep the connection alive.
//	@tags			events
//	@produce		text/event-stream
//	@security		Bearer
//	@param			Last-Event-ID	header		string		false	"id of the last event that was read"
//	@param			after			query		string		false	"the same, for those who cannot set headers; 0 for all"
//	@param			type			query		string		false	"application, service, instance, cluster, node or root: what it is about or part of"
//	@param			id				query		string		false	"id of that"
//	@param			kind			query		string		false	"normal or warning"
//	@param			reason			query		string		false	"one word, such as Failed"
//	@success		200				{object}	wire.Event	"a stream of events"
//	@failure		401				{object}	wire.Error
//	@failure		422				{object}	wire.Error	"not an event id"
//	@failure		503				{object}	wire.Error	"too many readers"
//	@router			/api/events [get]
func (a *api) streamEvents(c *gin.Context) {
	after, err := resumeAt(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	who, _ := identity(c)
	w := wanted{c.Query("kind"), c.Query("reason"), c.Query("type"), c.Query("id")}
	sub, err := a.Events.Subscribe(after, func(e events.Event) bool { return maySee(who, e) && w.keeps(e) })
	if err != nil {
		a.fail(c, inClass(errs.Unavailable, "too many readers follow events"))
		return
	}
	defer sub.Close()
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Writer.WriteHeader(http.StatusOK)
	a.follow(c, sub)
}

// resumeAt is the event to go on after; nil for what comes next.
func resumeAt(c *gin.Context) (*events.ID, error) {
	text := c.GetHeader("Last-Event-ID")
	if text == "" {
		text = c.Query("after")
	}
	switch text {
	case "":
		return nil, nil
	case "0":
		return &events.ID{}, nil
	}
	id, err := events.ParseID(text)
	if err != nil {
		return nil, errs.Problems{{Path: "Last-Event-ID", Value: text, Message: "is no id of an event"}}
	}
	return &id, nil
}

// follow writes until the reader goes, is too slow, or its token is over.
func (a *api) follow(c *gin.Context, sub *events.Subscription) {
	s := sse{c.Writer, http.NewResponseController(c.Writer)}
	ok := s.comment("events follow")
	if sub.Missed {
		ok = ok && s.message("", "missed", wire.Message{Message: "older events are no longer kept"})
	}
	for _, e := range sub.Backlog {
		ok = ok && s.event(e)
	}
	beat := time.NewTicker(sseBeat)
	defer beat.Stop()
	for ok {
		select {
		case <-c.Request.Context().Done():
			return
		case <-a.stopping():
			return
		case e, more := <-sub.C:
			if !more {
				s.message("", "cut", wire.Message{Message: "the reader is too slow; go on after the last event that was read"})
				return
			}
			ok = s.event(e)
		case <-beat.C:
			if _, err := a.Auth.Verify(c.Request.Context(), tokenOf(c)); err != nil {
				s.message("", "cut", wire.Message{Message: "the token is over; log in or refresh, then go on after the last event that was read"})
				return
			}
			ok = s.comment("still here")
		}
	}
}

// stopping is closed when the root is about to stop; nil never is.
func (a *api) stopping() <-chan struct{} { return a.Stopping }

func tokenOf(c *gin.Context) string {
	token, _ := bearerToken(c.Request) // bearer has checked that there is one
	return token
}

// sse writes server-sent events. Every method says whether to go on.
type sse struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s sse) event(e events.Event) bool { return s.message(e.ID.String(), "event", toEvent(e)) }

func (s sse) message(id, name string, v any) bool {
	data, err := json.Marshal(v)
	if err != nil {
		return false
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, name, data))
}

func (s sse) comment(text string) bool { return s.write(": " + text + "\n\n") }

// write ends a reader that does not take its bytes: the deadline cuts it.
func (s sse) write(text string) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(sendWait)) // recorders of tests have none
	_, err := fmt.Fprint(s.w, text)
	if err == nil {
		err = s.control.Flush()
	}
	return err == nil
}

func toEvent(e events.Event) wire.Event {
	return wire.Event{
		ID: e.ID.String(), Time: e.Last.UTC().Format(time.RFC3339), First: e.First.UTC().Format(time.RFC3339), Count: e.Count, Kind: string(e.Kind),
		Subject: wire.Subject{Type: string(e.Subject.Type), ID: e.Subject.ID, Name: e.Subject.Name}, Reason: e.Reason, Message: e.Message,
	}
}
