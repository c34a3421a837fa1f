package netmanager

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"oakestra/netmanager/host"
	"oakestra/netmanager/local"
	"oakestra/netmanager/state"
	"oakestra/pkg/errs"
)

const (
	deployTime     = 9 * time.Second // below the 10 s engines wait
	quarantineTime = 60 * time.Second
	resumeTime     = 60 * time.Second
)

// container is one attachment and who waits for it.
type container struct {
	state.Container
	waiting  []func(error)
	resumeBy time.Time // half attached by an earlier process; taken away then
	readyBy  time.Time // it takes flows then, whether something listens or not
	removing bool
	removed  []func(error)
}

// Deploy attaches a container and answers once its rules are in.
func (d *Daemon) Deploy(ctx context.Context, in local.Deployment) (local.Deployed, error) {
	ctx, cancel := context.WithTimeout(ctx, deployTime)
	defer cancel()
	return ask(ctx, d, func(l *loop, reply func(local.Deployed, error)) { l.deploy(in, reply) })
}

// Undeploy takes a container's network away. It returns early with an error
// when that takes long; the removal goes on.
func (d *Daemon) Undeploy(ctx context.Context, in local.Removal) error {
	ctx, cancel := context.WithTimeout(ctx, deployTime)
	defer cancel()
	_, err := ask(ctx, d, func(l *loop, reply func(struct{}, error)) {
		l.undeploy(in, func(err error) { reply(struct{}{}, err) })
	})
	return err
}

func (l *loop) deploy(in local.Deployment, reply func(local.Deployed, error)) {
	if l.reg.Node == "" {
		reply(local.Deployed{}, fmt.Errorf("no NodeEngine has registered; call /register first: %w", errs.Invalid))
		return
	}
	if l.subnet.IsValid() && !l.hostIP.IsValid() && l.looking > 0 {
		l.looked = append(l.looked, func() { l.deploy(in, reply) }) // just started
		return
	}
	if !l.subnet.IsValid() || !l.hostIP.IsValid() {
		reply(local.Deployed{}, fmt.Errorf("%w: %w", l.readiness(), errs.Unavailable))
		return
	}
	for _, c := range l.containers {
		if c.Leaving || !sameInstance(c, in.Endpoint.Service, in.Endpoint.Name, in.Endpoint.Instance) ||
			c.Grant != in.Grant || c.Try != in.Try {
			continue
		}
		if c.Pid == in.Pid {
			l.join(c, reply)
			return
		}
		l.leave(c) // the same attempt in another process: that one is over
	}
	if err := l.clash(in); err != nil {
		reply(local.Deployed{}, err)
		return
	}
	address, err := l.free()
	if err != nil {
		reply(local.Deployed{}, err)
		return
	}
	c := &container{Container: state.Container{
		Pid: in.Pid, Grant: in.Grant, Try: in.Try, PortText: in.PortText, Endpoint: in.Endpoint,
	}}
	c.Namespace, c.Pending = address, true
	l.last = address
	l.containers = append(l.containers, c)
	c.waiting = append(c.waiting, l.answer(c, reply))
	l.attach(c)
}

func (l *loop) answer(c *container, reply func(local.Deployed, error)) func(error) {
	return func(err error) { reply(local.Deployed{Address: c.Namespace, MTU: l.overlayMTU()}, err) }
}

func (l *loop) join(c *container, reply func(local.Deployed, error)) {
	if !c.Attached || len(c.waiting) > 0 {
		c.waiting = append(c.waiting, l.answer(c, reply))
		if !c.resumeBy.IsZero() {
			c.resumeBy = time.Time{}
			l.attach(c)
		}
		return
	}
	l.answer(c, reply)(nil)
}

func sameInstance(c *container, service, name string, instance int) bool {
	return c.Instance == instance && (c.Name == name || (service != "" && c.Service == service))
}

func (l *loop) clash(in local.Deployment) error {
	for _, p := range in.Endpoint.Ports {
		if p.Protocol == "udp" && p.Host == TunnelPort {
			return fmt.Errorf("portMappings: host port %d/udp carries the overlay: %w", p.Host, errs.Conflict)
		}
		for _, c := range l.containers {
			if c.Leaving || c.Name == in.Endpoint.Name {
				continue
			}
			for _, q := range c.Ports {
				if q.Host == p.Host && q.Protocol == p.Protocol {
					return fmt.Errorf("portMappings: host port %d/%s is published by %s: %w", p.Host, p.Protocol, c.Name, errs.Conflict)
				}
			}
		}
	}
	return nil
}

