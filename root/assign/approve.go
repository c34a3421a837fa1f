package assign

import (
	"context"
	"fmt"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/events"
	"oakestra/root/store"
)

// applicant is somebody with another key who asked for a cluster's name.
type applicant struct {
	keyHash string
	address string
	at      time.Time
}

// applicantsKeptFor is how long an application can be approved: whoever wants
// the name asks again every few seconds, and one that has gone away must not
// become the cluster.
const applicantsKeptFor = 30 * time.Second

// applies notes who asked for the name of a cluster that has another key.
func (d *Desk) applies(s *state, c store.Cluster, h clusters.Hello) error {
	s.applicants[c.ID] = applicant{keyHash(h.Key), h.Address.String(), d.now()}
	return fmt.Errorf("the cluster name %q belongs to a cluster with another key (id %s); if this is that site without its data directory, "+
		"approve it at the root: oak cluster approve %s; else give it another CLUSTER_NAME: %w", h.Name, c.ID, h.Name, errs.Conflict)
}

// ApproveCluster lets the one who asked last for a cluster's name be that
// cluster: the same id, and everything that was given to it. The key of before
// is no longer one. It says from where the new one asked. Errors: NotFound
// when nobody asked, Conflict while the cluster is connected.
func (d *Desk) ApproveCluster(ctx context.Context, id model.ClusterID) (from string, err error) {
	return call(ctx, d, func(s *state) (string, error) {
		c, known := s.clusters[id]
		a, asked := s.applicants[id]
		switch {
		case !known:
			return "", fmt.Errorf("cluster %q: %w", id, errs.NotFound)
		case !asked || d.now().Sub(a.at) > applicantsKeptFor:
			return "", fmt.Errorf("nobody with another key asks to be cluster %s: %w", c.Name, errs.NotFound)
		case d.deps.Book.Active(id):
			return "", fmt.Errorf("cluster %s is connected; who asks for its name from %s is another one: %w", c.Name, a.address, errs.Conflict)
		}
		c.KeyHash = a.keyHash
		ctx := context.WithoutCancel(ctx)
		if err := d.deps.Store.Clusters().Put(ctx, c); err != nil {
			return "", fmt.Errorf("store the new key of cluster %s: %w", c.Name, err)
		}
		s.clusters[id] = c
		delete(s.applicants, id)
		d.remember(ctx, s)
		d.log.Warn("cluster approved under another key", "cluster", c.Name, "id", id, "from", a.address)
		d.deps.Events.Record(events.OfCluster(id, c.Name).Say(events.Normal, "Approved", "with another key, from %s", a.address))
		return a.address, nil
	})
}
