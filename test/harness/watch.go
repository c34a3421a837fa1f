package harness

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"oakestra/node/runner"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// watch is the checker that never stops: what must hold at every instant, also
// while everything is broken.
//
//	I1  no two live containers are the same attempt (instance and epoch)
//	I4  states of an attempt only grow: at its node, and at each root process
//	    that watches it
//	I7  no address and no subnet has two owners
//	    no node is given more than it has, no host port to two services
//	    an attempt that is still wanted is stopped only once another one of its
//	    slot has run
type watch struct {
	w *World

	mu     sync.Mutex
	found  []string
	said   map[string]bool
	atNode map[nodeAttempt]instance.State
	atRoot map[instance.Attempt]instance.State
	runs   map[model.InstanceID]map[instance.Epoch]time.Time
	ends   map[instance.Attempt]time.Time
	alive  map[instance.Attempt]time.Time // last
	events []string                       // of containers, for people who read a failure
}

type nodeAttempt struct {
	machine string
	attempt instance.Attempt
}

func newWatch(w *World) *watch {
	return &watch{
		w: w, said: map[string]bool{}, atNode: map[nodeAttempt]instance.State{}, atRoot: map[instance.Attempt]instance.State{},
		ends: map[instance.Attempt]time.Time{}, alive: map[instance.Attempt]time.Time{}, runs: map[model.InstanceID]map[instance.Epoch]time.Time{},
	}
}

// violate notes a violation once.
func (v *watch) violate(rule, format string, args ...any) {
	text := rule + ": " + fmt.Sprintf(format, args...)
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.said[text] {
		v.said[text] = true
		v.found = append(v.found, time.Now().Format("15:04:05.000 ")+text)
	}
}

// Violations lists what was found so far.
func (w *World) Violations() []string {
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	return append([]string(nil), w.watch.found...)
}

// run looks every 250 ms.
func (v *watch) run(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v.containers()
		if n%4 == 0 {
			v.subnets()
			if r := v.w.Root(); r != nil {
				v.root(r)
			}
		}
	}
}

func (v *watch) containers() {
	at := map[instance.Attempt]string{}
	for _, m := range v.w.Machines() {
		for _, c := range m.Live() {
			a := c.Spec.Attempt()
			if other, twice := at[a]; twice {
				v.violate("I1", "%s %s runs on %s and on %s", a.Instance, a.Epoch, other, m.Name)
			}
			at[a] = m.Name
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for a := range at {
		v.alive[a] = time.Now()
	}
}

// node hears every change of a state on a machine.
func (v *watch) node(m *Machine, r runner.Record) {
	a := r.Spec.Attempt()
	k := nodeAttempt{m.Name + " " + m.Key, a}
	v.mu.Lock()
	was := v.atNode[k]
	v.atNode[k] = max(was, r.State)
	v.mu.Unlock()
	if r.State < was {
		v.violate("I4", "%s %s on %s went from %s back to %s", a.Instance, a.Epoch, m.Name, runner.Word(was), runner.Word(r.State))
	}
}

// root looks at what the root shows.
func (v *watch) root(r *Root) {
	ctx := context.Background()
	list, err := r.Store.Instances().List(ctx, "")
	services, err2 := r.Store.Services().List(ctx, "")
	if err != nil || err2 != nil {
		return // it is being killed
	}
	owner := map[netip.Addr]string{}
	claim := func(a netip.Addr, who string) {
		if other, twice := owner[a]; twice {
			v.violate("I7", "%s belongs to %s and to %s", a, other, who)
		}
		owner[a] = who
	}
	for _, s := range services {
		claim(s.Address, "service "+string(s.ID))
	}
	for _, in := range list {
		claim(in.Address, in.ID.String())
		f, ok := r.Book.Facts(in.ID)
		if !ok || f.Observed.State == instance.Unknown {
			continue
		}
		a := instance.Attempt{Instance: in.ID, Epoch: f.Observed.Epoch}
		v.mu.Lock()
		was := v.atRoot[a]
		v.atRoot[a] = max(was, f.Observed.State)
		v.mu.Unlock()
		if f.Observed.State < was {
			v.violate("I4", "the root showed %s %s as %s, now as %s", a.Instance, a.Epoch, runner.Word(was), runner.Word(f.Observed.State))
		}
	}
}

// rootGone forgets what a root process has shown: the next one begins anew.
func (v *watch) rootGone() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.atRoot)
}

