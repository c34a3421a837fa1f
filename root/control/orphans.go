package control

import (
	"cmp"
	"context"
	"errors"
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
	Reason      string // why nothing explains it
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

// Orphans lists containers that no record explains: of one cluster (a name or
// an id) and one worker (an id or a host name), or of all for "".
func (c *Control) Orphans(ctx context.Context, cluster, node string) ([]OrphanView, error) {
	names, err := c.names(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]model.ServiceID, len(names))
	for id, name := range names {
		ids[name] = id
	}
	sites, hosts := c.sites(), c.workers()
	var out []OrphanView
	for _, u := range c.below.Unknown() {
		w := hosts[u.Cluster][u.Node]
		v := OrphanView{UnknownView: u, ClusterName: sites[u.Cluster].Name, Host: w.Host, Lost: w.Liveness == instance.Lost}
		if cluster != "" && cluster != v.ClusterName && cluster != string(u.Cluster) || node != "" && node != string(u.Node) && node != v.Host {
			continue
		}
		if v.Instance.Service == "" {
			v.Instance.Service = ids[v.ServiceName]
		}
		if v.ServiceName == "" {
			v.ServiceName = names[v.Instance.Service]
		}
		if v.Reason, err = c.unexplained(ctx, v, sites, names); err != nil {
			return nil, err
		}
		out = append(out, v)
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

// unexplained says why no record explains a container.
func (c *Control) unexplained(ctx context.Context, v OrphanView, sites map[model.ClusterID]ClusterView, names map[model.ServiceID]string) (string, error) {
	if on, _ := c.below.Recovery(); on {
		return "the root is in recovery and has not heard all of its clusters", nil
	}
	if v.Held {
		return "its cluster has an order for it that this root has no record of", nil
	}
	if _, known := names[v.Instance.Service]; !known {
		return "there is no such service", nil
	}
	in, err := c.store.Instances().Get(ctx, v.Instance)
	switch {
	case errors.Is(err, errs.NotFound):
		return fmt.Sprintf("the service has no instance %d", v.Instance.Number), nil
	case err != nil:
		return "", fmt.Errorf("instance %s: %w", v.Instance, err)
	case in.Tombstone:
		return "the instance is being removed, and this is no container that its cluster knows of", nil
	case in.Cluster == "":
		return "the instance is assigned to no cluster", nil
	case in.Cluster != v.Cluster:
		return fmt.Sprintf("the instance is assigned to cluster %s", cmp.Or(sites[in.Cluster].Name, string(in.Cluster))), nil
	}
	if seen, ok := c.below.Facts(v.Instance); ok && seen.Placement.Node != "" && seen.Placement.Node != v.Node {
		return fmt.Sprintf("the instance is placed on worker %s", seen.Placement.Node), nil
	}
	return "the instance is placed by its cluster, and this is no container of it that the cluster knows of", nil
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
	site, err := c.Cluster(id.Cluster)
	if err != nil {
		return OrphanView{}, err
	}
	list, err := c.Orphans(ctx, string(site.ID), "")
	if err != nil {
		return OrphanView{}, err
	}
	var others []string
	for _, o := range list {
		if o.Node != id.Node || o.Instance.Number != id.Number || string(o.Instance.Service) != id.Service && o.ServiceName != id.Service {
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
