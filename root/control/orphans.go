package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/events"
)

// OrphanKey tells orphans apart, also over a restart of their cluster manager.
type OrphanKey struct {
	Cluster  model.ClusterID
	Node     model.NodeID
	Instance model.InstanceID
	Name     string
	Epoch    instance.Epoch
}

// Key of an orphan. What an agent without epochs runs is known by its name;
// what a cluster holds is the same one wherever the cluster runs it.
func (u UnknownView) Key() OrphanKey {
	k := OrphanKey{Cluster: u.Cluster, Node: u.Node, Instance: u.Instance, Epoch: u.Epoch}
	switch {
	case u.Held:
		k.Node, k.Epoch.Try = "", 0
	case u.Epoch.IsZero() && u.ServiceName != "":
		k.Name, k.Instance.Service = u.ServiceName, ""
	}
	return k
}

// OrphanView is an orphan with what the root knows besides.
type OrphanView struct {
	UnknownView
	ClusterName string
	Host        string // "" while its worker is not known
	Lost        bool   // its worker is lost: what is ordered waits for its return
	Reason      string // why nothing explains it; see Control.Reasons
}

// Named is how people call it: by the name of its service, else by the id.
func (o OrphanView) Named() string {
	return fmt.Sprintf("%s/%d", cmp.Or(o.ServiceName, string(o.Instance.Service)), o.Instance.Number)
}

// OrphanID names an orphan as users do: Cluster is a name or an id, Service an
// id or a job name. Node is "" for what a cluster holds and runs nowhere.
type OrphanID struct {
	Cluster string
	Node    model.NodeID
	Service string
	Number  int
	Epoch   instance.Epoch
}

// Clusters lists all clusters, with the number of orphans on each.
func (c *Control) Clusters() []ClusterView {
	count := map[model.ClusterID]int{}
	for _, u := range c.below.Unknown() {
		count[u.Cluster]++
	}
	list := c.below.Clusters()
	for i := range list {
		list[i].Orphans = count[list[i].ID]
	}
	return list
}

// Orphans lists containers that no record explains, without the reasons: of one
// cluster (a name or an id) and one worker (an id or a host name), or of all
// for "". NotFound when there is no such cluster, or no such worker there.
func (c *Control) Orphans(ctx context.Context, cluster, node string) ([]OrphanView, error) {
	var of model.ClusterID
	where := ""
	if cluster != "" {
		site, err := c.site(cluster)
		if err != nil {
			return nil, err
		}
		of, where = site.ID, fmt.Sprintf(" of cluster %q", cluster)
	}
	within := func(at model.ClusterID, id model.NodeID, host string) bool {
		return (of == "" || of == at) && (node == "" || node == string(id) || node == host)
	}
	hosts := c.workers()
	list, err := c.pick(ctx, hosts, func(u UnknownView, host string) bool { return within(u.Cluster, u.Node, host) })
	if err != nil || len(list) > 0 || node == "" {
		return list, err
	}
	for at, workers := range hosts {
		for _, w := range workers {
			if within(at, w.ID, w.Host) {
				return nil, nil
			}
		}
	}
	return nil, fmt.Errorf("node %q%s: %w", node, where, errs.NotFound)
}

// pick makes views of the orphans that are meant; host is "" while the worker
// is not known. It reads the store once when there are some, else not at all.
func (c *Control) pick(ctx context.Context, hosts map[model.ClusterID]map[model.NodeID]NodeView, meant func(u UnknownView, host string) bool) ([]OrphanView, error) {
	var out []OrphanView
	sites := c.sites()
	for _, u := range c.below.Unknown() {
		if w := hosts[u.Cluster][u.Node]; meant(u, w.Host) {
			out = append(out, OrphanView{UnknownView: u, ClusterName: sites[u.Cluster].Name, Host: w.Host, Lost: w.Liveness == instance.Lost})
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	names, err := c.names(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]model.ServiceID, len(names))
	for id, name := range names {
		ids[name] = id
	}
	for i := range out {
		v := &out[i]
		if v.Instance.Service == "" {
			v.Instance.Service = ids[v.ServiceName]
		}
		if v.ServiceName == "" {
			v.ServiceName = names[v.Instance.Service]
		}
	}
	return out, nil
}

func (c *Control) workers() map[model.ClusterID]map[model.NodeID]NodeView {
	out := map[model.ClusterID]map[model.NodeID]NodeView{}
	for _, n := range c.below.Nodes() {
		if out[n.Cluster] == nil {
			out[n.Cluster] = map[model.NodeID]NodeView{}
		}
		out[n.Cluster][n.ID] = n
	}
	return out
}

// RemoveOrphan orders the removal of one container that no record explains, and
// says what follows. Errors: NotFound when it is not listed, Conflict when it
// has another epoch or belongs to an instance by now, Unavailable in recovery
// and while its cluster is away.
func (c *Control) RemoveOrphan(ctx context.Context, who Caller, id OrphanID) (said string, err error) {
	if err := c.writable(); err != nil {
		return "", err
	}
	o, err := c.orphan(ctx, id)
	if err != nil {
		return "", err
	}
	if err := c.places.EndOrphan(ctx, o.UnknownView); err != nil {
		return "", err
	}
	c.log.Warn("removal of an orphan ordered", "instance", o.Named(), "epoch", o.Epoch.String(), "cluster", o.ClusterName, "node", o.Node, "user", who.Name)
	e := events.OfCluster(o.Cluster, o.ClusterName)
	if o.Node != "" {
		e = events.OfNode(o.Cluster, o.ClusterName, o.Node)
	}
	c.events.Record(e.Say(events.Normal, "OrphanOrdered", "%s (epoch %s) is to be removed, by %s", o.Named(), o.Epoch, who.Name))
	if o.Lost {
		return fmt.Sprintf("worker %s is lost: %s is removed when it returns", o.Node, o.Named()), nil
	}
	return fmt.Sprintf("%s is removed", o.Named()), nil
}

// orphan finds the one that is meant.
func (c *Control) orphan(ctx context.Context, id OrphanID) (OrphanView, error) {
	site, err := c.site(id.Cluster)
	if err != nil {
		return OrphanView{}, err
	}
	list, err := c.pick(ctx, c.workers(), func(u UnknownView, _ string) bool {
		return u.Cluster == site.ID && u.Node == id.Node && u.Instance.Number == id.Number
	})
	if err != nil {
		return OrphanView{}, err
	}
	var others []string
	for _, o := range list {
		if string(o.Instance.Service) != id.Service && o.ServiceName != id.Service {
			continue
		}
		if o.Epoch == id.Epoch {
			return o, nil
		}
		others = append(others, o.Epoch.String())
	}
	what := fmt.Sprintf("%s/%d with epoch %s on worker %q of cluster %s", id.Service, id.Number, id.Epoch, id.Node, site.Name)
	if len(others) > 0 {
		slices.Sort(others)
		return OrphanView{}, fmt.Errorf("there is no %s; what is there has epoch %s: list again: %w", what, strings.Join(others, ", "), errs.Conflict)
	}
	return OrphanView{}, fmt.Errorf("no container without a record is %s; it may be gone, or explained by now: %w", what, errs.NotFound)
}
