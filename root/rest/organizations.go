package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/root/auth"
	"oakestra/root/store"
)

// listOrganizations answers them with their members.
//
//	@summary		List organizations
//	@description	All to an Admin, the own one to an Organization_Admin.
//	@tags			organizations
//	@produce		json
//	@security		Bearer
//	@success		200	{array}		wire.Organization
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"needs the role Admin or Organization_Admin"
//	@router			/api/organization/ [get]
func (a *api) listOrganizations(c *gin.Context) {
	by, _ := identity(c)
	list, err := a.Auth.Organizations(c.Request.Context(), by)
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, each(list, a.toOrganization))
}

// createOrganization makes one.
//
//	@summary	Create an organization
//	@tags		organizations
//	@accept		json
//	@produce	json
//	@security	Bearer
//	@param		body	body		wire.OrganizationChange	true	"name and members"
//	@success	200		{string}	string					"the id"
//	@failure	400		{object}	wire.Error				"no JSON"
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"needs the role Admin"
//	@failure	409		{object}	wire.Error	"the name is taken"
//	@failure	422		{object}	wire.Error	"errors lists path, value and reason of everything that is wrong"
//	@router		/api/organization/ [post]
func (a *api) createOrganization(c *gin.Context) {
	by, _ := identity(c)
	var body wire.OrganizationChange
	err := readJSON(c, &body)
	var id string
	if err == nil {
		id, err = a.Auth.CreateOrganization(c.Request.Context(), by, body.Name, fromMembers(body.Members))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	a.answerQuoted(c, id)
}

// changeOrganization sets name and members.
//
//	@summary		Change an organization
//	@description	Absent keys leave what there is. The members of root are its users: the roles of those named are set, the others stay.
//	@tags			organizations
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			id		path		string					true	"organization id"
//	@param			body	body		wire.OrganizationChange	true	"name and members"
//	@success		200		{object}	wire.Message
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"not your organization, or a role you may not give or take"
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"the name is taken, root is renamed, or nobody would be left who is an Admin"
//	@failure		422		{object}	wire.Error	"errors lists path, value and reason of everything that is wrong"
//	@router			/api/organization/{id} [put]
func (a *api) changeOrganization(c *gin.Context) {
	by, _ := identity(c)
	var body wire.OrganizationChange
	err := readJSON(c, &body)
	if err == nil {
		err = a.Auth.ChangeOrganization(c.Request.Context(), by, c.Param("id"), body.Name, fromMembers(body.Members))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "Organization is updated"})
}

// deleteOrganization removes one.
//
//	@summary	Delete an organization
//	@tags		organizations
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"organization id"
//	@success	200	{object}	wire.Message
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"needs the role Admin"
//	@failure	404	{object}	wire.Error
//	@failure	409	{object}	wire.Error	"root, or users belong to it"
//	@router		/api/organization/{id} [delete]
func (a *api) deleteOrganization(c *gin.Context) {
	by, _ := identity(c)
	if err := a.Auth.DeleteOrganization(c.Request.Context(), by, c.Param("id")); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "Organization is deleted"})
}

// fromMembers keeps the difference between no list and an empty one.
func fromMembers(in []wire.MemberChange) []auth.Member {
	if in == nil {
		return nil
	}
	return each(in, func(m wire.MemberChange) auth.Member { return auth.Member{User: m.UserID, Roles: m.Roles} })
}

func (a *api) toOrganization(o store.Organization) wire.Organization {
	return wire.Organization{
		ID: wire.OID{OID: o.ID}, OrganizationID: o.ID, Name: o.Name,
		Members: each(o.Members, func(m store.Member) wire.Member {
			return wire.Member{UserID: string(m.User), Roles: a.roles(m.Roles)}
		}),
	}
}
