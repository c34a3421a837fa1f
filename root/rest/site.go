package rest

import (
	"net/http"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
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
//	@success	200	{array}		wire.Cluster
//	@failure	401	{object}	wire.Error
//	@failure	422	{object}	wire.Error	"a query that cannot be"
//	@router		/api/clusters/ [get]
func (a *api) listClusters(c *gin.Context) {
	a.answerClusters(c, a.Below.Clusters())
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
//	@success	200	{array}		wire.Cluster
//	@failure	401	{object}	wire.Error
//	@failure	422	{object}	wire.Error	"a query that cannot be"
//	@router		/api/clusters/active [get]
func (a *api) listActiveClusters(c *gin.Context) {
	var active []control.ClusterView
	for _, v := range a.Below.Clusters() {
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

// listNodes answers every worker of every cluster.
//
//	@summary	List worker nodes
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@param		limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param		cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param		name	query		string	false	"part of the name, in any case"
//	@param		status	query		string	false	"status as the answer spells it, in any case"
//	@success	200	{array}		wire.Node
//	@failure	401	{object}	wire.Error
//	@failure	422	{object}	wire.Error	"a query that cannot be"
//	@router		/api/nodes/ [get]
func (a *api) listNodes(c *gin.Context) {
	list, err := paged(c, a.Below.Nodes(), func(v control.NodeView) entry {
		return entry{
			key:   v.ClusterName + "\x00" + string(v.Cluster) + "\x00" + string(v.ID),
			names: []string{string(v.ID), v.Host, v.ClusterName}, status: livenessWord(v.Liveness),
		}
	})
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(list, toNode))
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
