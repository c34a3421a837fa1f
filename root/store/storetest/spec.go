package storetest

import (
	"strings"
	"testing"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

func applications(t *testing.T, b *bench) {
	a, seeded := b.seed(t)
	got, err := b.Applications().Get(b.ctx, a.ID)
	ok(t, err)
	same(t, got, a)
	_, err = b.Applications().Get(b.ctx, "nope")
	in(t, err, errs.NotFound)

	other := app(2, "bob", "shop") // the same name of another owner
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{other}}))
	for owner, want := range map[string][]model.Application{"ann": {a}, "bob": {other}, "": {a, other}, "eve": nil} {
		list, err := b.Applications().List(b.ctx, owner)
		ok(t, err)
		same(t, list, want)
	}

	more := svc(9, other, "web", "10.30.1.9")
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Services: []model.Service{more}}))
	ann, bob := []model.ServiceID{seeded[0].ID, seeded[1].ID}, []model.ServiceID{more.ID}
	for owner, want := range map[string]map[model.ApplicationID][]model.ServiceID{
		"ann": {a.ID: ann}, "bob": {other.ID: bob}, "": {a.ID: ann, other.ID: bob}, "eve": {},
	} {
		parts, err := b.Applications().Parts(b.ctx, owner)
		ok(t, err)
		same(t, parts, want)
	}
	ok(t, b.Services().Delete(b.ctx, more.ID))
	parts, err := b.Applications().Parts(b.ctx, "bob")
	ok(t, err)
	same(t, len(parts), 0)

	renamed, err := b.Applications().Update(b.ctx, other.ID, func(x model.Application) (model.Application, error) {
		x.Name, x.Description = "mall", "new"
		return x, nil
	})
	ok(t, err)
	same(t, renamed.Name, "mall")
	again := app(3, "bob", "shop") // the old name is free
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{again}}))
	_, err = b.Applications().Update(b.ctx, other.ID, func(x model.Application) (model.Application, error) {
		x.Name = "shop"
		return x, nil
	})
	in(t, err, errs.Conflict)
	_, err = b.Applications().Update(b.ctx, "nope", func(x model.Application) (model.Application, error) { return x, nil })
	in(t, err, errs.NotFound)

	in(t, b.Applications().Delete(b.ctx, a.ID), errs.Conflict) // has services
	ok(t, b.Applications().Delete(b.ctx, other.ID))
	in(t, b.Applications().Delete(b.ctx, other.ID), errs.NotFound)
}

func services(t *testing.T, b *bench) {
	a, s := b.seed(t)
	got, err := b.Services().Get(b.ctx, s[0].ID)
	ok(t, err)
	same(t, got, s[0])
	_, err = b.Services().Get(b.ctx, "nope")
	in(t, err, errs.NotFound)

	other := app(2, "bob", "shop")
	theirs := svc(3, other, "web", "10.30.1.3") // the same job name of another owner
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{other}, Services: []model.Service{theirs}}))
	for id, want := range map[model.ApplicationID][]model.Service{a.ID: s, other.ID: {theirs}, "": {s[0], s[1], theirs}, "nope": nil} {
		list, err := b.Services().List(b.ctx, id)
		ok(t, err)
		same(t, list, want)
	}

	ok(t, b.Services().Delete(b.ctx, s[0].ID))
	in(t, b.Services().Delete(b.ctx, s[0].ID), errs.NotFound)
	same(t, b.claimOf(t, s[0].Address), store.Claim{})
	list, err := b.Services().List(b.ctx, a.ID)
	ok(t, err)
	same(t, list, s[1:])
}

