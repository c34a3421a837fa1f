package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// NodeVerb is what can be done with a worker.
type NodeVerb uint8

// The verbs.
const (
	Cordon NodeVerb = iota + 1 // it takes nothing new
	Uncordon
	Drain      // cordoned, and its instances move, replacement first
	RemoveNode // forget a lost one
	// ConfirmLoss is of a whole cluster, for no worker in particular.
	ConfirmLoss
)

// Move is what a drain does with an instance.
type Move struct {
	Instance model.InstanceID
	Name     string       // of the service; "" when it has no record
	To       model.NodeID // "" when it stays
	Reason   string       // why it stays
}

// Ordered is what a cluster answers to an order.
type Ordered struct {
	Moves []Move // of Drain
	Said  string // of ConfirmLoss, what it did; "" of an older cluster
}

// Sites is how users change clusters and workers; root.Daemon puts it together
// from root/assign and root/clusters.
type Sites interface {
	// OrderNode returns when the cluster has stored the order; see
	// clusters.Server.
	OrderNode(ctx context.Context, cluster model.ClusterID, node model.NodeID, verb NodeVerb) (Ordered, error)
	// RemoveCluster forgets a cluster that is away; see assign.Desk.
	RemoveCluster(ctx context.Context, id model.ClusterID, force bool) (orphaned []model.InstanceID, err error)
	// DryRun runs the placement of a service without placing anything.
	DryRun(ctx context.Context, svc model.Service) (DryRun, error)
	// Ask has a cluster explain which worker would take one more instance, and
	// list up to most workers.
	Ask(ctx context.Context, cluster model.ClusterID, svc model.Service, most int) Answer
	// ApproveCluster lets who asked for a cluster's name with another key be
	// that cluster; see assign.Desk.
	ApproveCluster(ctx context.Context, id model.ClusterID) (from string, err error)
	// Removals lists what is to be removed and where something of it may be left,
	// by slot.
	Removals(ctx context.Context) ([]Removal, error)
	// EndOrphan orders the removal of a container that runs without a record; it
	// returns when the cluster has the order. See clusters.Server and assign.Desk.
	EndOrphan(ctx context.Context, u UnknownView) error
	// On lists what clusters report on their workers.
	On() map[model.ClusterID]map[model.NodeID][]model.InstanceID
}

// Removal is a deleted instance of which something may be left somewhere.
type Removal struct {
	Instance model.InstanceID
	Name     string // of its service
	Cluster  model.ClusterID
	Node     model.NodeID // "" when the cluster has not said which
	Waits    string       // who has to return first, and what to do when nobody will; "" when it is on its way
}

// NodeDetail is a worker with what runs on it.
type NodeDetail struct {
	NodeView
	Stale     bool // its cluster is not connected: everything is as last heard
	Instances []SlotName
	ToRemove  []Removal // of what was deleted, by slot
}

// ClusterDetail is a cluster with what is to be removed there, by slot.
type ClusterDetail struct {
	ClusterView
	ToRemove []Removal
}

// SlotName is a slot with the name of its service, "" when it has no record.
type SlotName struct {
	model.InstanceID
	Name string
}

// Nodes lists the workers of all clusters with what is on them.
func (c *Control) Nodes(ctx context.Context) ([]NodeDetail, error) {
	names, err := c.names(ctx)
	if err != nil {
		return nil, err
	}
	removals, err := c.places.Removals(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what is to be removed: %w", err)
	}
	type place struct {
		cluster model.ClusterID
		node    model.NodeID
	}
	ends := map[place][]Removal{}
	for _, v := range removals {
		at := place{v.Cluster, v.Node}
		ends[at] = append(ends[at], v)
	}
	on, sites := c.places.On(), c.sites()
	var out []NodeDetail
	for _, n := range c.below.Nodes() {
		d := NodeDetail{NodeView: n, Stale: !sites[n.Cluster].Active, ToRemove: ends[place{n.Cluster, n.ID}]}
		list := on[n.Cluster][n.ID]
		slices.SortFunc(list, func(a, b model.InstanceID) int {
			return cmp.Or(cmp.Compare(names[a.Service], names[b.Service]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Number, b.Number))
		})
		for _, id := range list {
			d.Instances = append(d.Instances, SlotName{id, names[id.Service]})
		}
		out = append(out, d)
	}
	return out, nil
}

