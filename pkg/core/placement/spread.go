package placement

import "oakestra/pkg/core/model"

// spread says how a service is spread over the candidates in the tree: how many
// of them hold one instance, two, and so on. It bounds a search among workers
// with equal shares: where each of ten thousand equal workers holds one
// instance, the first is as good as any.
type spread struct {
	holders int
	counts  map[int]int // instances -> candidates with that many, at least 1
}

// count moves one candidate from old to now instances of a service.
func (x *Index) count(s model.ServiceID, old, now int) {
	v := x.spread[s]
	if v == nil {
		v = &spread{counts: map[int]int{}}
		x.spread[s] = v
	}
	if old > 0 {
		v.holders--
		if v.counts[old]--; v.counts[old] == 0 {
			delete(v.counts, old)
		}
	}
	if now > 0 {
		v.holders++
		v.counts[now]++
	}
	if v.holders == 0 {
		delete(x.spread, s)
	}
}

// fewest is a lower bound: no candidate in the tree holds fewer instances.
func (x *Index) fewest(s model.ServiceID) int {
	v := x.spread[s]
	if v == nil || v.holders < x.open {
		return 0
	}
	least := -1
	for n := range v.counts {
		if least < 0 || n < least {
			least = n
		}
	}
	return max(least, 0)
}
