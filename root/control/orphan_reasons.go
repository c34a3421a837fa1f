package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Reasons fills in why nothing explains the containers of list. It reads the
// store for every one: ask for those that are shown.
func (c *Control) Reasons(ctx context.Context, list []OrphanView) error {
	if len(list) == 0 {
		return nil
	}
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	sites := c.sites()
	for i, v := range list {
		if list[i].Reason, err = c.unexplained(ctx, v, sites, names); err != nil {
			return err
		}
	}
	return nil
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
