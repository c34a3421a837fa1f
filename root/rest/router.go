package rest

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// Deps is what New needs; Logger, Version, Ready and Quoted may be left out.
type Deps struct {
	Control *control.Control
	Auth    *auth.Auth
	Below   control.Below
	Logger  *slog.Logger
	Version string
	// Ready is asked by /readyz; nil means always ready.
	Ready func() error
	// Quoted sends applications and services as JSON inside a JSON string,
	// which one client of 2022 insists on.
	Quoted bool
}

// api holds the handlers.
type api struct {
	Deps
}

// New returns the handler of every route. It starts nothing.
//
//	@title						Oakestra System Manager
//	@version					2.0
//	@description				Applications, services and instances of an Oakestra installation. Log in with POST /api/auth/login, then press Authorize and enter "Bearer " followed by the token.
//	@license.name				Apache-2.0
//	@basePath					/
//	@securityDefinitions.apikey	Bearer
//	@in							header
//	@name						Authorization
//	@description				"Bearer " followed by the token that /api/auth/login answered
func New(d Deps) http.Handler { return newEngine(d) }

func newEngine(d Deps) *gin.Engine {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Ready == nil {
		d.Ready = func() error { return nil }
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.RedirectTrailingSlash = false // a redirect turns POST into GET in some clients
	e.RedirectFixedPath = false
	e.HandleMethodNotAllowed = true
	e.UseRawPath = true          // an escaped slash stays inside its parameter
	_ = e.SetTrustedProxies(nil) // no proxy: cannot fail
	a := &api{d}
	e.Use(requestID, a.audit, a.recoverPanic, cors, limitBody)
	e.NoRoute(func(c *gin.Context) { a.fail(c, notFound(c.Request.URL.Path)) })
	e.NoMethod(func(c *gin.Context) {
		a.answerError(c, http.StatusMethodNotAllowed, c.Request.Method+" is not possible here", nil)
	})
	a.routes(e)
	return e
}

func (a *api) routes(e *gin.Engine) {
	public, guarded := group{e, nil}, group{e, a.bearer}

	public.add(http.MethodGet, "/healthz", a.healthz)
	public.add(http.MethodGet, "/readyz", a.readyz)
	public.add(http.MethodPost, "/api/auth/login", a.login)
	public.add(http.MethodPost, "/api/auth/refresh", a.refresh) // checks its own kind of token
	docs := docsHandler()
	e.GET("/api/docs", docs)
	e.GET("/api/docs/*any", docs)

	guarded.add(http.MethodGet, "/api/user/:name", a.getUser)
	guarded.add(http.MethodPost, "/api/user/:name", a.changePassword)
	guarded.add(http.MethodGet, "/api/permission/:name", a.permission)

	guarded.add(http.MethodPost, "/api/application", a.createApplications)
	guarded.add(http.MethodGet, "/api/application/:id", a.getApplication)
	guarded.add(http.MethodPut, "/api/application/:id", a.updateApplication)
	guarded.add(http.MethodDelete, "/api/application/:id", a.deleteApplication)
	guarded.add(http.MethodPost, "/api/apply", a.apply)
	guarded.add(http.MethodGet, "/api/applications", a.listApplications)
	guarded.add(http.MethodGet, "/api/applications/:user", a.listApplicationsOf)
	guarded.add(http.MethodGet, "/api/aplications", a.listApplications) // so spelled by old pages

	guarded.add(http.MethodPost, "/api/service", a.createService)
	guarded.add(http.MethodPost, "/api/services", a.createService)
	guarded.add(http.MethodGet, "/api/service/:id", a.getService)
	guarded.add(http.MethodPut, "/api/service/:id", a.updateService)
	guarded.add(http.MethodDelete, "/api/service/:id", a.deleteService)
	guarded.add(http.MethodPost, "/api/service/:id/rollback", a.rollback)
	guarded.add(http.MethodGet, "/api/service/:id/revisions", a.revisions)
	guarded.add(http.MethodPost, "/api/service/:id/scale", a.scale)
	guarded.add(http.MethodGet, "/api/services", a.listServices)
	guarded.add(http.MethodGet, "/api/services/:app", a.listServicesOf)

	guarded.add(http.MethodPost, "/api/service/:id/instance", a.deploy)
	guarded.add(http.MethodDelete, "/api/service/:id/instance/:number", a.undeploy)

	guarded.add(http.MethodGet, "/api/clusters", a.listClusters)
	guarded.add(http.MethodGet, "/api/clusters/active", a.listActiveClusters)
	guarded.add(http.MethodGet, "/api/nodes", a.listNodes)
	guarded.add(http.MethodGet, "/api/recovery", a.recovery)
	guarded.add(http.MethodPost, "/api/recovery/accept", a.acceptRecovery)
}

// group adds routes in both forms, with and without trailing slash.
type group struct {
	engine *gin.Engine
	guard  gin.HandlerFunc // nil for public routes
}

func (g group) add(method, path string, h gin.HandlerFunc) {
	chain := []gin.HandlerFunc{h}
	if g.guard != nil {
		chain = []gin.HandlerFunc{g.guard, h}
	}
	g.engine.Handle(method, path, chain...)
	g.engine.Handle(method, strings.TrimSuffix(path, "/")+"/", chain...)
}

func notFound(path string) error {
	return inClass(errs.NotFound, "there is no %s here; the API is described at /api/docs", path)
}
