package mongostore

import (
	"errors"
	"testing"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// A manager that does not know yet that another one has taken over neither
// overwrites what that one wrote nor counts grants.
func TestAnEarlierTermOverwritesNothing(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		uri := database(t, server, t.TempDir())
		old, young := connect(t, uri), connect(t, uri)
		y := try{1, young}
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, errs.Unavailable) {
				t.Errorf("%s by an earlier term: %v, want class Unavailable", what, err)
			}
		}
		must(old.Leases().Fence(ctx, 1))
		must(old.Meta().SetIncarnation(ctx, 7))
		must(y.slots(old))
		must(young.Leases().Fence(ctx, 2))
		slot := model.InstanceID{Service: y.one().Services[0].ID}
		assign := func(s *Store, to model.ClusterID) error {
			_, err := s.Instances().Update(ctx, slot, func(in store.Instance) (store.Instance, error) {
				in.Cluster = to
				return in, nil
			})
			return err
		}
		_, err := old.Meta().NextGrant(ctx)
		refused("a grant", err)
		refused("an incarnation", old.Meta().SetIncarnation(ctx, 8))
		must(assign(young, "c2"))
		refused("an assignment", assign(old, "c1"))
		got, err := young.Instances().Get(ctx, slot)
		must(err)
		if got.Cluster != "c2" {
			t.Errorf("the slot belongs to %q", got.Cluster)
		}
		if _, err := young.Meta().NextGrant(ctx); err != nil {
			t.Error(err)
		}
		refused("a term", old.Leases().Fence(ctx, 1))

		// It may have the lease again, under a later term.
		first, second, third := store.Lease{Holder: "old", Term: 1}, store.Lease{Holder: "young", Term: 2}, store.Lease{Holder: "old", Term: 3}
		must(old.Leases().Swap(ctx, "root", store.Lease{}, first))
		must(young.Leases().Swap(ctx, "root", first, second))
		must(old.Leases().Swap(ctx, "root", second, third))
		must(old.Leases().Fence(ctx, 3))
		must(assign(old, "c1"))
		refused("an assignment", assign(young, "c2"))
	})
}

// A term begins with what the one before had promised.
func TestATermBeginsWithAStoreAtRest(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		uri := database(t, server, t.TempDir())
		w := connect(t, uri)
		y := try{1, w}
		if err := y.slots(w); err != nil {
			t.Fatal(err)
		}
		dying := newStore(w.client, w.db.Name())
		breakAt(dying, 2, breakage{}) // the removal is written down, no more
		if err := y.removeApplication(dying); err == nil {
			t.Fatal("nothing broke")
		}
		if err := w.Leases().Fence(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		n, err := y.services()
		m, err2 := y.wanted()
		if err := errors.Join(err, err2); err != nil || n+m != 0 {
			t.Errorf("%d services and %d wanted instances are left (%v)", n, m, err)
		}
	})
}

func TestAKeyIsMadeOnce(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		uri := database(t, server, t.TempDir())
		a, err := connect(t, uri).Key(t.Context(), "jwt", 32)
		if err != nil {
			t.Fatal(err)
		}
		b, err := connect(t, uri).Key(t.Context(), "jwt", 32)
		if err != nil || string(a) != string(b) || len(a) != 32 {
			t.Errorf("%x and %x (%v)", a, b, err)
		}
	})
}
