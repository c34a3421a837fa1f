package fleet

import (
	"container/heap"
	"time"
)

// due is when a worker has to be judged again at the latest.
type due struct {
	at time.Time
	n  *node
}

// agenda keeps the workers by that time. A report only moves node.judgeAt; the
// entry here may be early, is put back then, and is never late. So a report
// costs nothing here, and a tick what has come due.
type agenda []due

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push and Pop are for package heap.
func (a *agenda) Push(x any) { *a = append(*a, x.(due)) }

// Pop is for package heap.
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = due{}
	*a = (*a)[:len(*a)-1]
	return last
}

// await has a worker judged at its judgeAt.
func (c *core) await(n *node) {
	if n.judgeAt.IsZero() || !n.entryAt.IsZero() && !n.judgeAt.Before(n.entryAt) {
		return // never, or its entry comes earlier and finds out
	}
	n.entryAt = n.judgeAt
	heap.Push(&c.agenda, due{n.judgeAt, n})
}

// judgeDue judges the workers whose time has come.
func (c *core) judgeDue() {
	for len(c.agenda) > 0 && !c.agenda[0].at.After(c.now) {
		n := heap.Pop(&c.agenda).(due).n
		n.entryAt = time.Time{}
		if c.nodes[n.ID] != n || n.judgeAt.IsZero() {
			continue
		}
		c.liveness(n)
		c.await(n)
	}
}
