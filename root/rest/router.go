package rest

import (
	"log/slog"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
	"oakestra/root/events"
)

// Deps is what New needs; what stands below Logger may be left out.
type Deps struct {
	Control *control.Control
	Auth    *auth.Auth
	Below   control.Below
	Events  *events.Journal // nil: an empty one
	Logger  *slog.Logger
	Version string
	// Ready is asked by /readyz; nil means always ready.
	Ready func() error
	// Stopping is closed when the root stops, so that streams end; may be nil.
	Stopping <-chan struct{}
	// Meter counts requests for /metrics; may be nil.
	Meter Meter
	// Backup is nil when the store has none.
	Backup Backup
	// Quoted sends applications and services as JSON inside a JSON string,
	// which one client of 2022 insists on.
	Quoted bool
	// RoleObjects sends the roles in user documents as objects, as in 2022.
	RoleObjects bool
	// Strict guards the documentation page with a login.
	Strict bool
	// Origins whose pages may call the API; none means all.
	Origins []string
}

// api holds the handlers.
type api struct {
	Deps
	turns
}

// New returns the handler of every route. It starts nothing.
//
//	@title						Oakestra System Manager
//	@version					2.0
//	@description				Applications, services and instances of an Oakestra installation. Log in with POST /api/auth/login, press Authorize and paste the token of the answer. Programs that want OpenAPI 3.0 find it at [/api/openapi.json](/api/openapi.json).
//	@license.name				Apache-2.0
//	@basePath					/
//	@tag.name					auth
//	@tag.description			Log in, get a new token, log out
//	@tag.name					applications
//	@tag.description			Groups of services, made from a descriptor
//	@tag.name					services
//	@tag.description			What to run: image, resources, ports, address
//	@tag.name					instances
//	@tag.description			Running copies of a service
//	@tag.name					infrastructure
//	@tag.description			Clusters, worker nodes and the state of the root itself
//	@tag.name					events
//	@tag.description			What happened, as a list or as a stream
//	@tag.name					users
//	@tag.description			Accounts and passwords
//	@tag.name					organizations
//	@tag.description			Groups of users with roles of their own
//	@tag.name					tokens
//	@tag.description			API tokens for automation
//	@tag.name					health
//	@tag.description			Probes for monitoring; need no token
//	@securityDefinitions.apikey	Bearer
//	@in							header
//	@name						Authorization
//	@description				The token that POST /api/auth/login answered, or an API token of POST /api/tokens. Programs send it with the word Bearer and a space before it.
func New(d Deps) http.Handler { return newEngine(d) }

func newEngine(d Deps) *gin.Engine {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Events == nil {
		d.Events = events.NewJournal(nil)
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
	a := &api{Deps: d, turns: newTurns()}
	e.Use(a.measure, requestID, a.audit, a.recoverPanic, a.cors, a.limitBody)
	e.NoRoute(func(c *gin.Context) { a.fail(c, notFound(c.Request.URL.Path)) })
	e.NoMethod(func(c *gin.Context) {
		a.answerError(c, http.StatusMethodNotAllowed, c.Request.Method+" is not possible here", nil)
	})
	a.routes(e)
	return e
}

func (a *api) routes(e *gin.Engine) {
	for _, r := range a.table() {
		a.add(e, r)
	}
	docs := docsHandler()
	e.GET(docsPath, a.guardDocs, docs)
	e.GET(docsPath+"/*any", a.guardDocs, docs)
	e.GET(document3URL, a.guardDocs, serveDocument3)
}

// table is every route of the API: who may call it, the scope an API token
// needs, the method and the path.
func (a *api) table() []route { return slices.Concat(a.accounts(), a.workloads(), a.insides()) }

// accounts are the routes of logins, users and probes.
func (a *api) accounts() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	const read, deploy, admin = auth.ScopeRead, auth.ScopeDeploy, auth.ScopeAdmin
	return []route{
		{everybody, "", get, "/healthz", a.healthz},
		{everybody, "", get, "/readyz", a.readyz},
		{everybody, "", get, "/metrics", a.metrics}, // for private addresses only
		{everybody, "", post, "/api/auth/login", a.login},
		{everybody, "", post, "/api/auth/refresh", a.refresh}, // checks its own kind of token
		{users, read, post, "/api/auth/logout", a.logout},
		{managers, admin, post, "/api/auth/register", a.register},

		{everybody, "", post, "/api/user", a.requestReset},
		{everybody, "", put, "/api/user", a.finishReset},
		{users, read, get, "/api/user/:name", a.getUser},
		{users, admin, post, "/api/user/:name", a.changePassword},
		{users, admin, put, "/api/user/:name", a.updateUser},
		{managers, admin, del, "/api/user/:name", a.deleteUser},
		{administrators, admin, get, "/api/users", a.listUsers},
		{managers, admin, get, "/api/users/:organization", a.listUsersOf},
		{users, read, get, "/api/permission/:name", a.permission},

		{managers, admin, get, "/api/organization", a.listOrganizations},
		{administrators, admin, post, "/api/organization", a.createOrganization},
		{managers, admin, put, "/api/organization/:id", a.changeOrganization},
		{administrators, admin, del, "/api/organization/:id", a.deleteOrganization},

		{users, read, get, "/api/tokens", a.listTokens},
		{users, admin, post, "/api/tokens", a.createToken},
		{users, read, del, "/api/tokens/:id", a.revokeToken}, // a token may end itself
	}
}

