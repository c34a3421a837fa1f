package address

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// TestThePoolIsUsedUpAndFreedAgain: P5 (make test-long: 100 times). Nothing leaks: each time every
// address is given out once, and freed by release or by rest.
func TestThePoolIsUsedUpAndFreedAgain(t *testing.T) {
	pool := NewServicePool()
	now := time.Unix(1000, 0)
	given := make([]bool, 1<<16)
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("OAK_TEST_POOL_ROUNDS")); err == nil {
		rounds = n
	}
	for round := range rounds {
		clear(given)
		n := 0
		for {
			a, err := pool.Next("x")
			if err != nil {
				if !errors.Is(err, errs.Exhausted) {
					t.Fatal(err)
				}
				break
			}
			b := a.As4()
			i := int(b[2])<<8 | int(b[3])
			if given[i] {
				t.Fatalf("round %d: %s given twice", round, a)
			}
			given[i] = true
			n++
		}
		if n != 256*254 || pool.Len() != n {
			t.Fatalf("round %d: %d given, %d held, want %d", round, n, pool.Len(), 256*254)
		}
		for i, yes := range given {
			a := offset(ServiceRange.Addr(), uint32(i))
			switch {
			case !yes:
			case i%2 == 0:
				pool.Release(a)
			default:
				pool.Quarantine(a, now.Add(time.Minute))
			}
		}
		now = now.Add(time.Minute)
		if freed := len(pool.Expire(now)); freed != n/2 || pool.Len() != 0 {
			t.Fatalf("round %d: %d rested, %d held", round, freed, pool.Len())
		}
	}
}

// TestEveryAddressOfTheRange: all edges. A user may choose every address but
// the two reserved ones, once; none outside.
func TestEveryAddressOfTheRange(t *testing.T) {
	pool := NewServicePool()
	for i := range 1 << 16 {
		a := offset(ServiceRange.Addr(), uint32(i))
		err := pool.Claim(a, "one")
		if want := i != 0 && i != 1<<16-1; (err == nil) != want {
			t.Fatalf("%s: %v", a, err)
		} else if want {
			if err := pool.Claim(a, "other"); !errors.Is(err, errs.Conflict) {
				t.Fatalf("%s has two owners: %v", a, err)
			}
		}
	}
	if _, err := pool.Next("x"); !errors.Is(err, errs.Exhausted) {
		t.Errorf("a full pool gave an address: %v", err)
	}
	for _, bad := range []string{"10.29.255.255", "10.31.0.0", "10.31.0.1", "11.30.0.1", "0.0.0.0", "::1", "::ffff:10.30.0.1"} {
		if err := NewServicePool().Claim(netip.MustParseAddr(bad), "x"); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want invalid", bad, err)
		}
	}
}

// TestPoolsSurviveRestarts: between any two steps the pools are made again from
// what is stored; nothing has two owners and nothing is lost.
func TestPoolsSurviveRestarts(t *testing.T) {
	type stored struct {
		holder string
		until  time.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		pool, claims, now, next := NewServicePool(), map[netip.Addr]stored{}, time.Unix(1000, 0), 0
		subnets, nodes := NewSubnets(), map[model.NodeID]netip.Prefix{}
		blocks := []netip.Prefix{netip.MustParsePrefix("10.18.0.0/22")}
		subnets.SetBlocks(blocks)
		some := func() (netip.Addr, bool) {
			var list []netip.Addr
			for a, c := range claims {
				if c.until.IsZero() {
					list = append(list, a)
				}
			}
			if len(list) == 0 {
				return netip.Addr{}, false
			}
			least := list[0] // not by map order, so that a failure can be shrunk
			for _, a := range list {
				if a.Less(least) {
					least = a
				}
			}
			return least, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"next": func(t *rapid.T) {
				next++
				h := fmt.Sprint("h", next)
				a, err := pool.Next(h)
				if _, taken := claims[a]; err != nil || taken {
					t.Fatalf("%s: %v, taken %v", a, err, taken)
				}
				claims[a] = stored{holder: h}
			},
			"rest": func(t *rapid.T) {
				if a, ok := some(); ok {
					until := now.Add(time.Minute)
					pool.Quarantine(a, until)
					claims[a] = stored{claims[a].holder, until}
				}
			},
			"release": func(t *rapid.T) {
				if a, ok := some(); ok {
					pool.Release(a)
					delete(claims, a)
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "s")) * time.Second)
				for _, a := range pool.Expire(now) {
					if c, ok := claims[a]; !ok || c.until.IsZero() || now.Before(c.until) {
						t.Fatalf("%s was freed: %+v", a, c)
					}
					delete(claims, a)
				}
			},
			"node": func(t *rapid.T) {
				n := model.NodeID(fmt.Sprint("n", rapid.IntRange(0, 15).Draw(t, "node")))
				p, err := subnets.Get(n)
				if have, ok := nodes[n]; err != nil || ok && have != p {
					t.Fatalf("%s has %s, got %s: %v", n, have, p, err)
				}
				for other, q := range nodes {
					if other != n && q.Overlaps(p) {
						t.Fatalf("%s of %s overlaps %s of %s", p, n, q, other)
					}
				}
				nodes[n] = p
			},
			"node goes": func(t *rapid.T) {
				n := model.NodeID(fmt.Sprint("n", rapid.IntRange(0, 15).Draw(t, "node")))
				subnets.Return(n)
				delete(nodes, n)
			},
			"restart": func(t *rapid.T) {
				pool, subnets = NewServicePool(), NewSubnets()
				for a, c := range claims {
					pool.Restore(a, c.holder, c.until)
				}
				subnets.SetBlocks(blocks)
				for n, p := range nodes {
					if err := subnets.Restore(n, p); err != nil {
						t.Fatal(err)
					}
				}
			},
			"": func(t *rapid.T) {
				if pool.Len() != len(claims) {
					t.Fatalf("%d held, %d stored", pool.Len(), len(claims))
				}
				for a, c := range claims {
					if h, ok := pool.Holder(a); !ok || h != c.holder {
						t.Fatalf("%s belongs to %q, the store says %q", a, h, c.holder)
					}
				}
			},
		})
	})
}
