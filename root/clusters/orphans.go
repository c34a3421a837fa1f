package clusters

import (
	"context"

	linkv1 "oakestra/api/link/v1"
	"oakestra/root/control"
)

// abilityOrphans names clusters that end orphans.
const abilityOrphans = "orphans"

// EndOrphan has a cluster remove a container that it cannot explain, and
// returns when the cluster has stored the order. Errors: Unavailable when the
// cluster is away or does not answer, NotFound and Conflict as the cluster says,
// Conflict when its version cannot do it.
func (s *Server) EndOrphan(ctx context.Context, u control.UnknownView) error {
	_, err := s.order(ctx, u.Cluster, abilityOrphans, &linkv1.NodeOrder{
		NodeId: string(u.Node), Verb: linkv1.NodeVerb_NODE_VERB_END_ORPHAN, Orphan: orphanTo(u),
	})
	return err
}
