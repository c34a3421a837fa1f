package placement

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"oakestra/pkg/core/model"
)

// tree holds candidates in the order of (share, id), in leaves of up to
// leafSize items that lie side by side in memory. A directory knows of every
// leaf where it begins, the most free room of each resource and the union of
// the features in it, so that a search skips what cannot qualify. Two levels
// are few enough misses of the cache for as many workers as a cluster has: the
// directory of ten thousand is 40 KiB.
type tree struct {
	dir []leaf
}

const leafSize = 32

type leaf struct {
	first    key
	most     model.Resources
	features uint64
	items    []item // never empty
}

// item is a candidate with copies of what is compared.
type item struct {
	key
	room model.Resources
	mask uint64
}

// key is the place of a candidate. The first bytes of its id spare most looks
// at the rest.
type key struct {
	share  int64
	prefix uint64
	e      *entry
}

// prefixOf orders as the id does, as far as it goes.
func prefixOf(id string) uint64 {
	var b [8]byte
	copy(b[:], id)
	return binary.BigEndian.Uint64(b[:])
}

func (k *key) compare(other *key) int {
	switch {
	case k.share != other.share:
		return cmp.Compare(k.share, other.share)
	case k.prefix != other.prefix:
		return cmp.Compare(k.prefix, other.prefix)
	case k.e == other.e:
		return 0
	}
	return cmp.Compare(k.e.ID, other.e.ID)
}

func before(a, b *entry) bool {
	if a.share != b.share {
		return a.share < b.share
	}
	return a.ID < b.ID
}

// find is the leaf that has or would have a key; -1 without any leaf.
func (t *tree) find(k *key) int {
	low, high := 0, len(t.dir) // leaves below low begin at k or before
	for low < high {
		mid := int(uint(low+high) >> 1)
		if t.dir[mid].first.compare(k) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return max(low-1, min(0, len(t.dir)-1))
}

// at is where in a leaf a key is or would be.
func (l *leaf) at(k *key) int {
	low, high := 0, len(l.items)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if l.items[mid].compare(k) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func (t *tree) insert(e *entry) {
	v := item{key: key{e.share, e.prefix, e}, room: room(e), mask: e.mask}
	i := t.find(&v.key)
	if i < 0 {
		t.dir = append(t.dir, leaf{items: append(make([]item, 0, leafSize), v)})
		t.dir[0].sum()
		return
	}
	if len(t.dir[i].items) == leafSize {
		t.split(i)
		if t.dir[i+1].first.compare(&v.key) <= 0 {
			i++
		}
	}
	l := &t.dir[i]
	at := l.at(&v.key)
	l.items = slices.Insert(l.items, at, v)
	l.most, l.features = greatest(l.most, v.room), l.features|v.mask
	if at == 0 {
		l.first = v.key
	}
}

func (t *tree) split(i int) {
	l := &t.dir[i]
	half := append(make([]item, 0, leafSize), l.items[leafSize/2:]...)
	clear(l.items[leafSize/2:])
	l.items = l.items[:leafSize/2]
	l.sum()
	t.dir = slices.Insert(t.dir, i+1, leaf{items: half})
	t.dir[i+1].sum()
}

func (t *tree) remove(e *entry) {
	k := key{e.share, e.prefix, e}
	i := t.find(&k)
	l := &t.dir[i]
	at := l.at(&k)
	gone := l.items[at]
	l.items = slices.Delete(l.items, at, at+1)
	switch next := i + 1; {
	case len(l.items) == 0:
		t.dir = slices.Delete(t.dir, i, i+1)
	case next < len(t.dir) && len(l.items)+len(t.dir[next].items) <= leafSize/2:
		l.items = append(l.items, t.dir[next].items...)
		t.dir = slices.Delete(t.dir, next, next+1)
		t.dir[i].sum()
	case at == 0 || touches(l.most, gone.room) || gone.mask != l.features:
		l.sum()
	}
}

// touches says that a room reaches the most of some resource.
func touches(most, room model.Resources) bool {
	return room.MilliCPU >= most.MilliCPU || room.MemoryMB >= most.MemoryMB || room.GPUs >= most.GPUs || room.DiskMB >= most.DiskMB
}

func (l *leaf) sum() {
	l.first, l.most, l.features = l.items[0].key, l.items[0].room, 0
	for i := range l.items {
		l.most = greatest(l.most, l.items[i].room)
		l.features |= l.items[i].mask
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
func (t *tree) each(visit func(*entry)) {
	for i := range t.dir {
		for k := range t.dir[i].items {
			visit(t.dir[i].items[k].e)
		}
	}
}

// walk visits, in order, the candidates that may qualify until visit says stop.
func (t *tree) walk(want model.Resources, features uint64, visit func(*entry) (goOn bool)) {
	for i := range t.dir {
		l := &t.dir[i]
		if l.features&features != features || !fits(l.most, want) {
			continue
		}
		for k := range l.items {
			v := &l.items[k]
			if v.mask&features == features && fits(v.room, want) && !visit(v.e) {
				return
			}
		}
	}
}

// fits compares part by part; a part that wants nothing always fits, also
// where more is reserved than there is.
func fits(room, want model.Resources) bool {
	return (want.MilliCPU <= 0 || want.MilliCPU <= room.MilliCPU) && (want.MemoryMB <= 0 || want.MemoryMB <= room.MemoryMB) &&
		(want.GPUs <= 0 || want.GPUs <= room.GPUs) && (want.DiskMB <= 0 || want.DiskMB <= room.DiskMB)
}
