package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/sla"
	"oakestra/pkg/errs"
)

// maxReplicas is more than there are addresses for instances.
const maxReplicas = 65_536

// updateApplication changes an application.
//
//	@summary		Change an application
//	@description	Keys that are missing or null keep their value; services are not touched. Name and namespace can change while the application has no service.
//	@tags			applications
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			id		path		string						true	"application id"
//	@param			body	body		wire.DescriptorApplication	true	"what changes"
//	@success		200		{object}	wire.Message
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"the name is taken, or cannot change"
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@router			/api/application/{id} [put]
func (a *api) updateApplication(c *gin.Context) {
	body, err := a.readDescriptor(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	warnings, err := a.Control.UpdateApplication(c.Request.Context(), caller(c), model.ApplicationID(c.Param("id")), body)
	if err != nil {
		a.fail(c, err)
		return
	}
	warn(c, warnings)
	c.PureJSON(http.StatusOK, wire.Message{Message: "Application is updated"})
}

// updateService changes a service and rolls the change out.
//
//	@summary		Change a service
//	@description	The body is a descriptor with one service, or the service alone. Keys that are missing or null keep their value; names and addresses.rr_ip cannot change. The instances follow one after the other; rollout of GET tells how it goes.
//	@tags			services
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			id		path		string					true	"service id"
//	@param			body	body		wire.DescriptorService	true	"what changes"
//	@success		200		{object}	wire.Service
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404		{object}	wire.Error
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@router			/api/service/{id} [put]
func (a *api) updateService(c *gin.Context) {
	body, err := a.readDescriptor(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	v, warnings, err := a.Control.UpdateService(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")), body)
	if err != nil {
		a.fail(c, err)
		return
	}
	warn(c, warnings)
	s := toService(v)
	s.Warnings = warningTexts(warnings)
	a.answerQuoted(c, s)
}

// rollback goes back to an earlier revision.
//
//	@summary		Go back to an earlier revision of a service
//	@description	Without a body: to the one before the present. The result is a new revision with the old content, rolled out like any other; instances that still run it are not replaced.
//	@tags			services
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			id		path		string			true	"service id"
//	@param			body	body		wire.Rollback	false	"which revision"
//	@success		200		{object}	wire.Service
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"there is no such revision"
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@router			/api/service/{id}/rollback [post]
func (a *api) rollback(c *gin.Context) {
	to, _, err := a.readNumber(c, "revision", 1, 1<<53)
	if err != nil {
		a.fail(c, err)
		return
	}
	v, err := a.Control.Rollback(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")), uint64(to))
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, toService(v))
}

// revisions lists what a service was.
//
//	@summary	List the revisions of a service that are kept, the last ten
//	@tags		services
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"service id"
//	@success	200	{array}		wire.Revision
//	@failure	401	{object}	wire.Error
//	@failure	404	{object}	wire.Error
//	@router		/api/service/{id}/revisions [get]
func (a *api) revisions(c *gin.Context) {
	list, err := a.Control.Revisions(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, toRevisions(list))
}

// scale brings a service to a number of instances.
//
//	@summary		Set how many instances a service has
//	@description	Adds instances, or ends those with the highest numbers. Asking twice changes nothing the second time.
//	@tags			instances
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			id		path		string		true	"service id"
//	@param			body	body		wire.Scale	true	"how many"
//	@success		200		{object}	wire.Scaled
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404		{object}	wire.Error
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@failure		507		{object}	wire.Error	"no address is left; what was added stays"
//	@router			/api/service/{id}/scale [post]
func (a *api) scale(c *gin.Context) {
	n, given, err := a.readNumber(c, "replicas", 0, maxReplicas)
	if err == nil && !given {
		err = errs.Problems{{Path: "replicas", Message: `is missing: how many instances, such as {"replicas":3}`}}
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	out, err := a.Control.Scale(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")), int(n))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Scaled{Message: "ok", Replicas: int(n), Added: numbers(out.Added), Removed: numbers(out.Removed)})
}

// apply makes the caller's applications what a descriptor says.
//
//	@summary		Create what is missing and change what differs
//	@description	The same descriptor twice changes nothing the second time. Services that differ are rolled out; replicas, where given, is brought about. Nothing is deleted.
//	@tags			applications
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			dry_run	query		bool			false	"only tell what would happen"
//	@param			body	body		wire.Descriptor	true	"deployment descriptor, SLA v2.0"
//	@success		200		{object}	wire.Applied
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		409		{object}	wire.Error	"an address is taken"
//	@failure		413		{object}	wire.Error	"more than 1 MiB"
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@failure		507		{object}	wire.Error	"no address is left"
//	@router			/api/apply [post]
func (a *api) apply(c *gin.Context) {
	dry := false
	if text, given := c.GetQuery("dry_run"); given && text != "" {
		var err error
		if dry, err = strconv.ParseBool(text); err != nil {
			a.fail(c, errs.Problems{{Path: "dry_run", Value: text, Message: "want 1 or 0"}})
			return
		}
	}
	body, err := a.readDescriptor(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	out, err := a.Control.Apply(c.Request.Context(), caller(c), body, dry)
	if err != nil {
		a.fail(c, err)
		return
	}
	warn(c, out.Warnings)
	c.PureJSON(http.StatusOK, toApplied(out, dry))
}

// warn tells in a header what was accepted and will not happen, or not
// everywhere: clients that do not know of it never notice.
func warn(c *gin.Context, list []sla.Warning) {
	const most = 20
	for _, w := range list[:min(len(list), most)] {
		c.Writer.Header().Add("Warning", fmt.Sprintf("299 - %+q", w.String()))
	}
}

// readNumber reads a whole number out of a body that is an object, or empty.
func (a *api) readNumber(c *gin.Context, key string, least, most int64) (n int64, given bool, err error) {
	raw, err := a.readBody(c)
	if err != nil || len(bytes.TrimSpace(raw)) == 0 {
		return 0, false, err
	}
	if err := syntax(raw); err != nil {
		return 0, false, err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return 0, false, errs.Problems{{Message: fmt.Sprintf("must be an object such as {%q:%d}", key, least)}}
	}
	value := string(fields[key])
	if value == "" || value == "null" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, true, errs.Problems{{Path: key, Value: value, Message: fmt.Sprintf("want a whole number from %d to %d", least, most)}}
	}
	return n, true, nil
}
