package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// noNode stands in a path for the worker of what a cluster holds and runs
// nowhere.
const noNode = "-"

// listOrphans answers what runs without a record.
//
//	@summary		List containers that no record explains
//	@description	Nothing removes them by itself. reason says why nothing explains one; status is removing once its removal is ordered. Those of a silent cluster or worker are shown as last heard.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			cluster	query		string	false	"name or id of a cluster"
//	@param			node	query		string	false	"id or host name of a worker"
//	@param			limit	query		int		false	"at most so many; X-Next-Cursor and Link lead to the rest"
//	@param			cursor	query		string	false	"X-Next-Cursor of the page before"
//	@param			name	query		string	false	"part of the name, in any case"
//	@param			status	query		string	false	"status as the answer spells it, in any case"
//	@success		200		{array}		wire.Orphan
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		404		{object}	wire.Error	"no such cluster, or no such worker there"
//	@failure		422		{object}	wire.Error	"a query that cannot be"
//	@router			/api/orphans/ [get]
func (a *api) listOrphans(c *gin.Context) {
	list, err := a.Control.Orphans(c.Request.Context(), c.Query("cluster"), c.Query("node"))
	if err != nil {
		a.fail(c, err)
		return
	}
	of := func(v control.OrphanView) entry {
		return entry{key: orphanKey(v), names: []string{v.Named(), string(v.Instance.Service), string(v.Node), v.Host, v.ClusterName}, status: orphanStatus(v)}
	}
	slices.SortFunc(list, func(a, b control.OrphanView) int { return strings.Compare(of(a).key, of(b).key) })
	if list, err = paged(c, list, of); err != nil {
		a.fail(c, err)
		return
	}
	if err := a.Control.Reasons(c.Request.Context(), list); err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, each(list, toOrphan))
}

// deleteOrphan orders the removal of one.
//
//	@summary		Remove a container that no record explains
//	@description	Orders exactly this attempt to be removed, and nothing of a live instance. Its cluster stores the order: it is carried out as soon as the worker is there, and is over when the worker reports without the container.
//	@tags			infrastructure
//	@produce		json
//	@security		Bearer
//	@param			cluster	path		string	true	"name or id of its cluster"
//	@param			node	path		string	true	"id of its worker, - for none"
//	@param			service	path		string	true	"microserviceID or job_name"
//	@param			number	path		int		true	"instance_number"
//	@param			epoch	query		string	true	"as the list says it, so that nothing newer is removed"
//	@success		200		{object}	wire.Message
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Infrastructure_Provider"
//	@failure		404		{object}	wire.Error	"it is not there, or explained by now"
//	@failure		409		{object}	wire.Error	"what is there has another epoch, or belongs to an instance"
//	@failure		422		{object}	wire.Error	"epoch is none"
//	@failure		503		{object}	wire.Error	"its cluster is away, or the root is in recovery"
//	@router			/api/orphans/{cluster}/{node}/{service}/{number} [delete]
func (a *api) deleteOrphan(c *gin.Context) {
	if _, err := a.Control.Cluster(c.Param("cluster")); err != nil {
		a.fail(c, err)
		return
	}
	number, err := strconv.Atoi(c.Param("number"))
	if err != nil || number < 0 {
		a.fail(c, inClass(errs.NotFound, "there is no container with the number %q", c.Param("number")))
		return
	}
	epoch, err := instance.ParseEpoch(c.Query("epoch"))
	if err != nil {
		a.fail(c, errs.Problems{{Path: "epoch", Value: c.Query("epoch"), Message: "want the epoch of the list, such as 1.2/3"}})
		return
	}
	id := control.OrphanID{Cluster: c.Param("cluster"), Node: model.NodeID(c.Param("node")), Service: c.Param("service"), Number: number, Epoch: epoch}
	if id.Node == noNode {
		id.Node = ""
	}
	said, err := a.Control.RemoveOrphan(c.Request.Context(), caller(c), id)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, wire.Message{Message: said})
}

// orphanKey orders a list: by cluster, worker, name, number, epoch. It fits
// into a cursor.
func orphanKey(v control.OrphanView) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%010d\x00%016x%08x", v.Cluster, brief(string(v.Node)), brief(strings.TrimSuffix(v.Named(), "/"+strconv.Itoa(v.Instance.Number))),
		v.Instance.Number, uint64(v.Epoch.Grant), v.Epoch.Try)
}

// brief shortens a long text, and keeps two of them apart.
func brief(s string) string {
	const most, kept = 56, 39
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:kept] + "~" + hex.EncodeToString(sum[:8])
}

func orphanStatus(v control.OrphanView) string {
	if v.Ending {
		return "removing"
	}
	return "found"
}

func toOrphan(v control.OrphanView) wire.Orphan {
	out := wire.Orphan{
		ClusterID: string(v.Cluster), ClusterName: v.ClusterName, NodeID: string(v.Node), Host: v.Host, MicroserviceID: string(v.Instance.Service),
		JobName: v.ServiceName, InstanceNumber: v.Instance.Number, Epoch: v.Epoch.String(), Status: orphanStatus(v), Reason: v.Reason,
	}
	if !v.Since.IsZero() {
		out.Since = v.Since.UTC().Format(time.RFC3339)
	}
	return out
}
