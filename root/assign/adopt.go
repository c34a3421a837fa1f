package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/store"
)

// Adopt takes in what a cluster holds: applications, services, slots,
// addresses and blocks, under the ids and grants they have. Of two claims of a
// slot the higher grant wins, and of the same grant the tombstone.
func (d *Desk) Adopt(ctx context.Context, id model.ClusterID, c clusters.Claims) error {
	_, err := call(ctx, d, func(s *state) (struct{}, error) {
		if _, known := s.clusters[id]; !known {
			return struct{}{}, clusters.ErrRemoved
		}
		// The stream may end meanwhile; half an adoption helps nobody.
		ctx := context.WithoutCancel(ctx)
		if err := d.adopt(ctx, s, id, c); err != nil {
			return struct{}{}, fmt.Errorf("adopt what cluster %s holds: %w", id, err)
		}
		delete(s.awaited, id)
		if s.recovery && len(s.awaited) == 0 {
			return struct{}{}, d.endRecovery(ctx, s)
		}
		d.show(s)
		return struct{}{}, nil
	})
	return err
}

func (d *Desk) adopt(ctx context.Context, s *state, id model.ClusterID, c clusters.Claims) error {
	if err := d.claimBlocks(ctx, s, id, c.Blocks); err != nil {
		return err
	}
	c.Orders = slices.DeleteFunc(slices.Clone(c.Orders), func(in store.Instance) bool { return in.ID.Service == "" })
	lived := s.living()
	touched, err := d.adoptServices(ctx, s, c)
	if err != nil {
		return err
	}
	taken, err := d.adoptInstances(ctx, c.Orders)
	if err != nil {
		return err
	}
	for _, sid := range touched {
		if lived[sid] {
			if err := d.bury(ctx, s, sid); err != nil {
				return err
			}
		}
	}
	if err := d.adopted(ctx, s, touched); err != nil {
		return err
	}
	for _, in := range taken {
		d.tellAdopted(s, in)
	}
	return nil
}

// adoptServices enters the services of orders that somebody wants, and lists
// those of all orders.
func (d *Desk) adoptServices(ctx context.Context, s *state, c clusters.Claims) ([]model.ServiceID, error) {
	newest, alive, next := map[model.ServiceID]model.Service{}, map[model.ServiceID]bool{}, map[model.ServiceID]int{}
	for _, in := range c.Orders {
		sid := in.ID.Service
		if have, ok := newest[sid]; !ok || in.Service.Revision > have.Revision {
			newest[sid] = in.Service
		}
		// A service of which nothing is wanted any more was deleted: it must
		// not come back to life.
		alive[sid] = alive[sid] || s.lives(in)
		next[sid] = max(next[sid], in.ID.Number+1)
	}
	touched := slices.Sorted(maps.Keys(newest))
	apps := map[model.ApplicationID][]model.Service{}
	for _, sid := range touched {
		if svc := newest[sid]; alive[sid] {
			svc.NextNumber = max(svc.NextNumber, next[sid])
			apps[svc.Application] = append(apps[svc.Application], svc)
		}
	}
	return touched, d.adoptApplications(ctx, s, apps, c.Applications)
}

// adoptApplications enters services: applications side by side, the services of
// one after the other, since the first brings the application with it.
func (d *Desk) adoptApplications(ctx context.Context, s *state, services map[model.ApplicationID][]model.Service, apps map[model.ApplicationID]model.Application) error {
	var mu sync.Mutex // guards what s has of it
	return sideBySide(slices.Sorted(maps.Keys(services)), func(id model.ApplicationID) error {
		for _, svc := range services[id] {
			entered, first, err := d.adoptService(ctx, svc, apps[id])
			if err != nil {
				return err
			}
			if entered {
				mu.Lock()
				s.adopted[svc.ID] = true
				s.adoptedApps[id] = s.adoptedApps[id] || first
				mu.Unlock()
			}
		}
		return nil
	})
}

// adoptInstances lists the slots that were taken in and are wanted.
func (d *Desk) adoptInstances(ctx context.Context, orders []store.Instance) (taken []store.Instance, err error) {
	of := map[model.InstanceID][]int{} // more than one only of a damaged cluster
	for i, in := range orders {
		of[in.ID] = append(of[in.ID], i)
	}
	stored := make([]bool, len(orders))
	err = sideBySide(slices.SortedFunc(maps.Keys(of), compareID), func(id model.InstanceID) (err error) {
		for _, i := range of[id] {
			if stored[i], err = d.adoptInstance(ctx, orders[i]); err != nil {
				return err
			}
		}
		return nil
	})
	for i, in := range orders {
		if stored[i] && !in.Tombstone {
			taken = append(taken, in)
		}
	}
	return taken, err
}

// sideBySide does something with each of a list, many at a time: writes share
// syncs, and 10 000 one after the other are a minute, in which the loop answers
// nobody.
func sideBySide[T any](list []T, do func(T) error) error {
	g := errgroup.Group{}
	g.SetLimit(writesAtOnce)
	for _, v := range list {
		g.Go(func() error { return do(v) })
	}
	return g.Wait()
}