func serviceUpdates(t *testing.T, b *bench) {
	_, s := b.seed(t)
	id := s[0].ID
	set := func(f func(*model.Service)) (model.Service, error) {
		return b.Services().Update(b.ctx, id, func(v model.Service) (model.Service, error) {
			f(&v)
			return v, nil
		})
	}
	got, err := set(func(v *model.Service) { v.Spec.Image = "new" })
	ok(t, err)
	same(t, got.Revision, uint64(2))
	got, err = set(func(*model.Service) {})
	ok(t, err)
	same(t, got.Revision, uint64(2)) // the spec is the same
	got, err = set(func(v *model.Service) { v.Spec.Command[0] = "bash" })
	ok(t, err)
	same(t, got.Revision, uint64(3)) // changed in place
	stored, err := b.Services().Get(b.ctx, id)
	ok(t, err)
	same(t, stored, got)

	was := stored.Spec
	got, err = set(func(v *model.Service) { // the history and the rollout of a change
		spec := v.Spec
		spec.Image = "newer"
		*v = v.Change(spec)
	})
	ok(t, err)
	same(t, got.Revision, uint64(4))
	same(t, got.History, []model.Revision{{Number: 3, Spec: was}})
	same(t, got.Rollout, model.Rollout{State: model.RolloutRunning, From: 3})
	got, err = set(func(v *model.Service) { v.Rollout = model.Rollout{State: model.RolloutFailed, From: 3, Message: "why"} })
	ok(t, err)
	same(t, got.Revision, uint64(4))
	_, err = b.Instances().Add(b.ctx, id, addr("10.30.2.1"), now) // writes the service, too
	ok(t, err)
	got.NextNumber++
	stored, err = b.Services().Get(b.ctx, id)
	ok(t, err)
	same(t, stored, got)

	_, err = set(func(v *model.Service) { v.Revision = 1 })
	in(t, err, errs.Conflict)
	_, err = set(func(v *model.Service) { v.Name.Service = "x" })
	in(t, err, errs.Invalid)
	_, err = set(func(v *model.Service) { v.NextNumber-- })
	in(t, err, errs.Invalid)
	_, err = b.Services().Update(b.ctx, id, func(v model.Service) (model.Service, error) { return v, errs.Forbidden })
	in(t, err, errs.Forbidden)
	after, err := b.Services().Get(b.ctx, id)
	ok(t, err)
	same(t, after, stored)
}

func clusters(t *testing.T, b *bench) {
	one := store.Cluster{Cluster: model.Cluster{ID: "c1", Name: "north", Location: "1,2,3", Address: addr("192.0.2.1")}, KeyHash: "k", CreatedAt: now}
	two := store.Cluster{Cluster: model.Cluster{ID: "c2", Name: "south"}, CreatedAt: now}
	ok(t, b.Clusters().Put(b.ctx, one))
	ok(t, b.Clusters().Put(b.ctx, two))
	got, err := b.Clusters().Get(b.ctx, "c1")
	ok(t, err)
	same(t, got, one)
	list, err := b.Clusters().List(b.ctx)
	ok(t, err)
	same(t, list, []store.Cluster{one, two})

	clash := two
	clash.Name = "north"
	in(t, b.Clusters().Put(b.ctx, clash), errs.Conflict)
	one.Name = "west"
	ok(t, b.Clusters().Put(b.ctx, one))
	ok(t, b.Clusters().Put(b.ctx, clash)) // the old name is free
	_, err = b.Clusters().Get(b.ctx, "c3")
	in(t, err, errs.NotFound)
	ok(t, b.Clusters().Delete(b.ctx, "c2"))
	in(t, b.Clusters().Delete(b.ctx, "c2"), errs.NotFound)
	two.Name = "north"
	two.ID = "c4"
	ok(t, b.Clusters().Put(b.ctx, two)) // so is the name of a deleted one
}

func users(t *testing.T, b *bench) {
	u := store.User{
		ID: "u1", Name: "ann", Email: "ann@example.org", PasswordHash: "$h", Roles: []string{"Admin"}, Organization: "o1",
		CreatedAt: now, MustChangePassword: true,
	}
	_, err := b.Users().Get(b.ctx, "ann")
	in(t, err, errs.NotFound)
	ok(t, b.Users().Put(b.ctx, u))
	got, err := b.Users().Get(b.ctx, "ann")
	ok(t, err)
	same(t, got, u)
	got, err = b.Users().Update(b.ctx, "ann", func(x store.User) (store.User, error) {
		x.PasswordHash, x.MustChangePassword = "$i", false
		return x, nil
	})
	ok(t, err)
	stored, err := b.Users().Get(b.ctx, "ann")
	ok(t, err)
	same(t, stored, got)
	same(t, stored.PasswordHash, "$i")
	_, err = b.Users().Update(b.ctx, "ann", func(x store.User) (store.User, error) {
		x.Name = "eve"
		return x, nil
	})
	in(t, err, errs.Invalid)
	_, err = b.Users().Update(b.ctx, "bob", func(x store.User) (store.User, error) { return x, nil })
	in(t, err, errs.NotFound)
	list, err := b.Users().List(b.ctx)
	ok(t, err)
	same(t, list, []store.User{stored})
	ok(t, b.Users().Delete(b.ctx, "ann"))
	in(t, b.Users().Delete(b.ctx, "ann"), errs.NotFound)
}

