package rest

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
)

// Meter counts requests and shows what it counted.
type Meter interface {
	Request(method, route string, status int, took time.Duration)
	Handler() http.Handler
}

// measure counts a request under its route's pattern.
func (a *api) measure(c *gin.Context) {
	if a.Meter == nil {
		return
	}
	start := time.Now()
	c.Next()
	a.Meter.Request(c.Request.Method, c.FullPath(), c.Writer.Status(), time.Since(start))
}

// metrics shows them to whoever is near; through a proxy that says who asks,
// that is who counts.
//
//	@summary		Metrics for Prometheus
//	@description	From loopback and private addresses only, without a token.
//	@tags			health
//	@produce		plain
//	@success		200	{string}	string
//	@failure		403	{object}	wire.Error	"from a public address"
//	@failure		503	{object}	wire.Error	"there are none"
//	@router			/metrics [get]
func (a *api) metrics(c *gin.Context) {
	switch {
	case !auth.Local(peer(c.Request)):
		a.fail(c, inClass(errs.Forbidden, "metrics are shown to loopback and private addresses only"))
	case a.Meter == nil:
		c.PureJSON(http.StatusServiceUnavailable, wire.Error{Code: http.StatusServiceUnavailable, Status: http.StatusText(http.StatusServiceUnavailable), Message: "there are no metrics here"})
	default:
		a.Meter.Handler().ServeHTTP(c.Writer, c.Request)
	}
}
