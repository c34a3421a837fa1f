package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
)

// login answers tokens for a password.
//
//	@summary		Log in
//	@description	The default account is Admin / Admin; from public addresses it works only after its password was changed.
//	@tags			auth
//	@accept			json
//	@produce		json
//	@param			body	body		wire.Login	true	"name and password"
//	@success		200		{object}	wire.Session
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error	"wrong name or password"
//	@failure		403		{object}	wire.Error	"default password from a public address"
//	@failure		429		{object}	wire.Error	"too many failed logins"
//	@router			/api/auth/login [post]
func (a *api) login(c *gin.Context) {
	var body wire.Login
	if err := readJSON(c, &body); err != nil {
		a.fail(c, err)
		return
	}
	if body.OrganizationName != "" && body.OrganizationName != rootOrganization {
		a.fail(c, inClass(errs.NotFound, "organization %q", body.OrganizationName))
		return
	}
	s, err := a.Auth.Login(c.Request.Context(), body.Username, body.Password, peer(c.Request))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, wire.Session{Token: s.Token, RefreshToken: s.RefreshToken, MustChangePassword: s.MustChangePassword})
}

// refresh answers a new access token.
//
//	@summary		Get a new access token
//	@description	Send the refresh token as Bearer.
//	@tags			auth
//	@produce		json
//	@security		Bearer
//	@success		200	{object}	wire.Token
//	@failure		401	{object}	wire.Error
//	@failure		404	{object}	wire.Error	"the user is gone"
//	@router			/api/auth/refresh [post]
func (a *api) refresh(c *gin.Context) {
	token, err := bearerToken(c.Request)
	if err == nil {
		token, err = a.Auth.Refresh(c.Request.Context(), token)
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, wire.Token{Token: token})
}

// changePassword sets the caller's own password.
//
//	@summary		Change your password
//	@description	Tokens made before stop working: log in again.
//	@tags			auth
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			name	path		string				true	"your user name"
//	@param			body	body		wire.PasswordChange	true	"old and new password"
//	@success		200		{object}	wire.Empty
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error	"wrong old password"
//	@failure		403		{object}	wire.Error	"another user's name"
//	@failure		422		{object}	wire.Error	"the new password will not do"
//	@router			/api/user/{name} [post]
func (a *api) changePassword(c *gin.Context) {
	name, err := ownName(c)
	var body wire.PasswordChange
	if err == nil {
		err = readJSON(c, &body)
	}
	if err == nil {
		err = a.Auth.ChangePassword(c.Request.Context(), name, body.OldPassword, body.NewPassword, peer(c.Request))
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Empty{})
}

// getUser answers the caller's account.
//
//	@summary	Show your account
//	@tags		auth
//	@produce	json
//	@security	Bearer
//	@param		name	path		string	true	"your user name"
//	@success	200		{object}	wire.User
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"another user's name"
//	@router		/api/user/{name} [get]
func (a *api) getUser(c *gin.Context) {
	if _, err := ownName(c); err != nil {
		a.fail(c, err)
		return
	}
	id, _ := identity(c)
	c.PureJSON(http.StatusOK, toUser(id))
}

// permission answers the caller's roles.
//
//	@summary	List your roles
//	@tags		auth
//	@produce	json
//	@security	Bearer
//	@param		name	path		string	true	"your user name"
//	@success	200		{object}	wire.Permissions
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"another user's name"
//	@router		/api/permission/{name} [get]
func (a *api) permission(c *gin.Context) {
	if _, err := ownName(c); err != nil {
		a.fail(c, err)
		return
	}
	id, _ := identity(c)
	c.PureJSON(http.StatusOK, toPermissions(id))
}

// ownName is the name in the path, which has to be the caller's.
func ownName(c *gin.Context) (string, error) {
	name := c.Param("name")
	if id, _ := identity(c); id.Name != name {
		return "", inClass(errs.Forbidden, "You have not enough permissions! This is for user %q alone", name)
	}
	return name, nil
}
