package storetest

import (
	"fmt"
	"testing"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

func organizations(t *testing.T, b *bench) {
	o := store.Organization{ID: "o1", Name: "lab", Members: []store.Member{{User: "u1", Roles: []string{"Admin"}}, {User: "u2"}}, CreatedAt: now}
	_, err := b.Organizations().Get(b.ctx, "o1")
	in(t, err, errs.NotFound)
	ok(t, b.Organizations().Put(b.ctx, o))
	ok(t, b.Organizations().Put(b.ctx, o)) // again
	got, err := b.Organizations().Get(b.ctx, "o1")
	ok(t, err)
	same(t, got, o)

	other := store.Organization{ID: "o2", Name: "shop"}
	in(t, b.Organizations().Put(b.ctx, store.Organization{ID: "o2", Name: "lab"}), errs.Conflict)
	ok(t, b.Organizations().Put(b.ctx, other))
	set := func(id string, f func(*store.Organization)) error {
		_, err := b.Organizations().Update(b.ctx, id, func(x store.Organization) (store.Organization, error) {
			f(&x)
			return x, nil
		})
		return err
	}
	in(t, set("o2", func(x *store.Organization) { x.Name = "lab" }), errs.Conflict)
	in(t, set("o2", func(x *store.Organization) { x.ID = "o3" }), errs.Invalid)
	in(t, set("o3", func(*store.Organization) {}), errs.NotFound)
	ok(t, set("o2", func(x *store.Organization) { x.Name, x.Members = "store", o.Members }))
	other.Name, other.Members = "store", o.Members
	list, err := b.Organizations().List(b.ctx)
	ok(t, err)
	same(t, list, []store.Organization{o, other})

	ok(t, b.Organizations().Delete(b.ctx, "o1"))
	in(t, b.Organizations().Delete(b.ctx, "o1"), errs.NotFound)
	ok(t, set("o2", func(x *store.Organization) { x.Name = "lab" })) // the name is free again
}

func tokens(t *testing.T, b *bench) {
	a := store.Token{
		ID: "t1", Kind: store.TokenAPI, User: "ann", UserID: "u1", Name: "ci", Hash: "h", Scopes: []string{"read"}, Organization: "o1",
		Generation: 3, AdvancedAt: now, Revoked: true, CreatedAt: now, ExpiresAt: later, LastUsed: now,
	}
	_, err := b.Tokens().Get(b.ctx, "t1")
	in(t, err, errs.NotFound)
	ok(t, b.Tokens().Put(b.ctx, a))
	got, err := b.Tokens().Get(b.ctx, "t1")
	ok(t, err)
	same(t, got, a)
	ok(t, b.Tokens().Put(b.ctx, store.Token{ID: "t2", Kind: store.TokenReset, User: "bob"}))
	list, err := b.Tokens().List(b.ctx, "ann")
	ok(t, err)
	same(t, list, []store.Token{a})
	list, err = b.Tokens().List(b.ctx, "")
	ok(t, err)
	same(t, len(list), 2)

	got, err = b.Tokens().Update(b.ctx, "t1", func(x store.Token) (store.Token, error) {
		x.Generation++
		return x, nil
	})
	ok(t, err)
	same(t, got.Generation, uint64(4))
	_, err = b.Tokens().Update(b.ctx, "t1", func(x store.Token) (store.Token, error) {
		x.ID = "t3"
		return x, nil
	})
	in(t, err, errs.Invalid)
	_, err = b.Tokens().Update(b.ctx, "t1", func(x store.Token) (store.Token, error) { return x, errs.Forbidden })
	in(t, err, errs.Forbidden)
	_, err = b.Tokens().Update(b.ctx, "t3", func(x store.Token) (store.Token, error) { return x, nil })
	in(t, err, errs.NotFound)
	ok(t, b.Tokens().Delete(b.ctx, "t1"))
	in(t, b.Tokens().Delete(b.ctx, "t1"), errs.NotFound) // once: this is what makes a reset token work once
}

// A reset token that many use at once works for one of them.
func concurrentTokenDeletes(t *testing.T, b *bench) {
	ok(t, b.Tokens().Put(b.ctx, store.Token{ID: "t1", Kind: store.TokenReset, User: "ann"}))
	oneWins(t, together(func(int) error {
		if err := b.Tokens().Delete(b.ctx, "t1"); err != nil {
			return fmt.Errorf("%w: %w", errs.Conflict, err)
		}
		return nil
	}))
}
