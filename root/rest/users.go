package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/root/auth"
)

// register makes a user.
//
//	@summary		Register a user
//	@description	An Admin registers users anywhere, an Organization_Admin in the own organization. Without roles the user becomes an Application_Provider.
//	@tags			users
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			body	body		wire.NewUser	true	"the user"
//	@success		200		{object}	wire.Registered
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"not your organization, or a role you may not give"
//	@failure		404		{object}	wire.Error	"unknown organization"
//	@failure		409		{object}	wire.Error	"the name is taken"
//	@failure		422		{object}	wire.Error	"errors lists path, value and reason of everything that is wrong"
//	@router			/api/auth/register [post]
func (a *api) register(c *gin.Context) {
	by, _ := identity(c)
	var body wire.NewUser
	err := a.readJSON(c, &body)
	var acc auth.Account
	if err == nil {
		acc, err = a.Auth.Register(c.Request.Context(), by, auth.NewAccount{
			Name: body.Name, Password: body.Password, Email: body.Email, Roles: body.Roles, Organization: body.Organization,
		})
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	u := a.toUser(acc)
	c.PureJSON(http.StatusOK, wire.Registered{Message: "Added new user", User: u, Account: u})
}

// getUser answers an account.
//
//	@summary		Show an account
//	@description	Your own, or one that you manage.
//	@tags			users
//	@produce		json
//	@security		Bearer
//	@param			name	path		string	true	"user name"
//	@success		200		{object}	wire.User
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"another user's name"
//	@failure		404		{object}	wire.Error	"unknown user"
//	@router			/api/user/{name} [get]
func (a *api) getUser(c *gin.Context) {
	by, _ := identity(c)
	acc, err := a.Auth.User(c.Request.Context(), by, c.Param("name"))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, a.toUser(acc))
}

// permission answers roles.
//
//	@summary	List a user's roles
//	@tags		users
//	@produce	json
//	@security	Bearer
//	@param		name	path		string	true	"your user name, or one that you manage"
//	@success	200		{object}	wire.Permissions
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"another user's name"
//	@failure	404		{object}	wire.Error	"unknown user"
//	@router		/api/permission/{name} [get]
func (a *api) permission(c *gin.Context) {
	by, _ := identity(c)
	acc, err := a.Auth.User(c.Request.Context(), by, c.Param("name"))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Permissions{Roles: toRoles(acc.Roles)})
}

// updateUser changes an account.
//
//	@summary		Change an account
//	@description	Everyone may change the own email, with oldPassword; roles and a password of others are for those who manage the account. A new password ends all logins and API tokens of the user.
//	@tags			users
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			name	path		string			true	"user name"
//	@param			body	body		wire.UserChange	true	"what changes"
//	@success		200		{string}	string			"ok"
//	@failure		400		{object}	wire.Error		"no JSON"
//	@failure		401		{object}	wire.Error		"or a wrong oldPassword"
//	@failure		403		{object}	wire.Error		"not your account, or a role you may not give or take"
//	@failure		404		{object}	wire.Error		"unknown user"
//	@failure		409		{object}	wire.Error		"nobody would be left who is an Admin"
//	@failure		422		{object}	wire.Error		"errors lists path, value and reason of everything that is wrong"
//	@failure		429		{object}	wire.Error		"too many wrong passwords"
//	@router			/api/user/{name} [put]
func (a *api) updateUser(c *gin.Context) {
	by, _ := identity(c)
	var body wire.UserChange
	err := a.readJSON(c, &body)
	if err == nil {
		err = a.Auth.UpdateUser(c.Request.Context(), by, c.Param("name"), auth.AccountChange{
			Name: body.Name, Email: body.Email, Password: body.Password, Roles: body.Roles, OldPassword: body.OldPassword,
		}, peer(c.Request))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, "ok")
}

// deleteUser removes an account.
//
//	@summary		Delete a user
//	@description	With the tokens and memberships. Refused while the user owns applications, and for the last Admin.
//	@tags			users
//	@produce		json
//	@security		Bearer
//	@param			name	path		string		true	"user name"
//	@success		200		{array}		wire.User	"the users that remain"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"not an account you manage"
//	@failure		404		{object}	wire.Error	"unknown user"
//	@failure		409		{object}	wire.Error	"the last Admin, or the owner of the applications named"
//	@router			/api/user/{name} [delete]
func (a *api) deleteUser(c *gin.Context) {
	by, _ := identity(c)
	if err := a.Auth.DeleteUser(c.Request.Context(), by, c.Param("name")); err != nil {
		a.fail(c, err)
		return
	}
	rest := ""
	if !by.Admin() {
		rest = by.Organization
	}
	a.answerUsers(c, rest)
}

func (a *api) answerUsers(c *gin.Context, organization string) {
	by, _ := identity(c)
	list, err := a.Auth.Users(c.Request.Context(), by, organization)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(list, a.toUser))
}

// listUsers answers everyone.
//
//	@summary	List all users
//	@tags		users
//	@produce	json
//	@security	Bearer
//	@success	200	{array}		wire.User
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"needs the role Admin"
//	@router		/api/users/ [get]
func (a *api) listUsers(c *gin.Context) { a.answerUsers(c, "") }

// listUsersOf answers the members of an organization.
//
//	@summary	List the users of an organization
//	@tags		users
//	@produce	json
//	@security	Bearer
//	@param		organization	path		string	true	"organization id or name"
//	@success	200				{array}		wire.User
//	@failure	401				{object}	wire.Error
//	@failure	403				{object}	wire.Error	"not your organization"
//	@failure	404				{object}	wire.Error	"unknown organization"
//	@router		/api/users/{organization} [get]
func (a *api) listUsersOf(c *gin.Context) { a.answerUsers(c, c.Param("organization")) }

// requestReset begins the reset of a forgotten password.
//
//	@summary		Ask for a token to set a new password with
//	@description	The token is mailed, or written to the log of the system manager when mail is not set up. The answer is the same whether or not the user exists.
//	@tags			users
//	@accept			json
//	@produce		json
//	@param			body	body		wire.ResetRequest	true	"who"
//	@success		200		{object}	wire.Empty
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		422		{object}	wire.Error	"no name"
//	@failure		429		{object}	wire.Error	"too many of them"
//	@router			/api/user/ [post]
func (a *api) requestReset(c *gin.Context) {
	var body wire.ResetRequest
	err := a.readJSON(c, &body)
	if err == nil {
		err = a.Auth.RequestReset(c.Request.Context(), body.Username, body.Domain, peer(c.Request))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Empty{})
}

// finishReset sets a new password with a reset token.
//
//	@summary		Set a new password with a reset token
//	@description	A token works once, for one hour. All logins and API tokens of the user end.
//	@tags			users
//	@accept			json
//	@produce		json
//	@param			body	body		wire.Reset	true	"token and new password"
//	@success		200		{object}	wire.Empty
//	@failure		400		{object}	wire.Error	"no JSON, or a token that does not work"
//	@failure		422		{object}	wire.Error	"the new password will not do"
//	@failure		429		{object}	wire.Error	"too many wrong tokens"
//	@router			/api/user/ [put]
func (a *api) finishReset(c *gin.Context) {
	var body wire.Reset
	err := a.readJSON(c, &body)
	if err == nil {
		err = a.Auth.FinishReset(c.Request.Context(), body.Token, body.Password, peer(c.Request))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Empty{})
}