// free is the next unused address after the one given out last.
func (l *loop) free() (netip.Addr, error) {
	base := l.subnet.Masked().Addr()
	first := base.Next().Next()
	used := map[netip.Addr]bool{}
	for _, c := range l.containers {
		used[c.Namespace] = true
	}
	var list []netip.Addr
	for a := first; l.subnet.Contains(a.Next()); a = a.Next() { // not the broadcast address
		list = append(list, a)
	}
	start := slices.Index(list, l.last) + 1
	for i := range list {
		a := list[(start+i)%len(list)]
		if _, resting := l.quarantine[a]; !used[a] && !resting {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all %d container addresses of %s are in use or rest for %s after use: %w",
		len(list), l.subnet, quarantineTime, errs.Exhausted)
}

func (l *loop) attachment(c *container) host.Attachment {
	return host.Attachment{
		Name: c.Name + "." + strconv.Itoa(c.Instance) + "." + strconv.FormatUint(c.Grant, 16) + "." +
			strconv.FormatUint(uint64(c.Try), 10) + "." + c.Namespace.String(),
		Pid: c.Pid, StartTime: c.StartTime, Netns: c.Netns,
		Address: netip.PrefixFrom(c.Namespace, l.subnet.Bits()), Gateway: l.subnet.Masked().Addr().Next(), MTU: l.overlayMTU(),
	}
}

// attach: on disk first, then the interface, then the rules, then the cluster.
func (l *loop) attach(c *container) {
	record, a, file := l.record(), l.attachment(c), l.daemon.deps.File
	ensure := l.apply.done == 0
	desired := l.desired()
	l.do(func(ctx context.Context) func() {
		err := file.Save(record)
		if err == nil && ensure {
			err = l.host.Apply(ctx, desired)
		}
		var got host.Attached
		if err == nil {
			got, err = l.host.Attach(ctx, a)
		}
		listens := false
		if err == nil {
			listens, _ = l.host.Listens(ctx, a) // asked again when it fails
		}
		return func() {
			if err != nil {
				l.failed(c, fmt.Errorf("attach %s instance %d (pid %d): %w", c.Name, c.Instance, c.Pid, err))
				return
			}
			c.StartTime, c.Netns, c.Attached = got.StartTime, got.Netns, true
			c.Pending = c.Pending && !listens
			l.changeThen(func(err error) { l.attached(c, err) })
		}
	})
}

func (l *loop) attached(c *container, err error) {
	switch {
	case err != nil:
		l.failed(c, fmt.Errorf("rules for %s instance %d: %w", c.Name, c.Instance, err))
		return
	case c.Leaving:
		err = fmt.Errorf("%s instance %d was undeployed meanwhile: %w", c.Name, c.Instance, errs.Conflict)
	default:
		l.log.Info("container attached", "service", c.Name, "instance", c.Instance, "address", c.Namespace.String(), "pid", c.Pid)
		e := l.endpoint(c)
		l.send(Outbound{Deployed: &e})
		l.lookUpOwn(c)
		l.listenFor(c)
	}
	l.wake(c, err)
}

func (l *loop) wake(c *container, err error) {
	waiting := c.waiting
	c.waiting = nil
	for _, w := range waiting {
		w(err)
	}
}

func (l *loop) failed(c *container, err error) {
	l.wake(c, err)
	l.leave(c)
}

func (l *loop) undeploy(in local.Removal, done func(error)) {
	var found []*container
	for _, c := range l.containers {
		if sameInstance(c, in.Service, in.Name, in.Instance) && (in.Grant == 0 || (c.Grant == in.Grant && c.Try == in.Try)) {
			found = append(found, c)
		}
	}
	left := len(found)
	if left == 0 {
		done(nil)
		return
	}
	for _, c := range found {
		c.removed = append(c.removed, func(err error) {
			if left--; left == 0 || err != nil {
				done(err)
			}
		})
		l.leave(c)
	}
}

// leave takes a container out of the rules at once; interface and address
// follow when the kernel has them.
func (l *loop) leave(c *container) {
	if c.Leaving {
		return
	}
	c.Leaving = true
	if c.Attached {
		e := l.endpoint(c)
		l.send(Outbound{Undeployed: &e})
	}
	l.changeThen(func(err error) {
		if err == nil {
			l.remove(c)
		}
	})
}

// removeLeaving gives up half attachments and goes on with removals that failed or that an earlier process
// had begun.
func (l *loop) removeLeaving() {
	for _, c := range l.containers {
		if !c.resumeBy.IsZero() && !time.Now().Before(c.resumeBy) {
			c.resumeBy = time.Time{}
			l.leave(c)
		}
	}
	if l.apply.running || l.apply.done == 0 || l.apply.done != l.apply.want {
		return
	}
	for _, c := range l.containers {
		if c.Leaving {
			l.remove(c)
		}
	}
}

func (l *loop) remove(c *container) {
	if c.removing || !slices.Contains(l.containers, c) {
		return
	}
	c.removing = true
	a := l.attachment(c)
	l.do(func(ctx context.Context) func() {
		err := l.host.Detach(ctx, a)
		if err == nil {
			err = l.host.Forget(ctx, c.Namespace)
		}
		return func() {
			c.removing = false
			if err != nil {
				l.log.Warn("removal failed, trying again", "service", c.Name, "instance", c.Instance, "error", err)
				return
			}
			l.log.Info("container removed", "service", c.Name, "instance", c.Instance, "address", c.Namespace.String())
			l.containers = slices.DeleteFunc(l.containers, func(x *container) bool { return x == c })
			l.quarantine[c.Namespace] = time.Now().Add(quarantineTime)
			l.forgetOwn(c)
			l.wake(c, fmt.Errorf("%s instance %d was undeployed meanwhile: %w", c.Name, c.Instance, errs.Conflict))
			l.changeThen(func(err error) {
				for _, r := range c.removed {
					r(err)
				}
				c.removed = nil
			})
		}
	})
}

// prune removes containers whose namespace is provably gone.
func (l *loop) prune() {
	for _, c := range l.containers {
		if c.Leaving || !c.Attached {
			continue
		}
		a := l.attachment(c)
		l.do(func(ctx context.Context) func() {
			alive, err := l.host.Alive(ctx, a)
			return func() {
				if err != nil || alive || c.Leaving {
					return
				}
				l.log.Info("container is gone", "service", c.Name, "instance", c.Instance, "pid", c.Pid)
				l.leave(c)
			}
		})
	}
}
