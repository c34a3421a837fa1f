package rest

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/store"
)

const (
	never         = "never"
	tokenLifetime = 90 * 24 * time.Hour // unless the caller says otherwise
)

// createToken makes an API token.
//
//	@summary		Create an API token
//	@description	For programs: send it as Bearer, as you would the token of a login. It does what its scopes name (read; deploy, which includes read; admin, which includes both) and never more than your roles. token is shown in this answer alone. Needs a login: an API token makes no others.
//	@tags			tokens
//	@accept			json
//	@produce		json
//	@security		Bearer
//	@param			body	body		wire.NewAPIToken	true	"name, scopes and expiry"
//	@success		200		{object}	wire.CreatedAPIToken
//	@failure		400		{object}	wire.Error	"no JSON"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"asked with an API token"
//	@failure		409		{object}	wire.Error	"you have a token of that name"
//	@failure		422		{object}	wire.Error	"errors lists path, value and reason of everything that is wrong"
//	@router			/api/tokens [post]
func (a *api) createToken(c *gin.Context) {
	by, _ := identity(c)
	var body wire.NewAPIToken
	err := readJSON(c, &body)
	var expires time.Time
	if err == nil {
		expires, err = expiry(body.ExpiresAt, time.Now())
	}
	var t store.Token
	var secret string
	if err == nil {
		t, secret, err = a.Auth.CreateToken(c.Request.Context(), by, body.Name, body.Scopes, expires)
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, wire.CreatedAPIToken{APIToken: toToken(t), Token: secret})
}

// expiry reads expires_at; zero is never.
func expiry(text string, now time.Time) (time.Time, error) {
	switch text {
	case "":
		return now.Add(tokenLifetime).Truncate(time.Second), nil
	case never:
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, errs.Problems{{Path: "expires_at", Value: text[:min(len(text), 80)], Message: `must be a time such as 2030-01-02T03:04:05Z, or "never"`}}
	}
	return at, nil
}

// listTokens answers the caller's, without secrets.
//
//	@summary	List your API tokens
//	@tags		tokens
//	@produce	json
//	@security	Bearer
//	@success	200	{array}		wire.APIToken
//	@failure	401	{object}	wire.Error
//	@router		/api/tokens [get]
func (a *api) listTokens(c *gin.Context) {
	by, _ := identity(c)
	list, err := a.Auth.ListTokens(c.Request.Context(), by)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(list, toToken))
}

// revokeToken ends one.
//
//	@summary		Revoke an API token
//	@description	At once. An Admin revokes anyone's by id; an API token revokes itself alone.
//	@tags			tokens
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"id or name"
//	@success		200	{object}	wire.Message
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"asked with another API token"
//	@failure		404	{object}	wire.Error
//	@router			/api/tokens/{id} [delete]
func (a *api) revokeToken(c *gin.Context) {
	by, _ := identity(c)
	if err := a.Auth.RevokeToken(c.Request.Context(), by, c.Param("id")); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
}

func toToken(t store.Token) wire.APIToken {
	out := wire.APIToken{
		ID: t.ID, Name: t.Name, Prefix: auth.TokenPrefix(t), Scopes: texts(t.Scopes), Organization: t.Organization,
		CreatedAt: t.CreatedAt.UTC().Format(time.RFC3339), ExpiresAt: never,
	}
	if !t.ExpiresAt.IsZero() {
		out.ExpiresAt = t.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if !t.LastUsed.IsZero() {
		out.LastUsed = t.LastUsed.UTC().Format(time.RFC3339)
	}
	return out
}
