package rest

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// seesSites says who may see and change clusters and nodes.
func seesSites(id auth.Identity) bool { return id.Admin() || id.Has(auth.RoleInfrastructure) }

// listNodes answers every worker of every cluster.
//
//	@summary		List worker nodes
//	@description	Those of a silent cluster are shown as last heard.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param			cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param			name	query		string	false	"part of the name, in any case"
//	@param			status	query		string	false	"status as the answer spells it, in any case"
//	@success		200		{array}		wire.Node
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		422		{object}	wire.Error	"a query that cannot be"
//	@router			/api/nodes/ [get]
func (a *api) listNodes(c *gin.Context) {
	nodes, err := a.Control.Nodes(c.Request.Context())
	if err != nil {
		a.fail(c, err)
		return
	}
	nodes, err = paged(c, nodes, func(v control.NodeDetail) entry {
		return entry{
			key:   v.ClusterName + "\x00" + string(v.Cluster) + "\x00" + string(v.ID),
			names: []string{string(v.ID), v.Host, v.ClusterName}, status: livenessWord(v.Liveness),
		}
	})
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(nodes, toNodeDetail))
}

// getNode answers one.
//
//	@summary	Show a worker node, what runs on it, and what is still to be removed there
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@param		id		path		string	true	"node id"
//	@param		cluster	query		string	false	"name or id of its cluster, when several have a node of this id"
//	@success	200		{object}	wire.Node
//	@failure	401		{object}	wire.Error
//	@failure	403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure	404		{object}	wire.Error
//	@failure	409		{object}	wire.Error	"several clusters have one"
//	@router		/api/nodes/{id} [get]
func (a *api) getNode(c *gin.Context) {
	n, err := a.Control.Node(c.Request.Context(), model.NodeID(c.Param("id")), c.Query("cluster"))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, toNodeDetail(n))
}

func (a *api) orderNode(c *gin.Context, verb control.NodeVerb) ([]control.Move, bool) {
	moves, err := a.Control.OrderNode(c.Request.Context(), caller(c), model.NodeID(c.Param("id")), c.Query("cluster"), verb)
	if err != nil {
		a.fail(c, err)
		return nil, false
	}
	return moves, true
}

// cordonNode has a node take nothing new.
//
//	@summary		Let a node take nothing new
//	@description	The cluster stores it: a restart changes nothing. What runs there stays.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"node id"
//	@param			cluster	query		string	false	"name or id of its cluster"
//	@success		200		{object}	wire.Message
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"several clusters have one"
//	@failure		503		{object}	wire.Error	"its cluster is away"
//	@router			/api/nodes/{id}/cordon [post]
func (a *api) cordonNode(c *gin.Context) {
	if _, ok := a.orderNode(c, control.Cordon); ok {
		c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
	}
}

// uncordonNode ends a cordon or a drain.
//
//	@summary		Let a node take instances again
//	@description	Ends a drain as well; moves that have begun are finished.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"node id"
//	@param			cluster	query		string	false	"name or id of its cluster"
//	@success		200		{object}	wire.Message
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"several clusters have one"
//	@failure		503		{object}	wire.Error	"its cluster is away"
//	@router			/api/nodes/{id}/uncordon [post]
func (a *api) uncordonNode(c *gin.Context) {
	if _, ok := a.orderNode(c, control.Uncordon); ok {
		c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
	}
}

// drainNode empties a node.
//
//	@summary		Empty a node
//	@description	Cordons it and moves its instances, replacement first: an instance is removed once its successor runs and has taken over in the service tables. What fits nowhere else stays and is named under staying. Ask again to see what is left.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"node id"
//	@param			cluster	query		string	false	"name or id of its cluster"
//	@success		200		{object}	wire.Drained
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"several clusters have one"
//	@failure		503		{object}	wire.Error	"its cluster is away"
//	@router			/api/nodes/{id}/drain [post]
func (a *api) drainNode(c *gin.Context) {
	if moves, ok := a.orderNode(c, control.Drain); ok {
		c.PureJSON(http.StatusOK, toDrained(moves))
	}
}

// deleteNode forgets a lost node.
//
//	@summary		Forget a lost node
//	@description	Frees its subnet and what was reserved on it; its instances start elsewhere. One that is alive must be drained and stopped first.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"node id"
//	@param			cluster	query		string	false	"name or id of its cluster"
//	@success		200		{object}	wire.Message
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"it is alive, or several clusters have one"
//	@failure		503		{object}	wire.Error	"its cluster is away"
//	@router			/api/nodes/{id} [delete]
func (a *api) deleteNode(c *gin.Context) {
	if _, ok := a.orderNode(c, control.RemoveNode); ok {
		c.PureJSON(http.StatusOK, wire.Message{Message: "ok"})
	}
}

// getCluster answers one.
//
//	@summary	Show a cluster, and what is still to be removed there
//	@tags		infrastructure
//	@produce	json
//	@security	Bearer
//	@param		id	path		string	true	"cluster id or name"
//	@success	200	{object}	wire.Cluster
//	@failure	401	{object}	wire.Error
//	@failure	404	{object}	wire.Error
//	@failure	503	{object}	wire.Error	"the root is stopping"
//	@router		/api/cluster/{id} [get]
//	@router		/api/clusters/{id} [get]
func (a *api) getCluster(c *gin.Context) {
	v, err := a.Control.ClusterDetail(c.Request.Context(), c.Param("id"))
	if err != nil {
		a.fail(c, err)
		return
	}
	out := toCluster(v.ClusterView)
	if who, _ := identity(c); seesSites(who) { // it names services of everybody
		out.ToRemove, out.ToRemoveTotal = toRemovals(v.ToRemove), len(v.ToRemove)
	}
	c.PureJSON(http.StatusOK, out)
}

