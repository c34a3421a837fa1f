package rest

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/control"
)

// explainService runs the placement dry.
//
//	@summary		Explain where a service would go, and why instances wait
//	@description	Runs the placement of one more instance, and of those that wait, and places nothing. Clusters that are connected are asked down to their workers; one that does not answer within 2 s is shown as such.
//	@tags			services
//	@produce		json
//	@security		Bearer
//	@param			id		path		string	true	"service id"
//	@param			limit	query		int		false	"workers to list of each cluster, 1 to 1000 (100 without it), some 1 000 in all"
//	@success		200		{object}	wire.Explanation
//	@failure		401		{object}	wire.Error
//	@failure		404		{object}	wire.Error
//	@failure		422		{object}	wire.Error	"a limit that cannot be"
//	@failure		503		{object}	wire.Error	"the root is stopping"
//	@router			/api/service/{id}/explain [get]
func (a *api) explainService(c *gin.Context) {
	q, err := readQuery(c.Request.URL.Query())
	if err != nil {
		a.fail(c, err)
		return
	}
	e, err := a.Control.Explain(c.Request.Context(), caller(c), model.ServiceID(c.Param("id")), q.limit)
	if err != nil {
		a.fail(c, err)
		return
	}
	out := wire.Explanation{
		MicroserviceID: string(e.Service.ID), JobName: e.Service.Name.String(), OneMore: toOutlook(e.OneMore), WaitingTotal: e.Total,
		Waiting: each(e.Waiting, func(w control.WaitingOutlook) wire.WaitingInstance {
			return wire.WaitingInstance{Number: w.Number, Status: string(w.Word), StatusDetail: w.Detail, Outlook: toOutlook(w.Outlook)}
		}),
	}
	c.PureJSON(http.StatusOK, out)
}

func toOutlook(o control.Outlook) wire.Outlook {
	out := wire.Outlook{Possible: o.Cluster != "", ClusterID: string(o.Cluster), Message: o.Message, Clusters: each(o.Clusters, toClusterOutlook)}
	for _, v := range o.Clusters {
		if v.Cluster == o.Cluster {
			out.ClusterName = v.Name
		}
	}
	return out
}

func toClusterOutlook(v control.ClusterOutlook) wire.ClusterOutlook {
	a := v.Answer
	out := wire.ClusterOutlook{
		ClusterID: string(v.Cluster), ClusterName: v.Name, Qualifies: v.Reason == nil, Answer: string(a.State), Workers: a.Workers, Qualified: a.Qualify,
		StatusDetail: v.Detail, WorkerID: string(a.Node), NodesOmitted: a.Omitted,
		Reasons: each(a.Reasons, func(r instance.Reason) wire.Reason {
			return wire.Reason{Reason: r.Name, Count: r.Count, Detail: r.Detail}
		}),
		Nodes: each(a.Judged, func(j control.Judged) wire.WorkerOutlook {
			w := wire.WorkerOutlook{ID: string(j.Node), Host: j.Host, Qualifies: j.Reason == nil}
			if j.Reason != nil {
				w.Reason, w.Detail = j.Reason.Name, figures(j)
			}
			return w
		}),
	}
	if v.Reason != nil {
		out.Reason, out.Detail = v.Reason.Name, v.Reason.Detail
	}
	return out
}

// figures is the example of a reason without the name of the worker that it
// begins with.
func figures(j control.Judged) string {
	for _, name := range []string{j.Host, string(j.Node)} {
		if rest, found := strings.CutPrefix(j.Reason.Detail, name); found && name != "" {
			return strings.TrimPrefix(rest, ": ")
		}
	}
	return j.Reason.Detail
}
