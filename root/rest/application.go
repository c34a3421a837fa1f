package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// createApplications stores a descriptor.
//
//	@summary		Create applications from a descriptor
//	@description	Stores the whole descriptor or nothing. Nothing runs until instances are deployed.
//	@tags			applications
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			body	body		wire.Descriptor		true	"deployment descriptor, SLA v2.0"
//	@success		200		{array}		wire.Application	"all your applications"
//	@failure		400		{object}	wire.Error			"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure		409		{object}	wire.Error	"a name or an address is taken"
//	@failure		413		{object}	wire.Error	"more than 1 MiB"
//	@failure		422		{object}	wire.Error	"errors lists path, value and reason of everything that is wrong"
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@failure		507		{object}	wire.Error	"no address is left"
//	@router			/api/application/ [post]
func (a *api) createApplications(c *gin.Context) {
	body, err := a.readDescriptor(c)
	if err == nil {
		_, err = a.Control.CreateApplications(c.Request.Context(), caller(c), body)
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	warnings := a.Control.Warnings(body)
	warn(c, warnings)
	// An administrator's own, too. Queries are for lists that were asked for.
	apps, err := a.Control.Applications(c.Request.Context(), control.Caller{Name: caller(c).Name})
	if err != nil {
		a.fail(c, err)
		return
	}
	out := each(apps, toApplication)
	if n := len(out); n > 0 {
		out[n-1].Warnings = warningTexts(warnings) // the one that is new
	}
	a.answerQuoted(c, out)
}

func (a *api) answerApplications(c *gin.Context, who control.Caller) {
	apps, err := a.Control.Applications(c.Request.Context(), who)
	if err == nil {
		apps, err = paged(c, apps, func(v control.ApplicationView) entry {
			return entry{key: string(v.ID), names: []string{v.Name, v.Name + "." + v.Namespace}}
		})
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, each(apps, toApplication))
}

// listApplications answers the caller's, or all to an administrator.
//
//	@summary			List applications
//	@tags				applications
//	@produce			json
//	@security			Bearer
//	@param				limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param				cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param				name	query		string	false	"part of the name, in any case"
//	@success			200		{array}		wire.Application
//	@failure			401		{object}	wire.Error
//	@failure			422		{object}	wire.Error	"a query that cannot be"
//	@router				/api/applications/ [get]
//	@deprecatedrouter	/api/aplications/ [get]
func (a *api) listApplications(c *gin.Context) { a.answerApplications(c, caller(c)) }

// listApplicationsOf answers those of one user.
//
//	@summary	List a user's applications
//	@tags		applications
//	@produce	json
//	@security	Bearer
//	@param		user	path		string	true	"user id or name; anyone's needs the role Admin"
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@success	200		{array}		wire.Application
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"another user"
//	@failure	404		{object}	wire.Error	"unknown user"
//	@failure	422		{object}	wire.Error	"a query that cannot be"
//	@router		/api/applications/{user} [get]
func (a *api) listApplicationsOf(c *gin.Context) {
	id, _ := identity(c)
	user := c.Param("user")
	if !id.Admin() && user != id.Name && user != string(id.ID) {
		a.fail(c, inClass(errs.Forbidden, "You have not enough permissions! These are another user's applications"))
		return
	}
	name, err := a.Auth.NameOf(c.Request.Context(), user)
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerApplications(c, control.Caller{Name: name})
}

// getApplication answers one.
//
//	@summary	Show an application
//	@tags		applications
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"application id"
//	@success	200	{object}	wire.Application
//	@failure	401	{object}	wire.Error
//	@failure	404	{object}	wire.Error
//	@router		/api/application/{id} [get]
func (a *api) getApplication(c *gin.Context) {
	app, err := a.Control.Application(c.Request.Context(), caller(c), model.ApplicationID(c.Param("id")))
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, toApplication(app))
}

// deleteApplication ends an application.
//
//	@summary	Delete an application, its services and their instances
//	@tags		applications
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"application id"
//	@success	200	{object}	wire.Message
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"needs the role Admin or Application_Provider"
//	@failure	404	{object}	wire.Error
//	@failure	503	{object}	wire.Error	"the root is in recovery"
//	@router		/api/application/{id} [delete]
func (a *api) deleteApplication(c *gin.Context) {
	if err := a.Control.DeleteApplication(c.Request.Context(), caller(c), model.ApplicationID(c.Param("id"))); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "Application Deleted"})
}
