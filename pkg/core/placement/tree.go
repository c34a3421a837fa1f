package placement

import (
	"hash/maphash"
	"math"

	"oakestra/pkg/core/model"
)

// tree is a treap of candidates ordered by (share, id). Every branch knows the
// most free room of each resource and the union of the features below it, so
// a search skips what cannot qualify. Priorities are hashes of the ids: the
// shape does not depend on the order of insertion.
type tree struct {
	root *branch
}

type branch struct {
	e           *entry
	priority    uint64
	left, right *branch
	most        model.Resources
	features    uint64
}

var seed = maphash.MakeSeed()

func before(a, b *entry) bool {
	if a.share != b.share {
		return a.share < b.share
	}
	return a.ID < b.ID
}

func (t *tree) insert(e *entry) {
	n := &branch{e: e, priority: maphash.String(seed, e.ID)}
	n.sum()
	t.root = insert(t.root, n)
}

func (t *tree) remove(e *entry) { t.root = remove(t.root, e) }

func insert(at, n *branch) *branch {
	if at == nil {
		return n
	}
	if n.priority > at.priority {
		n.left, n.right = split(at, n.e)
		n.sum()
		return n
	}
	if before(n.e, at.e) {
		at.left = insert(at.left, n)
	} else {
		at.right = insert(at.right, n)
	}
	at.sum()
	return at
}

// split parts the branch into what stands before e and what stands after.
func split(at *branch, e *entry) (left, right *branch) {
	if at == nil {
		return nil, nil
	}
	if before(at.e, e) {
		at.right, right = split(at.right, e)
		at.sum()
		return at, right
	}
	left, at.left = split(at.left, e)
	at.sum()
	return left, at
}

func remove(at *branch, e *entry) *branch {
	switch {
	case at == nil:
		return nil
	case at.e == e:
		return join(at.left, at.right)
	case before(e, at.e):
		at.left = remove(at.left, e)
	default:
		at.right = remove(at.right, e)
	}
	at.sum()
	return at
}

func join(left, right *branch) *branch {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.priority > right.priority:
		left.right = join(left.right, right)
		left.sum()
		return left
	}
	right.left = join(left, right.left)
	right.sum()
	return right
}

func (n *branch) sum() {
	n.most, n.features = room(n.e), n.e.mask
	for _, c := range []*branch{n.left, n.right} {
		if c != nil {
			n.most = greatest(n.most, c.most)
			n.features |= c.features
		}
	}
}

// room is the most a candidate could take of each resource.
func room(e *entry) model.Resources {
	free := e.free()
	if e.Rooms == nil {
		return free
	}
	least := model.Resources{MilliCPU: math.MinInt64, MemoryMB: math.MinInt64, GPUs: math.MinInt64, DiskMB: math.MinInt64}
	for _, r := range e.Rooms {
		least = greatest(least, r.Free)
	}
	return least
}

func greatest(a, b model.Resources) model.Resources {
	return model.Resources{
		MilliCPU: max(a.MilliCPU, b.MilliCPU), MemoryMB: max(a.MemoryMB, b.MemoryMB),
		GPUs: max(a.GPUs, b.GPUs), DiskMB: max(a.DiskMB, b.DiskMB),
	}
}

// each visits all in order.
func (n *branch) each(visit func(*entry)) {
	if n != nil {
		n.left.each(visit)
		visit(n.e)
		n.right.each(visit)
	}
}

// walk visits, in order, the candidates that may qualify until visit says stop.
func (n *branch) walk(want model.Resources, features uint64, visit func(*entry) (goOn bool)) bool {
	if n == nil || n.features&features != features || !fits(n.most, want) {
		return true
	}
	return n.left.walk(want, features, visit) && visit(n.e) && n.right.walk(want, features, visit)
}

// fits compares part by part; a part that wants nothing always fits, also
// where more is reserved than there is.
func fits(room, want model.Resources) bool {
	return (want.MilliCPU <= 0 || want.MilliCPU <= room.MilliCPU) && (want.MemoryMB <= 0 || want.MemoryMB <= room.MemoryMB) &&
		(want.GPUs <= 0 || want.GPUs <= room.GPUs) && (want.DiskMB <= 0 || want.DiskMB <= room.DiskMB)
}