func (c *Control) names(ctx context.Context) (map[model.ServiceID]string, error) {
	services, err := c.store.Services().List(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	out := map[model.ServiceID]string{}
	for _, s := range services {
		out[s.ID] = s.Name.String()
	}
	return out, nil
}

// Node finds one by id. Ids are unique within a cluster only: cluster, a name
// or an id, may be "" while only one has it. Errors: NotFound, Conflict when
// several clusters have one.
func (c *Control) Node(ctx context.Context, id model.NodeID, cluster string) (NodeDetail, error) {
	all, err := c.Nodes(ctx)
	if err != nil {
		return NodeDetail{}, err
	}
	found := slices.DeleteFunc(all, func(n NodeDetail) bool {
		return n.ID != id || cluster != "" && n.ClusterName != cluster && string(n.Cluster) != cluster
	})
	switch len(found) {
	case 0:
		return NodeDetail{}, fmt.Errorf("node %q: %w", id, errs.NotFound)
	case 1:
		return found[0], nil
	}
	var in []string
	for _, n := range found {
		in = append(in, n.ClusterName)
	}
	return NodeDetail{}, fmt.Errorf("node %q is in several clusters (%s); say which with ?cluster=: %w", id, strings.Join(in, ", "), errs.Conflict)
}

// OrderNode does something with a worker; its cluster has stored it when it
// returns. Errors: as Node, Unavailable when the cluster is away, Conflict for
// the removal of one that is not lost.
func (c *Control) OrderNode(ctx context.Context, who Caller, id model.NodeID, cluster string, verb NodeVerb) ([]Move, error) {
	n, err := c.Node(ctx, id, cluster)
	if err != nil {
		return nil, err
	}
	done, err := c.places.OrderNode(ctx, n.Cluster, n.ID, verb)
	if err != nil {
		return nil, err
	}
	names, err := c.names(ctx)
	if err != nil {
		return nil, err
	}
	moves := done.Moves
	for i := range moves {
		moves[i].Name = names[moves[i].Instance.Service]
	}
	c.log.Info("node ordered", "node", n.ID, "cluster", n.ClusterName, "verb", int(verb), "user", who.Name)
	return moves, nil
}

// Cluster finds one by id or name.
func (c *Control) Cluster(id string) (ClusterView, error) { return find(c.Clusters(), id) }

// site is Cluster without counting its orphans.
func (c *Control) site(id string) (ClusterView, error) { return find(c.below.Clusters(), id) }

func find(list []ClusterView, id string) (ClusterView, error) {
	for _, v := range list {
		if string(v.ID) == id || v.Name == id {
			return v, nil
		}
	}
	return ClusterView{}, fmt.Errorf("cluster %q: %w", id, errs.NotFound)
}

// ClusterDetail finds one by id or name, with what is to be removed there.
func (c *Control) ClusterDetail(ctx context.Context, id string) (ClusterDetail, error) {
	v, err := c.Cluster(id)
	if err != nil {
		return ClusterDetail{}, err
	}
	out := ClusterDetail{ClusterView: v}
	all, err := c.places.Removals(ctx)
	if err != nil {
		return ClusterDetail{}, fmt.Errorf("list what is to be removed: %w", err)
	}
	for _, r := range all {
		if r.Cluster == v.ID {
			out.ToRemove = append(out.ToRemove, r)
		}
	}
	return out, nil
}

// ConfirmLoss ends the pause in which a cluster replaces nothing because it lost
// many workers at once, and says whether there was one, "" when the cluster does
// not say. Errors: NotFound, Unavailable when the cluster is away.
func (c *Control) ConfirmLoss(ctx context.Context, who Caller, id string) (said string, err error) {
	v, err := c.Cluster(id)
	if err != nil {
		return "", err
	}
	done, err := c.places.OrderNode(ctx, v.ID, "", ConfirmLoss)
	if err != nil {
		return "", err
	}
	c.log.Info("loss of workers confirmed", "cluster", v.Name, "user", who.Name, "said", done.Said)
	return done.Said, nil
}

// RemoveCluster forgets a cluster that is away, and gives its subnets back.
// What it was given is placed elsewhere; its containers are not touched.
// Errors: Conflict while it is connected, and without force while instances
// are assigned to it (the error lists them); Unavailable in recovery.
func (c *Control) RemoveCluster(ctx context.Context, who Caller, id string, force bool) ([]model.InstanceID, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	v, err := c.Cluster(id)
	if err != nil {
		return nil, err
	}
	orphans, err := c.places.RemoveCluster(ctx, v.ID, force)
	if err != nil {
		return nil, err
	}
	c.log.Warn("cluster removed", "cluster", v.Name, "id", v.ID, "orphans", len(orphans), "user", who.Name)
	return orphans, nil
}

// ApproveCluster lets who asked for a cluster's name with another key be that
// cluster, since it lost its own with its data directory. It says from where
// that one asked. Errors: NotFound, Conflict while the cluster is connected.
func (c *Control) ApproveCluster(ctx context.Context, who Caller, id string) (from string, err error) {
	v, err := c.Cluster(id)
	if err != nil {
		return "", err
	}
	if from, err = c.places.ApproveCluster(ctx, v.ID); err != nil {
		return "", err
	}
	c.log.Warn("cluster approved", "cluster", v.Name, "id", v.ID, "from", from, "user", who.Name)
	return from, nil
}
