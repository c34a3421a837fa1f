package netmanager

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
)

// applyState follows what is in the kernel. A change raises want; one apply at
// a time takes everything up to then, so changes that come meanwhile cost one
// more apply together.
type applyState struct {
	want, done uint64
	saved      uint64 // what is on disk
	running    bool
	again      bool // look at the kernel although nothing changed
	failed     bool // wait for the next tick
	last       error
	version    uint64 // of the book in the kernel
	epoch      string
	known      map[netip.Addr]bool // service addresses in the kernel
	ways       map[host.Way]bool   // in the kernel
	waiters    []waiter
}

type waiter struct {
	want uint64
	done func(error)
}

// change notes that state has changed: it is saved and applied.
func (l *loop) change() {
	l.apply.want++
	l.startApply()
}

// changeThen calls done once the kernel holds the state as it is now, or with
// the error of the first try.
func (l *loop) changeThen(done func(error)) {
	l.apply.want++
	l.apply.waiters = append(l.apply.waiters, waiter{l.apply.want, done})
	l.startApply()
}

// retry is called by every tick; look makes it compare the kernel too, since
// firewalls reload and take rules with them.
func (a *applyState) retry(l *loop, look bool) {
	a.failed, a.again = false, a.again || look
	l.startApply()
}

func (l *loop) startApply() {
	a := &l.apply
	usable := l.subnet.IsValid() && l.hostIP.IsValid()
	if a.running || a.failed || (a.saved == a.want && (!usable || (a.done == a.want && !a.again))) {
		return
	}
	a.running, a.again = true, false
	l.do(func(context.Context) func() { return l.compileAndApply })
}

// compileAndApply runs when the worker gets to it, so that it sees everything
// that changed while earlier calls were running.
func (l *loop) compileAndApply() {
	want, record, save := l.apply.want, l.record(), l.apply.saved != l.apply.want
	version, epoch := l.book.Version, l.book.Epoch
	desired := l.desired()
	usable := l.subnet.IsValid() && l.hostIP.IsValid()
	file := l.daemon.deps.File
	ways, closed := l.apply.turns(desired)
	// Ahead of other jobs: some of them need these rules.
	l.jobs = append([]job{func(ctx context.Context) func() {
		var saved, err error
		var disk sync.WaitGroup
		if save { // who waits is told when both are done
			disk.Go(func() { saved = file.Save(record) })
		}
		if usable {
			err = l.host.Apply(ctx, desired)
		}
		disk.Wait()
		return func() {
			if saved != nil {
				l.log.Error("state is not on disk", "error", saved)
			}
			known := map[netip.Addr]bool{}
			for _, s := range desired.Services {
				known[s.Address] = true
			}
			l.applied(outcome{want, version, epoch, known, ways, usable, err, saved})
			if err == nil && usable {
				l.reroute(closed)
			}
		}
	}}, l.jobs...)
}

// reroute has connections that are being opened leave ways that are closed.
// Nobody waits for it: it reads all flows of the machine.
func (l *loop) reroute(closed []host.Way) {
	if len(closed) == 0 {
		return
	}
	l.do(func(ctx context.Context) func() {
		err := l.host.Reroute(ctx, closed)
		return func() {
			if err != nil {
				l.log.Warn("connections that were being opened to a place that is gone have to wait for their end", "error", err)
			}
		}
	})
}

// turns lists the ways that d opens, and those in the kernel that it closes.
func (a *applyState) turns(d rules.Desired) (ways map[host.Way]bool, closed []host.Way) {
	ways = map[host.Way]bool{}
	for _, s := range d.Services {
		for _, b := range s.Backends {
			ways[host.Way{Service: s.Address, Backend: b}] = true
		}
	}
	for w := range a.ways {
		if !ways[w] {
			closed = append(closed, w)
		}
	}
	return ways, closed
}

type outcome struct {
	want    uint64
	version uint64
	epoch   string
	known   map[netip.Addr]bool
	ways    map[host.Way]bool
	usable  bool
	err     error
	saved   error
}

func (l *loop) applied(o outcome) {
	a := &l.apply
	a.running = false
	if o.err != nil {
		if a.last == nil || a.last.Error() != o.err.Error() {
			l.log.Error("rules not applied, trying again", "error", o.err)
		}
		a.failed = true
	} else if o.usable {
		if a.last != nil {
			l.log.Info("rules applied again")
		}
		a.done, a.version, a.epoch, a.known, a.ways = o.want, o.version, o.epoch, o.known, o.ways
	}
	if o.saved == nil {
		a.saved = o.want
	} else {
		a.failed = true
	}
	a.last = o.err
	result := errors.Join(o.saved, o.err)
	var left []waiter
	for _, w := range a.waiters {
		if w.want > o.want {
			left = append(left, w)
			continue
		}
		w.done(result)
	}
	a.waiters = left
	if o.version > 0 && o.epoch == l.book.Epoch && (o.usable || o.err != nil) {
		ack := Ack{Version: o.version}
		if o.err != nil {
			ack.Error = o.err.Error()
		}
		l.send(Outbound{Ack: &ack})
	}
	l.releaseApplied()
	l.startApply()
}
