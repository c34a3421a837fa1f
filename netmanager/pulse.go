package netmanager

import (
	"context"
	"net/netip"

	"oakestra/netmanager/plan"
	"oakestra/netmanager/rules"
)

const (
	// deadAfter is how many echoes in a row, one per tick, a peer may miss.
	deadAfter = 3
	// askedAtOnce bounds the echoes of a tick; more peers take turns.
	askedAtOnce = 256
)

// peerKey is where a worker's bridge is reached: one that has moved to another
// machine has to answer anew.
type peerKey struct {
	bridge netip.Addr
	host   netip.Addr
}

// pulse is what is known of a peer's answers.
type pulse struct {
	heard  bool // ever
	missed int  // since the last answer
}

// pulses watches the peers that have backends. The cluster takes a worker that
// is cut off for lost after ten seconds only, and nobody but this worker can
// tell that it does not reach another one.
type pulses struct {
	of   map[peerKey]*pulse
	next int  // of those that take turns
	busy bool // asking
}

// dead says that flows to the peer go nowhere. One that has never answered
// does not count: it may be one that is set to answer no echoes.
func (p *pulses) dead(r rules.Peer) bool {
	v := p.of[keyOf(r)]
	return v != nil && v.heard && v.missed > deadAfter
}

func keyOf(r rules.Peer) peerKey { return peerKey{rules.Gateway(r.Subnet), r.HostIP} }

// ask returns whom to ask now.
func (p *pulses) ask(peers []rules.Peer) (to []rules.Peer) {
	now := make(map[peerKey]*pulse, len(peers))
	for _, r := range peers {
		v := p.of[keyOf(r)]
		if v == nil {
			v = &pulse{}
		}
		now[keyOf(r)] = v
	}
	p.of = now
	for i := range min(len(peers), askedAtOnce) {
		to = append(to, peers[(p.next+i)%len(peers)])
	}
	if len(peers) > 0 {
		p.next = (p.next + len(to)) % len(peers)
	}
	return to
}

// asked counts an echo that was sent, and says whether the peer counts as dead
// since.
func (p *pulses) asked(r rules.Peer) (changed bool) {
	v := p.of[keyOf(r)]
	if v == nil {
		return false
	}
	was := p.dead(r)
	v.missed++
	return p.dead(r) != was
}

// answered says whether a peer that counted as dead does not any more.
func (p *pulses) answered(bridge netip.Addr) (changed bool) {
	for k, v := range p.of {
		if k.bridge == bridge {
			changed = changed || v.heard && v.missed > deadAfter
			v.heard, v.missed = true, 0
		}
	}
	return changed
}

// greet asks at once when there is a peer of whom nothing is known: one that
// is cut off a moment later is known to have been there.
func (l *loop) greet() {
	for _, r := range plan.Serving(l.state()) {
		if l.pulses.of[keyOf(r)] == nil {
			l.feel()
			return
		}
	}
}

// feel asks the peers that flows may go to whether they are there.
func (l *loop) feel() {
	if l.pulses.busy {
		return
	}
	peers := l.pulses.ask(plan.Serving(l.state()))
	if len(peers) == 0 {
		return
	}
	to := make([]netip.Addr, len(peers))
	for i, r := range peers {
		to[i] = rules.Gateway(r.Subnet)
	}
	l.pulses.busy = true
	l.do(func(ctx context.Context) func() {
		err := l.host.Echo(ctx, to)
		return func() {
			l.pulses.busy = false
			if err != nil {
				l.log.Debug("peers were not asked", "error", err)
				return
			}
			l.felt(peers)
		}
	})
}

func (l *loop) felt(peers []rules.Peer) {
	var gone []string
	for _, r := range peers {
		if l.pulses.asked(r) {
			gone = append(gone, r.ID)
		}
	}
	if len(gone) > 0 {
		l.log.Warn("workers do not answer through the overlay: new connections go elsewhere where there is a choice", "workers", gone)
		l.change()
	}
}

// echoed takes an answer.
func (l *loop) echoed(bridge netip.Addr) {
	if l.pulses.answered(bridge) {
		l.log.Info("a worker answers again through the overlay", "bridge", bridge.String())
		l.change()
	}
}

// unreached is the nodes that count as dead.
func (l *loop) unreached(s plan.State) map[string]bool {
	out := map[string]bool{}
	for _, r := range plan.Serving(s) {
		if l.pulses.dead(r) {
			out[r.ID] = true
		}
	}
	return out
}
