package assign

import (
	"time"

	"oakestra/root/control"
	"oakestra/root/store"
)

// sweepEvery is how often containers that no cluster can explain, and removals
// that wait, are looked at.
const sweepEvery = 3 * time.Second

// sweep ends containers that a cluster holds without an order, where this root
// knows better: the slot runs elsewhere under a later grant, or it was removed
// in this life of the store, which has given out that grant itself; or where
// somebody ordered it. A tombstone goes out; whatever else is unknown is left
// running, and told of.
func (d *Desk) sweep(s *state, w *work) {
	now := d.now()
	if now.Before(s.sweepAt) {
		return
	}
	s.sweepAt = now.Add(sweepEvery)
	d.tellRemains(s, now)
	list := d.deps.Book.Unexplained(d.resolve.known)
	s.strays.keep(list, now)
	for _, u := range list {
		in, known := s.instances[u.Instance]
		switch {
		case u.Epoch.Grant != 0 && !known && (s.removed(u) || s.strays.ending[u.Key()]):
			d.endStray(u, unrecorded(u), w)
		case u.Epoch.Grant != 0 && known && in.Cluster != u.Cluster && u.Epoch.Grant < in.Grant &&
			(in.Tombstone || hasRun(d.deps.Book.Reports(in.ID)[in.Cluster], in.Grant)):
			in.heldBy(u.Cluster, max(in.former[u.Cluster], u.Epoch.Grant))
			d.endStray(u, tombstone(in.Instance, u.Epoch.Grant), w)
		default:
			d.tellOrphan(s, u)
		}
	}
}

// unrecorded is the tombstone of a slot that has no record.
func unrecorded(u control.UnknownView) store.Instance {
	gone := store.Instance{ID: u.Instance, Grant: u.Epoch.Grant, Tombstone: true}
	gone.Service.ID = u.Instance.Service
	return gone
}

func (d *Desk) endStray(u control.UnknownView, in store.Instance, w *work) {
	d.log.Warn("a container without an order is ended", "instance", u.Instance.String(), "epoch", u.Epoch.String(), "cluster", u.Cluster, "node", u.Node)
	w.order(u.Cluster, in)
}

// removed says that a slot without a record had one in this life of the store:
// records go when nothing is left of a slot, as far as anybody had heard.
func (s *state) removed(u control.UnknownView) bool {
	return u.Epoch.Grant.Incarnation() == s.incarnation && u.Epoch.Grant <= s.issued
}
