package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
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
//	@failure		403		{object}	wire.Error	"default password from a public address, or no member of the organization"
//	@failure		404		{object}	wire.Error	"unknown organization"
//	@failure		429		{object}	wire.Error	"too many failed logins"
//	@router			/api/auth/login [post]
func (a *api) login(c *gin.Context) {
	var body wire.Login
	if err := a.readJSON(c, &body); err != nil {
		a.fail(c, err)
		return
	}
	s, err := a.Auth.Login(c.Request.Context(), body.Username, body.Password, body.OrganizationName, peer(c.Request))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	a.openDocs(c, s.Token)
	c.PureJSON(http.StatusOK, wire.Session{Token: s.Token, RefreshToken: s.RefreshToken, MustChangePassword: s.MustChangePassword})
}

// refresh answers new tokens for a refresh token.
//
//	@summary		Get a new access token
//	@description	Send the refresh token as Bearer and keep refresh_token of the answer for the next time. The one you sent works until the new one was used; coming back with it later ends the login.
//	@tags			auth
//	@produce		json
//	@security		Bearer
//	@success		200	{object}	wire.Token
//	@failure		401	{object}	wire.Error
//	@failure		404	{object}	wire.Error	"the user is gone"
//	@router			/api/auth/refresh [post]
func (a *api) refresh(c *gin.Context) {
	token, err := bearerToken(c.Request)
	var s auth.Session
	if err == nil {
		s, err = a.Auth.Refresh(c.Request.Context(), token)
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, wire.Token{Token: s.Token, RefreshToken: s.RefreshToken})
}

// logout ends the login.
//
//	@summary	Log out
//	@tags		auth
//	@produce	json
//	@security	Bearer
//	@success	200	{object}	wire.Message
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"asked with an API token"
//	@router		/api/auth/logout [post]
func (a *api) logout(c *gin.Context) {
	by, _ := identity(c)
	if err := a.Auth.Logout(c.Request.Context(), by); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
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
//	@failure		429		{object}	wire.Error	"too many wrong passwords"
//	@router			/api/user/{name} [post]
func (a *api) changePassword(c *gin.Context) {
	name, err := ownName(c)
	var body wire.PasswordChange
	if err == nil {
		err = a.readJSON(c, &body)
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

// ownName is the name in the path, which has to be the caller's.
func ownName(c *gin.Context) (string, error) {
	name := c.Param("name")
	if id, _ := identity(c); id.Name != name {
		return "", inClass(errs.Forbidden, "You have not enough permissions! This is for user %q alone", name)
	}
	return name, nil
}
