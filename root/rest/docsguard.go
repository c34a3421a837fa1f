package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// docsCookie carries an access token to the documentation, and there alone: a
// browser sends no Authorization header when it opens a page.
const docsCookie = "oakestra_docs"

const (
	docsPath     = "/api/docs"
	document3URL = "/api/openapi.json"
)

// signIn is what a browser without a login sees of a guarded page. Its form
// logs in, which sets the cookie, and loads the page again.
const signIn = `<!doctype html><html lang="en"><title>Oakestra API</title>
<form style="font-family:sans-serif;max-width:20em;margin:10em auto">
<p>This page needs a login.</p>
<p><input name="username" placeholder="user" autocomplete="username"></p>
<p><input name="password" type="password" placeholder="password" autocomplete="current-password"></p>
<p><button>Log in</button> <output></output></p></form>
<script>
document.forms[0].onsubmit = async e => {
  e.preventDefault()
  const f = e.target, r = await fetch('/api/auth/login', {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({username: f.username.value, password: f.password.value})})
  const answer = await r.json()
  if (r.ok) location.reload(); else f.querySelector('output').textContent = answer.message
}
</script></html>
`

// guardDocs lets only users see the page, with a token in the header or in the
// cookie.
func (a *api) guardDocs(c *gin.Context) {
	if !a.Strict {
		return
	}
	token, err := bearerToken(c.Request)
	if err != nil {
		token, err = c.Cookie(docsCookie)
	}
	if err == nil {
		_, err = a.Auth.Verify(c.Request.Context(), token)
	}
	c.Header("Cache-Control", "private, no-store")
	if err == nil {
		return
	}
	c.Header("WWW-Authenticate", `Bearer realm="oakestra"`)
	c.Header("Content-Security-Policy", "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'")
	c.Data(http.StatusUnauthorized, "text/html; charset=utf-8", []byte(signIn))
	c.Abort()
}

// openDocs hands a browser that just logged in the cookie for the documentation.
func (a *api) openDocs(c *gin.Context, token string) {
	if !a.Strict {
		return
	}
	for _, path := range []string{docsPath, document3URL} {
		http.SetCookie(c.Writer, &http.Cookie{
			Name: docsCookie, Value: token, Path: path, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: c.Request.TLS != nil,
		})
	}
}
