package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// listClusters answers every cluster that ever registered.
//
//	@summary	List clusters
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@param		status	query		string	false	"status as the answer spells it, in any case"
//	@success	200		{array}		wire.Cluster
//	@failure	401		{object}	wire.Error
//	@failure	422		{object}	wire.Error	"a query that cannot be"
//	@router		/api/clusters/ [get]
func (a *api) listClusters(c *gin.Context) {
	a.answerClusters(c, a.Control.Clusters())
}

// listActiveClusters answers the connected ones.
//
//	@summary	List connected clusters
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@param		status	query		string	false	"status as the answer spells it, in any case"
//	@success	200		{array}		wire.Cluster
//	@failure	401		{object}	wire.Error
//	@failure	422		{object}	wire.Error	"a query that cannot be"
//	@router		/api/clusters/active [get]
func (a *api) listActiveClusters(c *gin.Context) {
	var active []control.ClusterView
	for _, v := range a.Control.Clusters() {
		if v.Active {
			active = append(active, v)
		}
	}
	a.answerClusters(c, active)
}

func (a *api) answerClusters(c *gin.Context, list []control.ClusterView) {
	list, err := paged(c, list, func(v control.ClusterView) entry {
		status := "inactive"
		if v.Active {
			status = "active"
		}
		return entry{key: v.Name + "\x00" + string(v.ID), names: []string{v.Name}, status: status}
	})
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(list, toCluster))
}

// recovery says what the root waits for.
//
//	@summary		Show whether the root is in recovery
//	@description	A root that lost its store changes nothing until its clusters have reported. unknown lists containers that run without a record.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@success		200	{object}	wire.Recovery
//	@failure		401	{object}	wire.Error
//	@router			/api/recovery [get]
func (a *api) recovery(c *gin.Context) {
	on, waiting := a.Below.Recovery()
	c.PureJSON(http.StatusOK, toRecovery(on, waiting, a.Below.Unknown()))
}

// acceptRecovery ends recovery by hand.
//
//	@summary	End recovery without the clusters that are still missing
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@success	200	{object}	wire.Message
//	@failure	401	{object}	wire.Error
//	@failure	403	{object}	wire.Error	"needs the role Admin"
//	@failure	409	{object}	wire.Error	"there is no recovery"
//	@router		/api/recovery/accept [post]
func (a *api) acceptRecovery(c *gin.Context) {
	if err := a.Control.AcceptRecovery(c.Request.Context(), caller(c)); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
}

// healthz says that the process serves.
//
//	@summary	Is the process alive
//	@tags		health
//	@produce	json
//	@success	200	{object}	wire.Health
//	@router		/healthz [get]
func (a *api) healthz(c *gin.Context) {
	c.PureJSON(http.StatusOK, wire.Health{Status: "ok", Version: a.Version})
}

// readyz says whether requests will be served.
//
//	@summary	Can requests be served
//	@tags		health
//	@produce	json
//	@success	200	{object}	wire.Health
//	@failure	503	{object}	wire.Health
//	@router		/readyz [get]
func (a *api) readyz(c *gin.Context) {
	if err := a.Ready(); err != nil {
		c.PureJSON(http.StatusServiceUnavailable, wire.Health{Status: "not ready", Version: a.Version, Reason: err.Error()})
		return
	}
	c.PureJSON(http.StatusOK, wire.Health{Status: "ok", Version: a.Version})
}

// backup streams a copy of the store.
//
//	@summary		Back up the root's store
//	@description	One consistent snapshot of everything stored, while the root serves. The trailer X-Checksum-Sha256 comes after the last byte: an answer without it is cut short. The copy holds password hashes: keep it as secret as the store. See docs/operations.md for how to restore it.
//	@tags			infrastructure
//	@produce		octet-stream
//	@security		Bearer
//	@success		200	{file}		file
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"needs the role Admin"
//	@failure		503	{object}	wire.Error	"the store cannot be backed up here"
//	@router			/api/admin/backup [get]
func (a *api) backup(c *gin.Context) {
	id, _ := identity(c)
	switch {
	case !id.Admin():
		a.fail(c, inClass(errs.Forbidden, "a backup needs the role %s", auth.RoleAdmin))
		return
	case a.Backup == nil:
		a.fail(c, inClass(errs.Unavailable, "this root's store is backed up with the tools of its database"))
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="oakestra-root-`+time.Now().UTC().Format("20060102-150405")+`.db"`)
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", trailerSum)
	sum := sha256.New()
	w := &patient{c.Writer, http.NewResponseController(c.Writer)}
	n, err := a.Backup(c.Request.Context(), io.MultiWriter(w, sum))
	if err != nil {
		a.Logger.Error("backup failed", "error", err, "bytes", n, "user", id.Name, "request", idOf(c))
		if n == 0 && !c.Writer.Written() {
			h.Del("Trailer")
			h.Del("Content-Disposition")
			a.fail(c, err)
			return
		}
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
	h.Set(trailerSum, hex.EncodeToString(sum.Sum(nil)))
	a.Logger.Info("audit", "method", http.MethodGet, "path", c.Request.URL.Path, "status", http.StatusOK, "user", id.Name,
		"from", peer(c.Request).String(), "request", idOf(c), "bytes", n)
}
