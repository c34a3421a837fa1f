package tables

import (
	"net/netip"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// wait is something to do once some workers have applied what they were sent.
type wait struct {
	who      func() set[model.NodeID] // asked once, after the push
	need     map[model.NodeID]uint64  // nil before that
	ready    func() bool              // and this holds; nil: nothing else
	deadline time.Time
	done     func(now time.Time)
}

// settle carries out what need not wait any longer; it says whether something
// may have changed by that.
func (p *plane) settle(now time.Time) bool {
	if !p.gate.open {
		return p.expire(now)
	}
	changed := p.expireAsks(now)
	var left, ready []*wait
	for _, w := range p.waits {
		if w.need == nil {
			w.need = p.unapplied(w.who(), now)
		}
		if now.Before(w.deadline) && (p.missing(w.need, now) || (w.ready != nil && !w.ready())) {
			left = append(left, w)
		} else {
			ready = append(ready, w)
		}
	}
	p.waits = left
	for _, w := range ready {
		w.done(now)
	}
	return changed || len(ready) > 0
}

// expire ends waits whose time is over while the gate is closed.
func (p *plane) expire(now time.Time) bool {
	var left []*wait
	for _, w := range p.waits {
		if now.Before(w.deadline) {
			left = append(left, w)
		} else {
			w.done(now)
		}
	}
	p.waits = left
	return false
}

// unapplied lists the versions that workers still have to apply.
func (p *plane) unapplied(nodes set[model.NodeID], now time.Time) map[model.NodeID]uint64 {
	need := map[model.NodeID]uint64{}
	for n := range nodes {
		w, d := p.workers[n], p.delivery[n]
		if w != nil && w.ours && d != nil && d.applied < d.version && p.connected(n, now) {
			need[n] = d.version
		}
	}
	return need
}

func (p *plane) missing(need map[model.NodeID]uint64, now time.Time) bool {
	for n, v := range need {
		if d := p.delivery[n]; d != nil && d.applied < v && p.connected(n, now) {
			return true
		}
	}
	return false
}

// leave takes an attempt out of the tables and closes done when the workers
// that balance over its service have applied that.
func (p *plane) leave(a instance.Attempt, done chan struct{}, now time.Time) {
	service, known := a.Instance.Service, false
	m := mark{epoch: a.Epoch, originals: set[netip.Addr]{}}
	for n := range p.hosts.by[service] {
		for _, e := range p.workers[n].endpoints {
			if e.service != service || e.Number != a.Instance.Number {
				continue
			}
			known = known || e.Epoch == a.Epoch || e.Epoch.IsZero()
			if e.Epoch.IsZero() {
				m.originals[e.NamespaceIP] = struct{}{}
			}
		}
	}
	marks := slices.DeleteFunc(p.leaving[a.Instance], func(o mark) bool { return o.epoch == a.Epoch && o.until.IsZero() })
	p.leaving[a.Instance] = append(marks, m)
	if !known {
		close(done)
		return
	}
	p.touchService(service)
	p.waits = append(p.waits, &wait{
		deadline: now.Add(leaveWait),
		ready:    p.usedAbroad(service),
		done:     func(time.Time) { close(done) },
		who:      func() set[model.NodeID] { return p.balancers(service) },
	})
}

// balancers are the workers here that hold a service's table.
func (p *plane) balancers(service model.ServiceID) set[model.NodeID] {
	all := set[model.NodeID]{}
	for _, x := range []index{p.hosts, p.watchers} {
		for n := range x.by[service] {
			all[n] = struct{}{}
		}
	}
	return all
}