// subnets have one node each, blocks one cluster.
func (v *watch) subnets() {
	nodes, blocks := map[netip.Prefix]string{}, map[netip.Prefix]string{}
	for _, c := range v.w.Clusters() {
		c.disk().mu.Lock()
		for n, p := range c.disk().subnets {
			if other, twice := nodes[p]; twice {
				v.violate("I7", "subnet %s belongs to %s and to %s/%s", p, other, c.Name, n)
			}
			nodes[p] = c.Name + "/" + string(n)
		}
		for _, b := range c.disk().blocks {
			if other, twice := blocks[b]; twice {
				v.violate("I7", "block %s belongs to %s and to %s", b, other, c.Name)
			}
			blocks[b] = c.Name
		}
		c.disk().mu.Unlock()
	}
}

// committed looks at what a cluster has decided, with the disk's mu held.
func (v *watch) committed(c *Cluster) func(*disk) {
	return func(d *disk) {
		held := map[model.NodeID]model.Resources{}
		hostPorts := map[string]model.ServiceID{}
		for _, s := range d.slots {
			if s.Placement.Verdict != instance.Placed || s.Ended.State == instance.Completed { // which needs no room any more
				continue
			}
			held[s.Placement.Node] = held[s.Placement.Node].Add(s.Service.Spec.Demand)
			for _, p := range s.Service.Spec.Ports {
				k := fmt.Sprintf("%s %d/%s", s.Placement.Node, p.Host, p.Protocol)
				if other, twice := hostPorts[k]; twice && other != s.Instance.Service {
					v.violate("ports", "%s: host port %s was given to %s and to %s", c.Name, k, other, s.Instance.Service)
				}
				hostPorts[k] = s.Instance.Service
			}
		}
		for id, sum := range held {
			if n, known := d.nodes[id]; known && !n.Capacity.Fits(sum) {
				v.violate("capacity", "%s: node %s has %+v and was given %+v", c.Name, id, n.Capacity, sum)
			}
		}
	}
}

func (v *watch) note(m *Machine, what string, a instance.Attempt) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, fmt.Sprintf("%s %s %s %s %s", time.Now().Format("15:04:05.000"), m.Name, what, a.Instance, a.Epoch))
}

func (v *watch) started(m *Machine, a instance.Attempt) {
	v.note(m, "starts", a)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.runs[a.Instance] == nil {
		v.runs[a.Instance] = map[instance.Epoch]time.Time{}
	}
	if _, again := v.runs[a.Instance][a.Epoch]; !again {
		v.runs[a.Instance][a.Epoch] = time.Now()
	}
}

// unheard is how long nobody can know that a worker and its containers are gone:
// until it counts as lost, and a bit.
const unheard = 15 * time.Second

// stopping: a slot that is wanted must not lose what runs before something
// else of it has run: since it started, or its successor, as far as can be known.
func (v *watch) stopping(m *Machine, a instance.Attempt) {
	v.note(m, "stops", a)
	v.mu.Lock()
	v.ends[a] = time.Now()
	v.mu.Unlock()
	r := v.w.Root()
	if r == nil {
		return
	}
	in, err := r.Store.Instances().Get(context.Background(), a.Instance)
	if err != nil || in.Tombstone {
		return
	}
	for _, other := range v.w.Machines() {
		for _, c := range other.Live() {
			if b := c.Spec.Attempt(); b.Instance == a.Instance && b.Epoch != a.Epoch {
				return
			}
		}
	}
	v.mu.Lock()
	mine, ran := v.runs[a.Instance][a.Epoch], false
	for e, at := range v.runs[a.Instance] {
		successor := a.Epoch.Less(e) && time.Since(v.alive[instance.Attempt{Instance: a.Instance, Epoch: e}]) < unheard
		ran = ran || e != a.Epoch && (successor || !at.Before(mine))
	}
	v.mu.Unlock()
	if !ran {
		v.violate("order", "%s %s on %s is stopped, it is wanted and nothing else of it has run since it started", a.Instance, a.Epoch, m.Name)
	}
}

// history is what happened to the containers of a slot.
func (w *World) history(id string) (lines []string) {
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	text := " " + id + " "
	for _, e := range w.watch.events {
		if contains(e, text) {
			lines = append(lines, e)
		}
	}
	return lines
}
