package netmanager

import (
	"context"
	"time"
)

const (
	// pendingTime is how long a container in which nothing listens is kept out
	// of the tables while there are others. It may be a client, or listen in a
	// way that is not seen.
	pendingTime = 10 * time.Second
	listenEvery = 20 * time.Millisecond
)

// listenFor waits until something listens in a pending container: a program
// needs a moment for that after it was started, and flows that come before are
// refused. Then it is told again.
func (l *loop) listenFor(c *container) {
	if !c.Pending || c.Leaving {
		return
	}
	if c.readyBy.IsZero() {
		c.readyBy = time.Now().Add(pendingTime)
	}
	a := l.attachment(c)
	l.do(func(ctx context.Context) func() {
		listens, err := l.host.Listens(ctx, a)
		return func() {
			switch {
			case c.Leaving || !c.Pending:
			case listens || !time.Now().Before(c.readyBy):
				l.log.Info("container takes flows", "service", c.Name, "instance", c.Instance, "address", c.Namespace.String(), "listens", listens)
				c.Pending = false
				e := l.endpoint(c)
				l.send(Outbound{Deployed: &e})
				l.change()
			default:
				if err != nil {
					l.log.Debug("look for a listener", "service", c.Name, "instance", c.Instance, "error", err)
				}
				l.later(listenEvery, func(l *loop) { l.listenFor(c) })
			}
		}
	})
}

// later runs f in the loop after a while.
func (l *loop) later(d time.Duration, f func(*loop)) {
	time.AfterFunc(d, func() {
		select {
		case l.timers <- f:
		case <-l.over:
		}
	})
}
