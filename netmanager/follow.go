package netmanager

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"oakestra/netmanager/rules"
	"oakestra/netmanager/table"
)

// Bounds of the unknown-address path.
const (
	newKeys      = 50 // questions a second
	maxHeld      = 1024
	questionTime = 3 * time.Second
)

// question is an address that packets wait for.
type question struct {
	until    time.Time
	answered bool
	version  uint64 // wait for this one
}

func (l *loop) receive(m Inbound) {
	switch {
	case m.Session:
		l.book.Synced = false
		l.uplink.full, l.uplink.live = true, true
		l.send(Outbound{AskSubnet: true}) // the one in use may be somebody else's by now
		l.report()
		l.watchOwn()
	case m.Subnet != nil:
		l.takeSubnet(*m.Subnet)
	case m.Change != nil:
		l.follow(*m.Change)
	case m.Result != nil:
		l.result(*m.Result)
	case m.Bell != "" && (l.original || !l.book.Synced):
		l.send(Outbound{Query: &Query{Name: m.Bell}})
	}
}

func (l *loop) follow(c table.Change) {
	switch l.book.Apply(c) {
	case table.Applied:
		l.original = false
		l.retire()
		l.change()
		l.greet()
	case table.Old:
	case table.Gap:
		l.log.Info("asking for a snapshot", "epoch", c.Epoch, "base", c.Base, "have", l.book.Version)
		l.uplink.full = true
		l.report()
	}
}

// retire takes own endpoints out of the balancing that the cluster had listed
// and lists no more: they are about to be stopped. A missing table says nothing.
func (l *loop) retire() {
	for _, c := range l.containers {
		t, ok := l.book.Tables[c.Service]
		if !ok {
			t, ok = l.book.Named(c.Name)
		}
		if !ok {
			continue
		}
		listed := slices.ContainsFunc(t.Entries, func(e table.Entry) bool { return e.Namespace == c.Namespace })
		c.Retired = c.Listed && !listed
		c.Listed = c.Listed || listed
	}
}

// unknown takes an address that packets are held for.
func (l *loop) unknown(a netip.Addr) {
	now := time.Now()
	if l.apply.known[a] {
		l.release(a, true)
		return
	}
	if _, asked := l.held[a]; asked {
		return
	}
	until, denied := l.negative[a]
	if (denied && now.Before(until)) || l.uplink == nil || l.tokens == 0 ||
		len(l.held) >= maxHeld || len(l.interests) >= table.MaxInterests {
		l.release(a, false)
		return
	}
	l.tokens--
	l.held[a] = &question{until: now.Add(questionTime)}
	l.send(Outbound{Query: &Query{Address: a}})
}

// release lets held packets go on, after the kernel calls before it.
func (l *loop) release(a netip.Addr, known bool) {
	delete(l.held, a)
	l.host.Release(a, known)
}

func (l *loop) deny(a netip.Addr) {
	if len(l.negative) < table.MaxInterests {
		l.negative[a] = time.Now().Add(rules.NegativeTime)
	}
	l.release(a, false)
}

func (l *loop) result(r Result) {
	key, err := netip.ParseAddr(r.Key)
	byAddress := err == nil
	if !r.Known {
		if byAddress && l.held[key] != nil {
			l.deny(key)
		}
		return
	}
	if byAddress {
		delete(l.negative, key)
		l.interests.Add(r.Table.Name, time.Now())
	}
	if r.Version == 0 && !l.book.Synced {
		if !l.original {
			l.log.Info("the cluster manager sends no versions: following it by questions")
			l.original = true
		}
		l.book.Put(r.Table, l.others(r.Peers))
		l.send(Outbound{Watch: r.Table.Name})
		l.change()
	}
	q := l.held[key]
	if !byAddress || q == nil {
		return
	}
	q.answered, q.version = true, r.Version
	if r.Version == 0 && !l.book.Synced {
		l.changeThen(func(err error) {
			if l.held[key] == q {
				l.release(key, err == nil && l.apply.known[key])
			}
		})
		return
	}
	l.releaseApplied()
}

// others leaves out this node itself.
func (l *loop) others(peers []table.Peer) []table.Peer {
	var out []table.Peer
	for _, p := range peers {
		if p.Subnet != l.subnet {
			out = append(out, p)
		}
	}
	return out
}

// releaseApplied lets packets go whose table is in the kernel.
func (l *loop) releaseApplied() {
	for a, q := range l.held {
		switch {
		case l.apply.known[a]:
			l.release(a, true)
		case q.answered && q.version > 0 && l.apply.version >= q.version && l.apply.epoch == l.book.Epoch:
			l.deny(a)
		}
	}
}

func (l *loop) expireHeld(now time.Time) {
	for a, q := range l.held {
		if !now.Before(q.until) {
			l.release(a, false)
		}
	}
	maps.DeleteFunc(l.negative, func(_ netip.Addr, until time.Time) bool { return !now.Before(until) })
}

// lookUpOwn asks an original cluster manager for the table of an own service:
// it never pushes one.
func (l *loop) lookUpOwn(c *container) {
	if l.book.Synced {
		return
	}
	l.send(Outbound{Watch: c.Name})
	l.send(Outbound{Query: &Query{Name: c.Name}})
}

// watchOwn does that for every service after a new session.
func (l *loop) watchOwn() {
	names := map[string]bool{}
	for _, c := range l.containers {
		names[c.Name] = true
	}
	for name := range l.interests {
		names[name] = true
	}
	for name := range names {
		l.send(Outbound{Watch: name})
		if l.original {
			l.send(Outbound{Query: &Query{Name: name}})
		}
	}
}

func (l *loop) forgetOwn(c *container) {
	if _, wanted := l.interests[c.Name]; wanted {
		return
	}
	for _, x := range l.containers {
		if x.Name == c.Name {
			return
		}
	}
	l.send(Outbound{Unwatch: c.Name})
	if t, ok := l.book.Named(c.Name); ok && l.original {
		l.book.Drop(t.Service)
		l.send(Outbound{Uninterest: c.Name})
	}
}

// idle ends interests without tracked connections.
func (l *loop) idle() {
	owner := map[netip.Addr]string{}
	var all []netip.Addr
	for name := range l.interests {
		if t, ok := l.book.Named(name); ok {
			for _, a := range t.Addresses() {
				owner[a] = name
				all = append(all, a)
			}
		}
	}
	if len(l.interests) == 0 {
		return
	}
	l.do(func(ctx context.Context) func() {
		silent, err := l.host.Idle(ctx, all)
		return func() {
			if err != nil {
				l.log.Warn("cannot see which services are in use", "error", err)
				return
			}
			quiet := map[netip.Addr]bool{}
			for _, a := range silent {
				quiet[a] = true
			}
			used := map[string]bool{}
			for a, name := range owner {
				used[name] = used[name] || !quiet[a]
			}
			for _, name := range l.interests.Expire(used, time.Now()) {
				l.endInterest(name)
			}
		}
	})
}

func (l *loop) endInterest(name string) {
	l.log.Info("interest ended", "service", name)
	l.send(Outbound{Uninterest: name})
	for _, c := range l.containers {
		if c.Name == name {
			return
		}
	}
	l.send(Outbound{Unwatch: name})
	if t, ok := l.book.Named(name); ok && l.original {
		l.book.Drop(t.Service)
		l.change()
	}
}
