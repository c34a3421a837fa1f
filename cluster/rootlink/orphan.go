package rootlink

import (
	"context"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// order has the fleet carry out an order.
func (s *session) order(ctx context.Context, o *linkv1.NodeOrder) (fleet.Ordered, error) {
	node := model.NodeID(o.GetNodeId())
	if o.GetVerb() == linkv1.NodeVerb_NODE_VERB_END_ORPHAN {
		return fleet.Ordered{}, s.fleet.EndOrphan(ctx, orphanFrom(node, o.GetOrphan()))
	}
	return s.fleet.Order(ctx, node, verbs[o.GetVerb()])
}

func orphanFrom(node model.NodeID, o *linkv1.Orphan) fleet.Orphan {
	return fleet.Orphan{
		Node: node, Instance: model.InstanceID{Service: model.ServiceID(o.GetServiceId()), Number: int(o.GetNumber())}, Name: o.GetServiceName(),
		Epoch: instance.Epoch{Grant: instance.Grant(o.GetGrant()), Try: o.GetTry()},
	}
}
