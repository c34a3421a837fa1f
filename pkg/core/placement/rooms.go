package placement

import (
	"cmp"
	"slices"

	"oakestra/pkg/core/model"
)

// Room is a group of workers as the root knows them: Count workers that run
// the same things and have at least Free left, each of them.
type Room struct {
	Runtimes      []string
	Architectures []string
	Network       bool
	Free          model.Resources
	Count         int
}

// Rooms sums up the candidates that may take something, in at most about most
// groups. No group promises what its workers do not have: it is as small as the
// smallest of each resource within it. Workers that no other surpasses stand in
// groups with equals only, so that the largest request that fits somewhere is
// known; partial says that there were too many of those.
func (x *Index) Rooms(most int) (rooms []Room, partial bool) {
	kinds := map[string]*kind{}
	x.tree.each(func(e *entry) {
		k := kinds[e.kind]
		if k == nil {
			k = &kind{name: e.kind, like: e, count: map[model.Resources]int{}}
			kinds[e.kind] = k
		}
		k.count[greatest(e.free(), model.Resources{})]++
	})
	var all []*kind
	distinct := 0
	for _, k := range kinds {
		all = append(all, k)
		distinct += len(k.count)
	}
	slices.SortFunc(all, func(a, b *kind) int { return cmp.Compare(a.name, b.name) })
	if distinct <= most {
		for _, k := range all {
			rooms = append(rooms, k.rooms(k.points())...)
		}
		return rooms, false
	}
	return pack(all, most)
}

// pack keeps the workers that nobody surpasses and cuts the rest into boxes,
// the one that loses most first, until there are enough.
func pack(all []*kind, most int) (rooms []Room, partial bool) {
	var boxes []box
	left := most
	for _, k := range all {
		top, rest := k.frontier()
		if keep := max(4, most/2/len(all)); len(top) > keep {
			partial = true
			top, rest = shorten(top, rest, keep)
		}
		left -= len(top)
		rooms = append(rooms, k.rooms(top)...)
		if len(rest) > 0 {
			boxes = append(boxes, newBox(k, rest))
		}
	}
	for len(boxes) > 0 && len(boxes) < left {
		worst := 0
		for i, b := range boxes {
			if b.loss > boxes[worst].loss {
				worst = i
			}
		}
		if boxes[worst].loss == 0 {
			break
		}
		a, b := boxes[worst].split()
		boxes[worst] = a
		boxes = append(boxes, b)
	}
	for _, b := range boxes {
		rooms = append(rooms, b.kind.room(b.least, b.workers))
	}
	return rooms, partial
}

// kind is the workers that run the same things, by what they have left.
type kind struct {
	name  string
	like  *entry
	count map[model.Resources]int
}

type point struct {
	free  model.Resources
	count int
}

// points are in a fixed order.
func (k *kind) points() []point {
	list := make([]point, 0, len(k.count))
	for free, n := range k.count {
		list = append(list, point{free, n})
	}
	slices.SortFunc(list, func(a, b point) int {
		return cmp.Or(cmp.Compare(b.free.MilliCPU, a.free.MilliCPU), cmp.Compare(b.free.MemoryMB, a.free.MemoryMB),
			cmp.Compare(b.free.GPUs, a.free.GPUs), cmp.Compare(b.free.DiskMB, a.free.DiskMB))
	})
	return list
}

func (k *kind) room(free model.Resources, count int) Room {
	return Room{Runtimes: k.like.Runtimes, Architectures: k.like.Architectures, Network: k.like.Network, Free: free, Count: count}
}

func (k *kind) rooms(list []point) (out []Room) {
	for _, p := range list {
		out = append(out, k.room(p.free, p.count))
	}
	return out
}

// frontier parts what no other worker surpasses from the rest. In the order of
// points nothing is surpassed by what comes later.
func (k *kind) frontier() (top, rest []point) {
	for _, p := range k.points() {
		if slices.ContainsFunc(top, func(t point) bool { return t.free.Fits(p.free) }) {
			rest = append(rest, p)
		} else {
			top = append(top, p)
		}
	}
	return top, rest
}

// shorten keeps the largest by each resource, then those with the most of all
// together, and moves the others to the rest.
func shorten(top, rest []point, keep int) (kept, more []point) {
	var most model.Resources
	for _, p := range top {
		most = greatest(most, p.free)
	}
	scale := parts(most)
	together := func(p point) (sum float64) {
		for i, v := range parts(p.free) {
			if scale[i] > 0 {
				sum += float64(v) / float64(scale[i])
			}
		}
		return sum
	}
	slices.SortStableFunc(top, func(a, b point) int { return cmp.Compare(together(b), together(a)) })
	for i := range scale {
		largest := 0
		for n, p := range top {
			if parts(p.free)[i] > parts(top[largest].free)[i] {
				largest = n
			}
		}
		if p := top[largest]; !slices.Contains(kept, p) {
			kept = append(kept, p)
		}
	}
	for _, p := range top {
		switch {
		case slices.Contains(kept, p):
		case len(kept) < keep:
			kept = append(kept, p)
		default:
			rest = append(rest, p)
		}
	}
	return kept, rest
}

func parts(r model.Resources) [4]int64 { return [4]int64{r.MilliCPU, r.MemoryMB, r.GPUs, r.DiskMB} }

// box is a group of workers that are told of as the least of them.
type box struct {
	kind    *kind
	points  []point
	workers int
	least   model.Resources
	loss    float64 // room that is not told of, in parts of the largest of each resource
	widest  int     // the resource that loses most
	mean    float64 // of it
}

func newBox(k *kind, list []point) box {
	b := box{kind: k, points: list, least: list[0].free}
	var most [4]int64
	var sum [4]float64
	for _, p := range list {
		b.workers += p.count
		b.least = model.Resources{MilliCPU: min(b.least.MilliCPU, p.free.MilliCPU), MemoryMB: min(b.least.MemoryMB, p.free.MemoryMB),
			GPUs: min(b.least.GPUs, p.free.GPUs), DiskMB: min(b.least.DiskMB, p.free.DiskMB)}
		for i, v := range parts(p.free) {
			most[i] = max(most[i], v)
			sum[i] += float64(v) * float64(p.count)
		}
	}
	for i, least := range parts(b.least) {
		if most[i] == least {
			continue
		}
		lost := (sum[i] - float64(least)*float64(b.workers)) / float64(most[i])
		if b.loss += lost; b.mean == 0 || lost > b.lostBy(sum, most) {
			b.widest, b.mean = i, sum[i]/float64(b.workers)
		}
	}
	return b
}

// lostBy is what the widest resource so far loses.
func (b *box) lostBy(sum [4]float64, most [4]int64) float64 {
	return (sum[b.widest] - float64(parts(b.least)[b.widest])*float64(b.workers)) / float64(most[b.widest])
}

// split cuts at the mean of the widest resource: neither part is empty.
func (b *box) split() (low, high box) {
	var l, h []point
	for _, p := range b.points {
		if float64(parts(p.free)[b.widest]) > b.mean {
			h = append(h, p)
		} else {
			l = append(l, p)
		}
	}
	return newBox(b.kind, l), newBox(b.kind, h)
}
