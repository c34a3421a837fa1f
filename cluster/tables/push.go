package tables

import (
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// delivery is how far one worker's NetManager is.
type delivery struct {
	heard    time.Time // last message of its NetManager
	begun    bool      // it has got a snapshot in this session
	version  uint64    // sent last
	applied  uint64    // in its kernel
	sent     view      // what version holds
	pushed   time.Time // when
	patience time.Duration
	told     bool // why there is no subnet yet
}

func (p *plane) deliveryOf(n model.NodeID) *delivery {
	d := p.delivery[n]
	if d == nil {
		d = &delivery{version: p.first, patience: resendMin}
		p.delivery[n] = d
	}
	return d
}

// connected says whether a worker's NetManager can be expected to answer.
func (p *plane) connected(n model.NodeID, now time.Time) bool {
	d := p.delivery[n]
	return d != nil && !d.heard.IsZero() && now.Sub(d.heard) < silentAfter
}

// flush sends every worker what changed for it.
func (p *plane) flush(now time.Time) {
	if !p.gate.open {
		return
	}
	for _, id := range p.refresh() {
		for n, d := range p.delivery {
			if d.sent.peers[id] != nil {
				p.dirty[n] = struct{}{}
			}
		}
	}
	for _, n := range sorted(p.dirty) {
		if w := p.workers[n]; w != nil && w.ours && w.reported {
			p.push(n, now)
		}
	}
	clear(p.dirty)
}

func (p *plane) push(n model.NodeID, now time.Time) {
	d := p.deliveryOf(n)
	if !p.connected(n, now) {
		d.begun = false // it gets a snapshot when it is back
		return
	}
	to := p.desired(n)
	from := d.sent
	if !d.begun {
		from = view{}
	}
	state, empty := diff(from, to)
	if empty && d.begun {
		return
	}
	state.Epoch, state.Version = p.epoch, d.version+1
	if d.begun {
		state.Base = d.version
	} else {
		state.Snapshot = true
	}
	d.version, d.sent, d.begun, d.pushed = state.Version, to, true, now
	p.send(n, nodelink.Outbound{Net: &state})
}

// reportDelivery looks at what a worker says it has applied. A snapshot report
// opens a session: the worker wants a snapshot. Otherwise, what has not been
// applied after a while is sent again, in full.
func (p *plane) reportDelivery(n model.NodeID, r nodelink.NetReport, now time.Time) {
	d := p.deliveryOf(n)
	if w := p.worker(n); !w.reported {
		// It has a session from before our start, which an outside broker
		// kept. Another epoch makes it send its snapshot.
		p.send(n, nodelink.Outbound{Net: &nodelink.NetState{Epoch: p.epoch, Base: d.version, Version: d.version}})
		return
	}
	switch {
	case r.Snapshot && !(d.begun && d.version > 0 && d.applied == d.version && r.Applied == d.version):
		// It starts anew or missed something. A worker that says everything
		// from time to time and has all of ours needs nothing.
		d.begun, d.applied, d.patience = false, 0, resendMin
	case r.Applied == d.version:
		d.applied, d.patience = r.Applied, resendMin
	case !d.begun:
	case now.Sub(d.pushed) >= d.patience:
		p.log.Debug("state not applied, sending it in full", "node", n, "version", d.version, "applied", r.Applied)
		d.begun, d.patience = false, min(2*d.patience, resendMax)
	}
	if !d.begun {
		p.dirty[n] = struct{}{}
	}
}

func (p *plane) ack(n model.NodeID, a nodelink.NetAck) {
	d := p.deliveryOf(n)
	if a.Error != "" {
		p.log.Warn("state not applied", "node", n, "version", a.Version, "reason", a.Error)
		return
	}
	if a.Version <= d.version && a.Version > d.applied {
		d.applied = a.Version
	}
	if d.applied == d.version {
		d.patience = resendMin
	}
}