// deleteCluster forgets a cluster that is away.
//
//	@summary		Forget a cluster
//	@description	Not while it is connected, and only with force while instances are assigned to it; the refusal lists those. They start elsewhere, while their containers there go on. Its subnets are free again.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"cluster id or name"
//	@param			force	query		bool	false	"also when instances are assigned to it"
//	@success		200		{object}	wire.ClusterRemoved
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		404		{object}	wire.Error
//	@failure		409		{object}	wire.Error	"it is connected, or has instances"
//	@failure		422		{object}	wire.Error	"force is no boolean"
//	@failure		503		{object}	wire.Error	"the root is in recovery"
//	@router			/api/cluster/{id} [delete]
//	@router			/api/clusters/{id} [delete]
func (a *api) deleteCluster(c *gin.Context) {
	force, err := strconv.ParseBool(c.DefaultQuery("force", "false"))
	if err != nil {
		a.fail(c, errs.Problems{{Path: "force", Value: c.Query("force"), Message: "want true or false"}})
		return
	}
	orphaned, err := a.Control.RemoveCluster(c.Request.Context(), caller(c), c.Param("id"), force)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.ClusterRemoved{Message: "ok", Orphaned: each(orphaned, func(id model.InstanceID) wire.Slot {
		return wire.Slot{MicroserviceID: string(id.Service), InstanceNumber: id.Number}
	})})
}

// confirmLoss ends a pause of replacement.
//
//	@summary		Confirm that lost workers are lost
//	@description	A cluster that loses more than three workers and more than 30 % of them at once replaces nothing for five minutes: the fault is then more likely its own network. This ends the pause at once. Without a pause nothing happens; the message says which it was, and is only ok when an older cluster does not say.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"cluster id or name"
//	@success		200	{object}	wire.Message
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		404	{object}	wire.Error
//	@failure		503	{object}	wire.Error	"the cluster is away"
//	@router			/api/cluster/{id}/confirm-loss [post]
//	@router			/api/clusters/{id}/confirm-loss [post]
func (a *api) confirmLoss(c *gin.Context) {
	said, err := a.Control.ConfirmLoss(c.Request.Context(), caller(c), c.Param("id"))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: cmp.Or(said, "ok")})
}

// approveCluster lets a site that lost its data directory be itself again.
//
//	@summary		Approve a cluster under a new key
//	@description	A cluster manager that lost its data directory has another key and is refused, since its name belongs to the key of before. This makes the one that asked last that cluster: the same id, and everything assigned to it. The old key is no longer one.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			id	path		string	true	"cluster id or name"
//	@success		200	{object}	wire.Message
//	@failure		401	{object}	wire.Error
//	@failure		403	{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		404	{object}	wire.Error	"no such cluster, or nobody asks for its name"
//	@failure		409	{object}	wire.Error	"it is connected"
//	@router			/api/cluster/{id}/approve [post]
//	@router			/api/clusters/{id}/approve [post]
func (a *api) approveCluster(c *gin.Context) {
	from, err := a.Control.ApproveCluster(c.Request.Context(), caller(c), c.Param("id"))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: "approved: the cluster manager at " + from + " is this cluster"})
}

func toNodeDetail(n control.NodeDetail) wire.Node {
	out := toNode(n.NodeView)
	out.Draining, out.Stale = n.Draining, n.Stale
	out.ToRemove, out.ToRemoveTotal = toRemovals(n.ToRemove), len(n.ToRemove)
	out.Instances = each(n.Instances, func(s control.SlotName) wire.Slot {
		return wire.Slot{MicroserviceID: string(s.Service), InstanceNumber: s.Number, JobName: s.Name}
	})
	return out
}

// mostRemovals bounds a list of what is to be removed.
const mostRemovals = 100

func toRemovals(list []control.Removal) []wire.Removal {
	return each(list[:min(mostRemovals, len(list))], func(r control.Removal) wire.Removal {
		return wire.Removal{Slot: wire.Slot{MicroserviceID: string(r.Instance.Service), InstanceNumber: r.Instance.Number, JobName: r.Name},
			WorkerID: string(r.Node), WaitsFor: r.Waits}
	})
}

func toDrained(moves []control.Move) wire.Drained {
	out := wire.Drained{Moving: []wire.Move{}, Staying: []wire.Move{}}
	for _, m := range moves {
		w := wire.Move{Slot: wire.Slot{MicroserviceID: string(m.Instance.Service), InstanceNumber: m.Instance.Number, JobName: m.Name}, To: string(m.To), Reason: m.Reason}
		if m.To != "" {
			out.Moving = append(out.Moving, w)
		} else {
			out.Staying = append(out.Staying, w)
		}
	}
	out.Message = fmt.Sprintf("%d instances move, %d stay", len(out.Moving), len(out.Staying))
	return out
}