// workloads are the routes of what runs, and of where.
func (a *api) workloads() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	const read, deploy, admin = auth.ScopeRead, auth.ScopeDeploy, auth.ScopeAdmin
	return []route{
		{deployers, deploy, post, "/api/application", a.createApplications},
		{users, read, get, "/api/application/:id", a.getApplication},
		{deployers, deploy, put, "/api/application/:id", a.updateApplication},
		{deployers, deploy, del, "/api/application/:id", a.deleteApplication},
		{deployers, deploy, post, "/api/apply", a.apply},
		{users, read, get, "/api/applications", a.listApplications},
		{users, read, get, "/api/applications/:user", a.listApplicationsOf},
		{users, read, get, "/api/aplications", a.listApplications}, // so spelled by old pages

		{deployers, deploy, post, "/api/service", a.createService},
		{deployers, deploy, post, "/api/services", a.createService},
		{users, read, get, "/api/service/:id", a.getService},
		{deployers, deploy, put, "/api/service/:id", a.updateService},
		{deployers, deploy, del, "/api/service/:id", a.deleteService},
		{deployers, deploy, post, "/api/service/:id/rollback", a.rollback},
		{users, read, get, "/api/service/:id/revisions", a.revisions},
		{users, read, get, "/api/service/:id/explain", a.explainService},
		{deployers, deploy, post, "/api/service/:id/scale", a.scale},
		{users, read, get, "/api/services", a.listServices},
		{users, read, get, "/api/services/:app", a.listServicesOf},

		{deployers, deploy, post, "/api/service/:id/instance", a.deploy},
		{deployers, deploy, del, "/api/service/:id/instance/:number", a.undeploy},

		{users, read, get, "/api/clusters", a.listClusters},
		{users, read, get, "/api/clusters/active", a.listActiveClusters},
		{users, read, get, "/api/cluster/:id", a.getCluster},
		{users, read, get, "/api/clusters/:id", a.getCluster},
		{operators, admin, post, "/api/cluster/:id/approve", a.approveCluster},
		{operators, admin, post, "/api/clusters/:id/approve", a.approveCluster},
		{operators, admin, del, "/api/cluster/:id", a.deleteCluster},
		{operators, admin, del, "/api/clusters/:id", a.deleteCluster},
		{operators, admin, post, "/api/cluster/:id/confirm-loss", a.confirmLoss},
		{operators, admin, post, "/api/clusters/:id/confirm-loss", a.confirmLoss},

		{operators, read, get, "/api/nodes", a.listNodes},
		{operators, read, get, "/api/nodes/:id", a.getNode},
		{operators, admin, del, "/api/nodes/:id", a.deleteNode},
		{operators, admin, post, "/api/nodes/:id/cordon", a.cordonNode},
		{operators, admin, post, "/api/nodes/:id/uncordon", a.uncordonNode},
		{operators, admin, post, "/api/nodes/:id/drain", a.drainNode},

		{operators, read, get, "/api/orphans", a.listOrphans},
		{operators, admin, del, "/api/orphans/:cluster/:node/:service/:number", a.deleteOrphan},

		{users, read, get, "/api/events", a.streamEvents},
		{users, read, get, "/api/application/:id/events", a.applicationEvents},
		{users, read, get, "/api/service/:id/events", a.serviceEvents},
		{users, read, get, "/api/service/:id/instance/:number/events", a.instanceEvents},
		{users, read, get, "/api/cluster/:id/events", a.clusterEvents},
		{users, read, get, "/api/clusters/:id/events", a.clusterEvents},
		{operators, read, get, "/api/nodes/:id/events", a.nodeEvents},

		{administrators, admin, get, "/api/admin/backup", a.backup},
		{users, read, get, "/api/recovery", a.recovery},
		{administrators, admin, post, "/api/recovery/accept", a.acceptRecovery},
	}
}

// insides are the routes of what goes on in an instance.
func (a *api) insides() []route {
	return []route{
		{users, auth.ScopeRead, http.MethodGet, "/api/service/:id/instance/:number/logs", a.logs},
		{deployers, auth.ScopeDeploy, http.MethodGet, "/api/service/:id/instance/:number/exec", a.exec},
	}
}

func notFound(path string) error {
	return inClass(errs.NotFound, "there is no %s here; the API is described at /api/docs", path)
}
