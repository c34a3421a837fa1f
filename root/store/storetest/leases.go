package storetest

import (
	"fmt"
	"testing"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

func leases(t *testing.T, b *bench) {
	all := b.Leases()
	none, err := all.Get(b.ctx, "root")
	ok(t, err)
	same(t, none, store.Lease{})
	one := store.Lease{Holder: "a", Address: "192.0.2.1:10000", Term: 1}
	in(t, all.Swap(b.ctx, "root", one, one), errs.Conflict) // nobody has it
	ok(t, all.Swap(b.ctx, "root", none, one))
	in(t, all.Swap(b.ctx, "root", none, store.Lease{Holder: "b", Term: 1}), errs.Conflict)
	beat := one
	beat.Beat++
	ok(t, all.Swap(b.ctx, "root", one, beat))
	in(t, all.Swap(b.ctx, "root", one, beat), errs.Conflict) // it was renewed
	got, err := all.Get(b.ctx, "root")
	ok(t, err)
	same(t, got, beat)
	ok(t, all.Fence(b.ctx, 1))
	ok(t, all.Swap(b.ctx, "root", beat, store.Lease{Term: 1})) // given back
	ok(t, all.Swap(b.ctx, "root", store.Lease{Term: 1}, store.Lease{Holder: "b", Term: 2}))
	ok(t, all.Fence(b.ctx, 2))
	ok(t, b.Users().Put(b.ctx, store.User{ID: "u1", Name: "ann"})) // the holder writes
	other, err := all.Get(b.ctx, "other")
	ok(t, err)
	same(t, other, store.Lease{})
	b.reopen(t)
	got, err = b.Leases().Get(b.ctx, "root")
	ok(t, err)
	same(t, got, store.Lease{Holder: "b", Term: 2})
}

func concurrentLeases(t *testing.T, b *bench) {
	oneWins(t, together(func(n int) error {
		return b.Leases().Swap(b.ctx, "root", store.Lease{}, store.Lease{Holder: fmt.Sprint(n), Term: 1})
	}))
}
