package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

const writers = 32

// together runs f once per writer at the same time and returns the errors.
func together(f func(n int) error) []error {
	var wg sync.WaitGroup
	out := make([]error, writers)
	for n := range writers {
		wg.Go(func() { out[n] = f(n) })
	}
	wg.Wait()
	return out
}

// oneWins checks that one of the errors is nil and the rest Conflict.
func oneWins(t *testing.T, list []error) {
	t.Helper()
	won := 0
	for _, err := range list {
		if err == nil {
			won++
			continue
		}
		in(t, err, errs.Conflict)
	}
	same(t, won, 1)
}

func concurrentAdds(t *testing.T, b *bench) {
	_, s := b.seed(t)
	for _, err := range together(func(n int) error {
		// Every other writer fails, which must not disturb its neighbours.
		id := s[0].ID
		if n%2 == 1 {
			id = "nope"
		}
		_, err := b.Instances().Add(b.ctx, id, netip.AddrFrom4([4]byte{10, 30, 3, byte(n)}), now)
		if n%2 == 1 && errors.Is(err, errs.NotFound) {
			return nil
		}
		return err
	}) {
		ok(t, err)
	}
	list, err := b.Instances().List(b.ctx, s[0].ID)
	ok(t, err)
	same(t, len(list), writers/2)
	for n, v := range list {
		same(t, v.ID.Number, n)
	}
	taken, err := b.Claims().List(b.ctx)
	ok(t, err)
	same(t, len(taken), len(s)+writers/2)
}

func concurrentUpdates(t *testing.T, b *bench) {
	_, s := b.seed(t)
	slot, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.1"), now)
	ok(t, err)
	for _, err := range together(func(n int) error {
		_, err := b.Instances().Update(b.ctx, slot.ID, func(v store.Instance) (store.Instance, error) {
			v.Service.Spec.Command = append(v.Service.Spec.Command, fmt.Sprint(n))
			return v, nil
		})
		return err
	}) {
		ok(t, err)
	}
	got, err := b.Instances().Get(b.ctx, slot.ID)
	ok(t, err)
	same(t, got.Revision, uint64(1+writers))
	seen := map[string]bool{}
	for _, r := range got.Service.Spec.Command {
		seen[r] = true
	}
	same(t, len(seen), writers)
}

func concurrentCommits(t *testing.T, b *bench) {
	oneWins(t, together(func(n int) error {
		a := app(100+n, "ann", "same")
		return b.Descriptors().Commit(b.ctx, store.Descriptor{
			Applications: []model.Application{a},
			Services:     []model.Service{svc(100+n, a, "web", fmt.Sprintf("10.30.4.%d", n))},
		})
	}))
	all, err := b.Services().List(b.ctx, "")
	ok(t, err)
	same(t, len(all), 1)
	taken, err := b.Claims().List(b.ctx)
	ok(t, err)
	same(t, len(taken), 1)
}

func concurrentClaims(t *testing.T, b *bench) {
	oneWins(t, together(func(n int) error {
		return b.Claims().Claim(b.ctx, store.Claim{Address: addr("10.30.5.5"), Holder: fmt.Sprint(n)})
	}))
}

func concurrentGrants(t *testing.T, b *bench) {
	ok(t, b.Meta().SetIncarnation(b.ctx, 1))
	got := make([]instance.Grant, writers)
	for _, err := range together(func(n int) (err error) {
		got[n], err = b.Meta().NextGrant(b.ctx)
		return err
	}) {
		ok(t, err)
	}
	distinct := map[instance.Grant]bool{}
	for _, g := range got {
		distinct[g] = true
	}
	same(t, len(distinct), writers)
}

func reopening(t *testing.T, b *bench) {
	_, s := b.seed(t)
	ok(t, b.Meta().SetIncarnation(b.ctx, 4))
	grant, err := b.Meta().NextGrant(b.ctx)
	ok(t, err)
	ok(t, b.Meta().SetRecovery(b.ctx, true))
	slot, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.1"), now)
	ok(t, err)
	ok(t, b.Users().Put(b.ctx, store.User{ID: "u1", Name: "ann", CreatedAt: now}))
	ok(t, b.Organizations().Put(b.ctx, store.Organization{ID: "o1", Name: "o", CreatedAt: now}))
	ok(t, b.Tokens().Put(b.ctx, store.Token{ID: "t1", Kind: store.TokenAPI, User: "ann", CreatedAt: now}))
	ok(t, b.Clusters().Put(b.ctx, store.Cluster{Cluster: model.Cluster{ID: "c1", Name: "c"}, CreatedAt: now}))
	ok(t, b.Blocks().Lease(b.ctx, store.Block{Prefix: netip.MustParsePrefix("10.18.0.0/22"), Cluster: "c1"}))
	before := dump(t, b)

	b.reopen(t)
	same(t, dump(t, b), before)
	n, err := b.Meta().Incarnation(b.ctx)
	ok(t, err)
	same(t, n, 4)
	on, err := b.Meta().Recovery(b.ctx)
	ok(t, err)
	same(t, on, true)
	next, err := b.Meta().NextGrant(b.ctx)
	ok(t, err)
	same(t, next, grant+1)
	again, err := b.Instances().Add(b.ctx, s[0].ID, addr("10.30.2.2"), now)
	ok(t, err)
	same(t, again.ID.Number, slot.ID.Number+1)
	in(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{app(77, "ann", "shop")}}), errs.Conflict)
}

// everything is all lists of a store.
type everything struct {
	Applications  []model.Application
	Services      []model.Service
	Instances     []store.Instance
	Claims        []store.Claim
	Blocks        []store.Block
	Clusters      []store.Cluster
	Users         []store.User
	Organizations []store.Organization
	Tokens        []store.Token
}

func dump(t *testing.T, b *bench) (e everything) {
	t.Helper()
	var err error
	e.Applications, err = b.Applications().List(b.ctx, "")
	ok(t, err)
	e.Services, err = b.Services().List(b.ctx, "")
	ok(t, err)
	e.Instances, err = b.Instances().List(b.ctx, "")
	ok(t, err)
	e.Claims, err = b.Claims().List(b.ctx)
	ok(t, err)
	e.Blocks, err = b.Blocks().List(b.ctx)
	ok(t, err)
	e.Clusters, err = b.Clusters().List(b.ctx)
	ok(t, err)
	e.Users, err = b.Users().List(b.ctx)
	ok(t, err)
	e.Organizations, err = b.Organizations().List(b.ctx)
	ok(t, err)
	e.Tokens, err = b.Tokens().List(b.ctx, "")
	ok(t, err)
	return e
}

func unshared(t *testing.T, b *bench) {
	a := app(1, "ann", "shop")
	s := svc(1, a, "web", "10.30.1.1")
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{a}, Services: []model.Service{s}}))
	s.Spec.Command[0] = "changed by the giver"
	got, err := b.Services().Get(b.ctx, s.ID)
	ok(t, err)
	same(t, got.Spec.Command[0], "sh")
	got.Spec.Command[0] = "changed by the taker"
	got, err = b.Services().Get(b.ctx, s.ID)
	ok(t, err)
	same(t, got.Spec.Command[0], "sh")
}

func cancelled(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	in(t, b.Users().Put(ctx, store.User{Name: "ann"}), errs.Unavailable)
	_, err := b.Users().List(ctx)
	in(t, err, errs.Unavailable)
	list, err := b.Users().List(b.ctx)
	ok(t, err)
	same(t, len(list), 0)
}