func meta(t *testing.T, b *bench) {
	n, err := b.Meta().Incarnation(b.ctx)
	ok(t, err)
	same(t, n, 0)
	_, err = b.Meta().NextGrant(b.ctx)
	in(t, err, errs.Unavailable)
	ok(t, b.Meta().SetIncarnation(b.ctx, 7))
	for want := uint64(1); want <= 3; want++ {
		g, err := b.Meta().NextGrant(b.ctx)
		ok(t, err)
		same(t, uint64(g), 7<<32|want)
	}
	ok(t, b.Meta().SetIncarnation(b.ctx, 7)) // again: goes on counting
	g, err := b.Meta().NextGrant(b.ctx)
	ok(t, err)
	same(t, uint64(g), 7<<32|4)
	g, err = b.Meta().NextGrants(b.ctx, 10)
	ok(t, err)
	same(t, uint64(g), 7<<32|5)
	g, err = b.Meta().NextGrant(b.ctx)
	ok(t, err)
	same(t, uint64(g), 7<<32|15)
	in(t, b.Meta().SetIncarnation(b.ctx, 6), errs.Conflict)
	ok(t, b.Meta().SetIncarnation(b.ctx, 9))
	g, err = b.Meta().NextGrant(b.ctx)
	ok(t, err)
	same(t, uint64(g), 9<<32|1)

	for _, want := range []bool{false, true, false} {
		ok(t, b.Meta().SetRecovery(b.ctx, want))
		on, err := b.Meta().Recovery(b.ctx)
		ok(t, err)
		same(t, on, want)
	}
}

func descriptorWhole(t *testing.T, b *bench) {
	a, s := b.seed(t)
	for _, v := range s {
		same(t, b.claimOf(t, v.Address), store.Claim{Address: v.Address, Holder: v.Name.String()})
	}
	// Services may be added to an application that exists.
	more := svc(3, a, "cache", "10.30.1.3")
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Services: []model.Service{more}}))
	list, err := b.Services().List(b.ctx, a.ID)
	ok(t, err)
	same(t, list, append(s, more))
}

func descriptorNothing(t *testing.T, b *bench) {
	a, s := b.seed(t)
	fresh := app(9, "ann", "fresh")
	freshService := svc(91, fresh, "web", "10.30.9.1")
	cases := map[string]struct {
		d     store.Descriptor
		class error
		names string // what the error has to name
	}{
		"name of an application": {store.Descriptor{Applications: []model.Application{fresh, app(8, "ann", "shop")}}, errs.Conflict, "shop"},
		"id of an application": {store.Descriptor{Applications: []model.Application{fresh, {ID: a.ID, Name: "x", Namespace: "y", Owner: "ann"}}},
			errs.Conflict, string(a.ID)},
		"name of a service": {store.Descriptor{Applications: []model.Application{fresh},
			Services: []model.Service{freshService, svc(92, a, "web", "10.30.9.2")}}, errs.Conflict, "shop.test.web.test"},
		"address of another service": {store.Descriptor{Applications: []model.Application{fresh},
			Services: []model.Service{freshService, svc(93, fresh, "two", "10.30.1.1")}}, errs.Conflict, "10.30.1.1"},
		"the same address twice": {store.Descriptor{Applications: []model.Application{fresh},
			Services: []model.Service{freshService, svc(94, fresh, "two", "10.30.9.1")}}, errs.Conflict, "10.30.9.1"},
		"the same name twice": {store.Descriptor{Applications: []model.Application{fresh},
			Services: []model.Service{freshService, svc(95, fresh, "web", "10.30.9.5")}}, errs.Conflict, "fresh.test.web.test"},
		"no such application": {store.Descriptor{Services: []model.Service{freshService}}, errs.NotFound, string(fresh.ID)},
		"same job name and address of another owner": {store.Descriptor{Applications: []model.Application{app(7, "bob", "shop")},
			Services: []model.Service{svc(96, app(7, "bob", "shop"), "web", "10.30.1.1")}}, errs.Conflict, "10.30.1.1"},
		"a name without parts": {store.Descriptor{Applications: []model.Application{fresh},
			Services: []model.Service{freshService, svc(97, fresh, "", "10.30.9.7")}}, errs.Invalid, "fresh.test"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := b.Descriptors().Commit(b.ctx, c.d)
			in(t, err, c.class)
			if !strings.Contains(err.Error(), c.names) {
				t.Errorf("want the error to name %q, got: %v", c.names, err)
			}
			apps, err := b.Applications().List(b.ctx, "")
			ok(t, err)
			same(t, apps, []model.Application{a})
			all, err := b.Services().List(b.ctx, "")
			ok(t, err)
			same(t, all, s)
			taken, err := b.Claims().List(b.ctx)
			ok(t, err)
			same(t, len(taken), len(s))
		})
	}
}
