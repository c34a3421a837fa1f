package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	newest, alive := map[model.ServiceID]model.Service{}, map[model.ServiceID]bool{}
	for _, in := range c.Orders {
		sid := in.ID.Service
		if have, ok := newest[sid]; !ok || in.Service.Revision > have.Revision {
			newest[sid] = in.Service
		}
		// A service of which nothing is wanted any more was deleted: it must
		// not come back to life.
		alive[sid] = alive[sid] || s.lives(in)
	}
	touched := slices.Sorted(maps.Keys(newest))
	for _, sid := range touched {
		if !alive[sid] {
			continue
		}
		svc := newest[sid]
		for _, in := range c.Orders {
			if in.ID.Service == sid {
				svc.NextNumber = max(svc.NextNumber, in.ID.Number+1)
			}
		}
		if err := d.adoptService(ctx, svc, c.Applications[svc.Application]); err != nil {
			return err
		}
	}
	taken, err := d.adoptInstances(ctx, c.Orders)
	if err != nil {
		return err
	}
	if err := d.adopted(ctx, s, touched); err != nil {
		return err
	}
	for _, in := range taken {
		d.tellAdopted(s, in)
	}
	return nil
}

// adoptInstances lists the slots that were taken in and are wanted.
func (d *Desk) adoptInstances(ctx context.Context, orders []store.Instance) (taken []store.Instance, err error) {
	for _, in := range orders {
		stored, err := d.adoptInstance(ctx, in)
		if err != nil {
			return nil, err
		}
		if stored && !in.Tombstone {
			taken = append(taken, in)
		}
	}
	return taken, nil
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

func (d *Desk) adoptService(ctx context.Context, svc model.Service, app model.Application) error {
	if _, err := d.deps.Store.Services().Get(ctx, svc.ID); err == nil {
		return nil
	} else if !errors.Is(err, errs.NotFound) {
		return err
	}
	// Tombstones that were adopted before have numbers too.
	slots, err := d.deps.Store.Instances().List(ctx, svc.ID)
	if err != nil {
		return err
	}
	for _, in := range slots {
		svc.NextNumber = max(svc.NextNumber, in.ID.Number+1)
	}
	commit := store.Descriptor{Services: []model.Service{svc}}
	if _, err := d.deps.Store.Applications().Get(ctx, app.ID); errors.Is(err, errs.NotFound) {
		commit.Applications = []model.Application{app}
	} else if err != nil {
		return err
	}
	err = d.deps.Store.Descriptors().Commit(ctx, commit)
	if errors.Is(err, errs.Conflict) {
		// Somebody else has the name or the address by now. The containers run
		// on and are listed as unknown; people decide.
		d.log.Error("a service cannot be adopted", "service", svc.ID, "name", svc.Name.String(), "error", err)
		return nil
	}
	return err
}

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
	in.CreatedAt = d.now()
	err = all.Put(ctx, in)
	if errors.Is(err, errs.Conflict) {
		d.log.Error("an instance cannot be adopted", "instance", in.ID.String(), "error", err)
		return false, nil
	}
	return err == nil, err
}
