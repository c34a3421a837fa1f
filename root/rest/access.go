package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
	"oakestra/root/auth"
)

// route is one row of the table in router.go: who may, what an API token must
// be good for, and what answers.
type route struct {
	who          access
	scope        string // "" where no token is looked at
	method, path string
	handler      gin.HandlerFunc
}

// access is who may call a route. Handlers refine it where it depends on the
// thing asked for: one's own account, one's own applications.
type access struct {
	public bool
	roles  []string // one of them is enough; none means any user
}

var (
	everybody      = access{public: true}
	users          = access{}
	deployers      = access{roles: []string{auth.RoleAdmin, auth.RoleApplication}}
	managers       = access{roles: []string{auth.RoleAdmin, auth.RoleOrgAdmin}}
	operators      = access{roles: []string{auth.RoleAdmin, auth.RoleInfrastructure}}
	administrators = access{roles: []string{auth.RoleAdmin}}
)

// add serves a route in both forms, with and without trailing slash.
func (a *api) add(e *gin.Engine, r route) {
	chain := []gin.HandlerFunc{r.handler}
	if !r.who.public {
		chain = []gin.HandlerFunc{a.bearer, a.permit(r), r.handler}
	}
	e.Handle(r.method, r.path, chain...)
	e.Handle(r.method, strings.TrimSuffix(r.path, "/")+"/", chain...)
}

// permit is the only place where roles and scopes of a route are enforced.
func (a *api) permit(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		id, _ := identity(c)
		switch {
		case len(r.who.roles) > 0 && !slices.ContainsFunc(r.who.roles, id.Has):
			a.fail(c, inClass(errs.Forbidden, "You have not enough permissions! This needs the role %s", strings.Join(r.who.roles, " or ")))
		case !id.Allows(r.scope):
			a.fail(c, inClass(errs.Forbidden, "You have not enough permissions! This needs an API token of scope %s; this one has %s",
				r.scope, strings.Join(id.Scopes, ", ")))
		}
	}
}

// Headers of every answer, which share them; full, so that adding to one copies.
var (
	everyOrigin = []string{"*"}
	exposed     = []string{headerRequest + ", " + headerCursor + ", " + headerLink + ", Warning"}
)

// cors lets pages of the configured origins call the API; without any, pages
// of every origin. Tokens travel in a header that a page has to set itself, so
// no credentials are ever allowed.
func (a *api) cors(c *gin.Context) {
	h := c.Writer.Header()
	switch {
	case len(a.Origins) == 0 || slices.Contains(a.Origins, "*"):
		h["Access-Control-Allow-Origin"] = everyOrigin
	default:
		h.Add("Vary", "Origin")
		if origin := c.GetHeader("Origin"); slices.Contains(a.Origins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
		}
	}
	h["Access-Control-Expose-Headers"] = exposed
	if c.Request.Method != http.MethodOptions {
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+headerRequest)
	h.Set("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
}
