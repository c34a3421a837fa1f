package address

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// No sequence of claims, frees and expiries gives one address to two holders,
// or an address outside the range.
func TestServicePoolNeverHasTwoHolders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := NewServicePool()
		owner := map[netip.Addr]string{} // in use, by our own book
		rest := map[netip.Addr]time.Time{}
		last := map[netip.Addr]string{}
		now := time.Unix(1000, 0)
		t.Repeat(map[string]func(*rapid.T){
			"next": func(t *rapid.T) {
				h := fmt.Sprint("h", rapid.IntRange(0, 5).Draw(t, "holder"))
				a, err := pool.Next(h)
				if err != nil {
					t.Fatal(err)
				}
				if owner[a] != "" || !rest[a].IsZero() || !ServiceRange.Contains(a) {
					t.Fatalf("%s given to %s, was held by %q", a, h, owner[a])
				}
				owner[a], last[a] = h, h
			},
			"choose": func(t *rapid.T) {
				h := fmt.Sprint("h", rapid.IntRange(0, 5).Draw(t, "holder"))
				a := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(29, 31).Draw(t, "b")), 0, byte(rapid.IntRange(0, 12).Draw(t, "d"))})
				err := pool.Claim(a, h)
				free := owner[a] == "" && (rest[a].IsZero() || last[a] == h)
				valid := ServiceRange.Contains(a) && a != ServiceRange.Addr()
				switch {
				case err == nil && (!valid || !free):
					t.Fatalf("%s claimed by %s, held by %q", a, h, owner[a])
				case err != nil && valid && free:
					t.Fatalf("%s refused: %v", a, err)
				case err != nil && !valid && !errors.Is(err, errs.Invalid), err != nil && valid && !errors.Is(err, errs.Conflict):
					t.Fatalf("wrong class: %v", err)
				}
				if err == nil {
					owner[a], last[a] = h, h
					delete(rest, a)
				}
			},
			"free": func(t *rapid.T) {
				for a := range owner {
					rest[a] = now.Add(time.Minute)
					pool.Quarantine(a, rest[a])
					delete(owner, a)
					break
				}
			},
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "s")) * time.Second)
				for _, a := range pool.Expire(now) {
					if rest[a].IsZero() || now.Before(rest[a]) {
						t.Fatalf("%s freed too early", a)
					}
					delete(rest, a)
				}
			},
			"": func(t *rapid.T) {
				if pool.Len() != len(owner)+len(rest) {
					t.Fatalf("pool holds %d, want %d in use and %d resting", pool.Len(), len(owner), len(rest))
				}
			},
		})
	})
}

func TestServicePoolIsUsedUpOnlyWhenItIs(t *testing.T) {
	pool := NewServicePool()
	n := 0
	for {
		a, err := pool.Next("x")
		if err != nil {
			if !errors.Is(err, errs.Exhausted) {
				t.Fatal(err)
			}
			break
		}
		if last := a.As4()[3]; last == 0 || last == 255 {
			t.Fatalf("gave out %s", a)
		}
		n++
	}
	if n != 256*254 {
		t.Errorf("gave out %d addresses, want %d", n, 256*254)
	}
}

func TestBlocksAreDisjointAndInRange(t *testing.T) {
	b := NewBlocks()
	seen := map[netip.Prefix]bool{}
	for {
		p, err := b.Next("c")
		if errors.Is(err, errs.Exhausted) {
			break
		}
		if err != nil || seen[p] || !inRange(p.Addr()) || !inRange(lastOf(p)) {
			t.Fatalf("%s %v", p, err)
		}
		seen[p] = true
	}
	if len(seen) != 12*64 {
		t.Errorf("%d blocks, want %d", len(seen), 12*64)
	}
	if err := b.Claim(netip.MustParsePrefix("10.18.4.0/22"), "other"); !errors.Is(err, errs.Conflict) {
		t.Errorf("a leased block claimed by another cluster: %v", err)
	}
	for _, bad := range []string{"10.17.0.0/22", "10.30.0.0/22", "10.18.0.0/24", "10.18.1.0/22"} {
		if err := b.Claim(netip.MustParsePrefix(bad), "c"); !errors.Is(err, errs.Invalid) {
			t.Errorf("block %s: %v, want invalid", bad, err)
		}
	}
}

func TestSubnetsAreStickyDisjointAndInsideTheBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSubnets()
		blocks := []netip.Prefix{netip.MustParsePrefix("10.18.0.0/22"), netip.MustParsePrefix("10.20.4.0/22")}
		s.SetBlocks(blocks)
		have := map[model.NodeID]netip.Prefix{}
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				n := model.NodeID(fmt.Sprint("n", rapid.IntRange(0, 40).Draw(t, "node")))
				p, err := s.Get(n)
				if err != nil {
					if len(have) < 32 || !errors.Is(err, errs.Exhausted) {
						t.Fatalf("%v with %d of 32 given", err, len(have))
					}
					return
				}
				if old, ok := have[n]; ok && old != p {
					t.Fatalf("%s moved from %s to %s", n, old, p)
				}
				for other, q := range have {
					if other != n && q.Overlaps(p) {
						t.Fatalf("%s of %s overlaps %s of %s", p, n, q, other)
					}
				}
				if p.Bits() != SubnetBits || !blocks[0].Contains(p.Addr()) && !blocks[1].Contains(p.Addr()) {
					t.Fatalf("%s is outside", p)
				}
				have[n] = p
			},
			"return": func(t *rapid.T) {
				for n := range have {
					s.Return(n)
					delete(have, n)
					break
				}
			},
		})
	})
}
