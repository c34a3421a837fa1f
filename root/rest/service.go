package rest

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// createService adds services to an application.
//
//	@summary		Add services to an application
//	@description	The body is a descriptor with applicationID set.
//	@tags			services
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			body	body		wire.Descriptor	true	"deployment descriptor, SLA v2.0"
//	@success		200		{object}	wire.ServiceCreated
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404		{object}	wire.Error	"unknown application"
//	@failure		409		{object}	wire.Error	"a name or an address is taken"
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@router			/api/service/ [post]
//	@router			/api/services/ [post]
func (a *api) createService(c *gin.Context) {
	body, err := a.readDescriptor(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	services, err := a.Control.CreateServices(c.Request.Context(), caller(c), body)
	if err != nil {
		a.fail(c, err)
		return
	}
	warnings := a.Control.Warnings(body)
	warn(c, warnings)
	out := toServiceCreated(services)
	out.Warnings = warningTexts(warnings)
	c.PureJSON(http.StatusOK, out)
}

// listServices answers all the caller may see.
//
//	@summary	List services
//	@tags		services
//	@produce	json
//	@security	Bearer
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@param		status	query		string	false	"status as the answer spells it, in any case"
//	@success	200		{array}		wire.Service
//	@failure	401		{object}	wire.Error
//	@failure	422		{object}	wire.Error	"a query that cannot be"
//	@router		/api/services/ [get]
func (a *api) listServices(c *gin.Context) { a.answerServices(c, "") }

// listServicesOf answers those of one application.
//
//	@summary	List the services of an application
//	@tags		services
//	@produce	json
//	@security	Bearer
//	@param		app		path		string	true	"application id"
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@param		status	query		string	false	"status as the answer spells it, in any case"
//	@success	200		{array}		wire.Service
//	@failure	401		{object}	wire.Error
//	@failure	404		{object}	wire.Error
//	@failure	422		{object}	wire.Error	"a query that cannot be"
//	@router		/api/services/{app} [get]
func (a *api) listServicesOf(c *gin.Context) {
	a.answerServices(c, model.ApplicationID(c.Param("app")))
}

func (a *api) answerServices(c *gin.Context, app model.ApplicationID) {
	services, err := a.Control.Services(c.Request.Context(), caller(c), app)
	if err == nil {
		services, err = paged(c, services, func(v control.ServiceView) entry {
			return entry{key: string(v.ID), names: []string{v.Name.String()}, status: string(v.Word)}
		})
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, each(services, toService))
}

// getService answers one.
//
//	@summary		Show a service and its instances
//	@description	status_detail says why something does not run, with counts.
//	@tags			services
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"service id"
//	@success		200	{object}	wire.Service
//	@failure		401	{object}	wire.Error
//	@failure		404	{object}	wire.Error
//	@router			/api/service/{id} [get]
func (a *api) getService(c *gin.Context) {
	s, err := a.Control.Service(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")))
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, toService(s))
}

// deleteService ends a service.
//
//	@summary	Delete a service and its instances
//	@tags		services
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"service id"
//	@success	200	{object}	wire.Message
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure	404	{object}	wire.Error
//	@failure	503	{object}	wire.Error	"the root is in recovery"
//	@router		/api/service/{id} [delete]
func (a *api) deleteService(c *gin.Context) {
	if err := a.Control.DeleteService(c.Request.Context(), caller(c), model.ServiceID(c.Param("id"))); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "Job deleted"})
}

// deploy adds an instance. Any body is ignored: clients send all kinds.
//
//	@summary		Deploy one more instance
//	@description	Answers at once; the service's instance_list tells how it goes on.
//	@tags			instances
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"service id"
//	@success		200	{object}	wire.Deployed
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		404	{object}	wire.Error
//	@failure		503	{object}	wire.Error	"the root is in recovery"
//	@failure		507	{object}	wire.Error	"no address is left"
//	@router			/api/service/{id}/instance [post]
func (a *api) deploy(c *gin.Context) {
	in, err := a.Control.Deploy(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Deployed{Message: "ok", InstanceNumber: in.ID.Number})
}

// undeploy ends an instance, or all.
//
//	@summary	Undeploy an instance
//	@tags		instances
//	@produce	json
//	@security	Bearer
//	@param		id		path		string	true	"service id"
//	@param		number	path		int		true	"instance number, -1 for all"
//	@success	200		{object}	wire.Message
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure	404		{object}	wire.Error
//	@failure	422		{object}	wire.Error	"no number"
//	@failure	503		{object}	wire.Error	"the root is in recovery"
//	@router		/api/service/{id}/instance/{number} [delete]
func (a *api) undeploy(c *gin.Context) {
	text := c.Param("number")
	number, err := strconv.Atoi(text)
	if err != nil || number < -1 {
		a.fail(c, errs.Problems{{Path: "number", Value: text, Message: "want an instance number, or -1 for all"}})
		return
	}
	if err := a.Control.Undeploy(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")), number); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
}
