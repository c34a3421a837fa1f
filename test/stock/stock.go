package stock

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
)

const (
	perApplication = 50
	perCommit      = 100    // applications
	addresses      = 65_000 // there are a few more
	owner          = "Admin"
	away           = model.ClusterID("00000000000000000000c100")
)

// Fill stores services, 50 to an application, and instances spread over them
// that a cluster has which is away. Instances get their addresses first; the
// range ends before 100 000, so that the last services have none.
func Fill(t testing.TB, data string, services, instances int) {
	t.Helper()
	s, _, err := boltstore.Open(filepath.Join(data, "root.db"))
	if err == nil {
		err = errors.Join(fill(t, s, services, instances), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fill(t testing.TB, s *boltstore.Store, services, instances int) error {
	ctx, pool := t.Context(), address.NewServicePool()
	if err := s.Clusters().Put(ctx, store.Cluster{Cluster: model.Cluster{ID: away, Name: "away"}, CreatedAt: time.Now()}); err != nil {
		return err
	}
	incarnation := uint32(time.Now().Unix())
	if err := s.Meta().SetIncarnation(ctx, incarnation); err != nil {
		return err
	}
	slots := make([]netip.Addr, instances)
	for i := range slots {
		var err error
		if slots[i], err = pool.Next("an instance"); err != nil {
			return err
		}
	}
	for from := 0; from < services; from += perApplication * perCommit {
		if err := s.Descriptors().Commit(ctx, batch(pool, from, min(from+perApplication*perCommit, services))); err != nil {
			return err
		}
	}
	g := errgroup.Group{}
	g.SetLimit(256) // they share syncs
	for i, a := range slots {
		g.Go(func() error {
			svc, err := s.Services().Get(ctx, ServiceID(i*services/instances))
			if err != nil {
				return err
			}
			in, err := s.Instances().Add(ctx, svc.ID, a, time.Now())
			if err != nil {
				return err
			}
			grant, err := s.Meta().NextGrant(ctx)
			if err != nil {
				return err
			}
			_, err = s.Instances().Update(ctx, in.ID, func(v store.Instance) (store.Instance, error) {
				v.Cluster, v.Grant, v.Service = away, grant, svc
				return v, nil
			})
			return err
		})
	}
	return g.Wait()
}

// ServiceID is the id of a stored service.
func ServiceID(i int) model.ServiceID { return model.ServiceID(fmt.Sprintf("5%023d", i)) }

func batch(pool *address.ServicePool, from, to int) (d store.Descriptor) {
	for i := from; i < to; i++ {
		n := i / perApplication
		app := model.Application{ID: model.ApplicationID(fmt.Sprintf("a%023d", n)), Name: fmt.Sprintf("app%d", n), Namespace: "test", Owner: owner}
		if i%perApplication == 0 {
			d.Applications = append(d.Applications, app)
		}
		svc := model.Service{
			ID: ServiceID(i), Application: app.ID, Owner: owner, Revision: 1,
			Name: model.ServiceName{App: app.Name, AppNamespace: app.Namespace, Service: fmt.Sprintf("s%d", i%perApplication), ServiceNamespace: "test"},
			Spec: model.ServiceSpec{
				Image: "docker.io/library/nginx:latest", Runtime: "container", Command: []string{"nginx", "-g", "daemon off;"},
				Environment: []string{"MODE=test"}, Demand: model.Resources{MilliCPU: 1000, MemoryMB: 100},
				Ports: []model.Port{{Host: 6080, Container: 60, Protocol: model.TCP}}, PortText: "6080:60/tcp",
			},
		}
		if pool.Len() < addresses {
			if a, err := pool.Next(svc.Name.String()); err == nil {
				svc.Address = a
			}
		}
		d.Services = append(d.Services, svc)
	}
	return d
}