// living lists the services that somebody wants instances of.
func (s *state) living() map[model.ServiceID]bool {
	out := map[model.ServiceID]bool{}
	for id, in := range s.instances {
		if !in.Tombstone {
			out[id.Service] = true
		}
	}
	return out
}

// bury removes a service that was adopted, should the tombstones of a cluster
// heard later show that it was deleted: the order in which clusters come must
// not matter.
func (d *Desk) bury(ctx context.Context, s *state, id model.ServiceID) error {
	svc, known := s.services[id]
	if !known || !s.adopted[id] {
		return nil
	}
	slots, err := d.deps.Store.Instances().List(ctx, id)
	if err != nil || slices.ContainsFunc(slots, func(in store.Instance) bool { return !in.Tombstone }) {
		return err
	}
	delete(s.adopted, id)
	until := d.now().Add(rest)
	list, err := d.deps.Store.Services().List(ctx, svc.Application)
	if err != nil {
		return err
	}
	defer d.Retire(svc.Address, until)
	d.log.Info("a service that was adopted is deleted", "service", id, "name", svc.Name.String())
	if len(list) == 1 && s.adoptedApps[svc.Application] {
		delete(s.adoptedApps, svc.Application)
		return d.deps.Store.Descriptors().Remove(ctx, []model.ApplicationID{svc.Application}, nil, until)
	}
	return d.deps.Store.Descriptors().Remove(ctx, nil, []model.ServiceID{id}, until)
}

// lives says that an adopted order would be a slot that somebody wants.
func (s *state) lives(in store.Instance) bool {
	have, known := s.instances[in.ID]
	return !in.Tombstone && (!known || !have.Tombstone || in.Grant > have.Grant)
}

// adopted reads services again whose records changed.
func (d *Desk) adopted(ctx context.Context, s *state, services []model.ServiceID) error {
	claims, err := d.deps.Store.Claims().List(ctx)
	if err != nil {
		return err
	}
	d.merge(claims)
	for _, sid := range services {
		if err := d.reload(ctx, s, sid); err != nil {
			return err
		}
	}
	return nil
}

// adoptService says whether it entered the service, and with it its application.
func (d *Desk) adoptService(ctx context.Context, svc model.Service, app model.Application) (entered, first bool, err error) {
	if _, err := d.deps.Store.Services().Get(ctx, svc.ID); err == nil {
		return false, false, nil
	} else if !errors.Is(err, errs.NotFound) {
		return false, false, err
	}
	// Tombstones that were adopted before have numbers too.
	slots, err := d.deps.Store.Instances().List(ctx, svc.ID)
	if err != nil {
		return false, false, err
	}
	for _, in := range slots {
		svc.NextNumber = max(svc.NextNumber, in.ID.Number+1)
	}
	commit := store.Descriptor{Services: []model.Service{svc}}
	if _, err := d.deps.Store.Applications().Get(ctx, app.ID); errors.Is(err, errs.NotFound) {
		commit.Applications = []model.Application{app}
	} else if err != nil {
		return false, false, err
	}
	err = d.deps.Store.Descriptors().Commit(ctx, commit)
	if refused(err) {
		// Somebody else has the name or the address by now, or the order is
		// damaged. The containers run on and are listed as unknown; people
		// decide.
		d.log.Error("a service cannot be adopted", "service", svc.ID, "name", svc.Name.String(), "error", err)
		return false, false, nil
	}
	return err == nil, len(commit.Applications) > 0, err
}

// refused says that the store will not take a record, however often it is
// asked.
func refused(err error) bool { return errors.Is(err, errs.Conflict) || errors.Is(err, errs.Invalid) }

// adoptInstance stores a slot unless what is stored is newer; it says whether
// it did.
func (d *Desk) adoptInstance(ctx context.Context, in store.Instance) (stored bool, err error) {
	all := d.deps.Store.Instances()
	have, err := all.Get(ctx, in.ID)
	switch {
	case err != nil && !errors.Is(err, errs.NotFound):
		return false, err
	case err == nil && in.Grant == have.Grant && in.Tombstone && !have.Tombstone:
		_, err := all.Update(ctx, in.ID, func(v store.Instance) (store.Instance, error) {
			v.Tombstone = true
			return v, nil
		})
		return false, err
	case err == nil && have.Grant >= in.Grant:
		return false, nil
	}
	if _, err := d.deps.Store.Services().Get(ctx, in.ID.Service); errors.Is(err, errs.NotFound) && !in.Tombstone {
		return false, nil // could not be adopted, see above
	} else if err != nil && !errors.Is(err, errs.NotFound) {
		return false, err
	}
	if in.CreatedAt = have.CreatedAt; in.CreatedAt.IsZero() {
		in.CreatedAt = d.now()
	}
	err = all.Put(ctx, in)
	if refused(err) {
		d.log.Error("an instance cannot be adopted", "instance", in.ID.String(), "error", err)
		return false, nil
	}
	return err == nil, err
}
