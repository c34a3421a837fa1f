package harness

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"oakestra/cluster/store"
	"oakestra/node/runner"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	rootstore "oakestra/root/store"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// picture is everything at one instant.
type picture struct {
	services []model.Service
	wanted   map[model.InstanceID]rootstore.Instance
	buried   []model.InstanceID // tombstones
	tombs    map[model.InstanceID]rootstore.Instance
	held     []netip.Addr // their addresses
	claims   []rootstore.Claim
	live     map[model.InstanceID][]found
	slots    map[model.InstanceID][]kept
}

// found is a live container and where it is.
type found struct {
	attempt instance.Attempt
	machine *Machine
}

// kept is what a cluster has written of a slot.
type kept struct {
	cluster *Cluster
	store.Slot
}

func (w *World) look(r *Root) (*picture, error) {
	ctx := context.Background()
	p := &picture{tombs: map[model.InstanceID]rootstore.Instance{}, wanted: map[model.InstanceID]rootstore.Instance{}, live: map[model.InstanceID][]found{}, slots: map[model.InstanceID][]kept{}}
	var err error
	if p.services, err = r.Store.Services().List(ctx, ""); err != nil {
		return nil, err
	}
	list, err := r.Store.Instances().List(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, in := range list {
		if in.Tombstone {
			p.buried, p.tombs[in.ID] = append(p.buried, in.ID), in
		} else {
			p.wanted[in.ID] = in
		}
	}
	if p.claims, err = r.Store.Claims().List(ctx); err != nil {
		return nil, err
	}
	for _, m := range w.Machines() {
		for _, c := range m.Live() {
			a := c.Spec.Attempt()
			p.live[a.Instance] = append(p.live[a.Instance], found{a, m})
		}
	}
	for _, c := range w.Clusters() {
		c.disk().mu.Lock()
		for id, s := range c.disk().slots {
			p.slots[id] = append(p.slots[id], kept{c, cloneSlot(s)})
		}
		c.disk().mu.Unlock()
	}
	return p, nil
}

// Check lists what is not as it must be once a system has come to rest:
//
//	I1  every wanted slot has one live container, and no other container lives;
//	    a one-shot that completed has none
//	I2  every live container has exactly one record, which names its node
//	I7  addresses in use are those of services and slots, none twice; subnets
//	    and container addresses have one owner
//	    nothing is left of what was deleted; no rollout is under way
//
// strangers are slots whose containers may live without being wanted.
func (w *World) Check(strangers map[model.InstanceID]bool) []string {
	r := w.Root()
	if r == nil {
		return []string{"the root is down"}
	}
	if on, waiting := r.Desk.Recovery(); on {
		return []string{fmt.Sprintf("the root is in recovery, waiting for %v", waiting)}
	}
	p, err := w.look(r)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for id, in := range p.wanted {
		if why := w.slot(r, p, in); why != "" {
			out = append(out, fmt.Sprintf("%s: %s", id, why))
		}
	}
	for id, list := range p.live {
		if _, wanted := p.wanted[id]; !wanted && !strangers[id] {
			out = append(out, fmt.Sprintf("%s: I1 it is not wanted and lives: %v", id, places(list)))
		}
	}
	for _, id := range p.buried {
		if w.waitsForTheDead(p.slots[id]) {
			continue
		}
		out = append(out, fmt.Sprintf("%s: its tombstone has not been carried out", id))
	}
	for id, list := range p.slots {
		for _, k := range list {
			if w.waitsForTheDead(list) {
				continue
			}
			if in, wanted := p.wanted[id]; (!wanted || w.clusterID(k.cluster) != in.Cluster) && !strangers[id] {
				out = append(out, fmt.Sprintf("%s: I2 %s still has a record of it (tombstone %v, old %v)", id, k.cluster.Name, k.Tombstone, k.Old))
			}
		}
	}
	for _, s := range p.services {
		if s.Rollout.State == model.RolloutRunning {
			out = append(out, fmt.Sprintf("service %s: its rollout goes on: %s", s.ID, s.Rollout.Message))
		}
	}
	for _, id := range p.buried {
		p.held = append(p.held, p.tombs[id].Address)
	}
	out = append(out, w.addresses(p)...)
	slices.Sort(out)
	return out
}

// waitsForTheDead says that a record stays since a machine that is off for good
// may hold something of it: it waits until the machine is removed or returns.
func (w *World) waitsForTheDead(list []kept) bool {
	for _, k := range list {
		for _, o := range k.Old {
			if slices.ContainsFunc(w.Machines(), func(m *Machine) bool { return m.Home == k.cluster && m.ID() == o.Node && m.OffForGood }) {
				return true
			}
		}
	}
	return false
}

func places(list []found) (out []string) {
	for _, f := range list {
		out = append(out, fmt.Sprintf("%s on %s", f.attempt.Epoch, f.machine.Name))
	}
	slices.Sort(out)
	return out
}

func (w *World) clusterID(c *Cluster) model.ClusterID {
	c.disk().mu.Lock()
	defer c.disk().mu.Unlock()
	return c.disk().identity.Cluster
}

// slot says what is wrong with a wanted slot, "" for nothing.
func (w *World) slot(r *Root, p *picture, in rootstore.Instance) string {
	live := p.live[in.ID]
	f, ok := r.Book.Facts(in.ID)
	if in.Cluster == "" {
		word, reasons := r.Desk.Waits(in.ID)
		return fmt.Sprintf("no cluster has it: %s %v", word, reasons)
	}
	if !ok || f.Cluster != in.Cluster {
		return fmt.Sprintf("its cluster has not reported it; live %v", places(live))
	}
	epoch := instance.Epoch{Grant: in.Grant, Try: f.Placement.Try}
	switch {
	case f.Placement.Verdict != instance.Placed:
		return fmt.Sprintf("it is not placed: verdict %d %v", f.Placement.Verdict, f.Placement.Reasons)
	case f.Observed.Epoch != epoch:
		return fmt.Sprintf("placed as %s, seen as %s; live %v", epoch, f.Observed.Epoch, places(live))
	case f.Observed.State == instance.Completed && in.Service.Spec.OneShot:
		if len(live) > 0 {
			return fmt.Sprintf("I1 it completed and lives: %v", places(live))
		}
		return ""
	case f.Observed.State != instance.Running:
		return fmt.Sprintf("%s is %s; live %v", epoch, runner.Word(f.Observed.State), places(live))
	case len(live) != 1:
		return fmt.Sprintf("I1 %d live containers instead of one: %v", len(live), places(live))
	}
	records := 0
	for _, k := range p.slots[in.ID] {
		// One that was taken up after its worker returned runs under the epoch it was started with.
		if k.Epoch() == epoch && k.Started() == live[0].attempt.Epoch && k.Placement.Verdict == instance.Placed && k.Placement.Node == live[0].machine.ID() && k.cluster == live[0].machine.Home {
			records++
		}
	}
	if records != 1 || f.Placement.Node != live[0].machine.ID() {
		return fmt.Sprintf("I2 %d records name %v; the root says %s on %s", records, places(live), epoch, f.Placement.Node)
	}
	return ""
}

// addresses compares what is in use with what is claimed.
func (w *World) addresses(p *picture) (out []string) {
	use := map[netip.Addr]string{}
	for _, s := range p.services {
		use[s.Address] = "service " + string(s.ID)
	}
	for id, in := range p.wanted {
		use[in.Address] = id.String()
	}
	for _, a := range p.held {
		use[a] = "a tombstone"
	}
	for _, c := range p.claims {
		_, used := use[c.Address]
		switch {
		case c.Until.IsZero() && !used:
			out = append(out, fmt.Sprintf("I7 %s is claimed by %s, which does not exist", c.Address, c.Holder))
		case !c.Until.IsZero() && used:
			out = append(out, fmt.Sprintf("I7 %s rests and is used by %s", c.Address, use[c.Address]))
		}
		delete(use, c.Address)
	}
	for a, who := range use {
		out = append(out, fmt.Sprintf("I7 %s is used by %s and is not claimed", a, who))
	}
	owner := map[netip.Addr]string{}
	for _, m := range w.Machines() {
		m.mu.Lock()
		kernel := m.kernel
		m.mu.Unlock()
		for _, a := range kernel.Attachments() {
			at := a.Address.Addr()
			if other, twice := owner[at]; twice {
				out = append(out, fmt.Sprintf("I7 container address %s is on %s and on %s", at, other, m.Name))
			}
			owner[at] = m.Name
		}
	}
	return out
}
