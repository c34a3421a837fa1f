package tables

import (
	"net/netip"
	"slices"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

const (
	nodeBits     = 26
	lowRoom      = 2                // ask for a block when fewer subnets are free
	blockPause   = 10 * time.Second // between requests for a block
	blockHurry   = 2 * time.Second  // the same while a worker waits
	saveRetry    = time.Second      // after the store failed
	claimingTime = 2 * time.Second  // with an empty book: workers may still hold subnets
)

// subnets says which worker has which /26. A subnet is given only after it is
// in the book.
type subnets struct {
	book    map[model.NodeID]netip.Prefix
	saving  map[model.NodeID]netip.Prefix
	used    map[netip.Prefix]model.NodeID
	waiting set[model.NodeID]
	blocks  []netip.Prefix
	hold    time.Time // no allocation before
	asked   time.Time // for a block
	retry   time.Time // of a failed save
	wake    time.Time
	jobs    []saveJob // for the book's goroutine
	blamed  set[model.NodeID]
}

// saveJob is one change of the book.
type saveJob struct {
	node   model.NodeID
	subnet netip.Prefix // invalid: drop
}

func newSubnets(book map[model.NodeID]netip.Prefix, now time.Time) subnets {
	s := subnets{
		book: map[model.NodeID]netip.Prefix{}, saving: map[model.NodeID]netip.Prefix{},
		used: map[netip.Prefix]model.NodeID{}, waiting: set[model.NodeID]{}, blamed: set[model.NodeID]{},
	}
	for n, p := range book {
		s.book[n], s.used[p.Masked()] = p.Masked(), n
	}
	if len(book) == 0 {
		s.hold = now.Add(claimingTime)
	}
	return s
}

// free finds the lowest /26 of the blocks that nobody has.
func (s *subnets) free() (netip.Prefix, int) {
	var first netip.Prefix
	count := 0
	for _, b := range s.blocks {
		for a := b.Masked().Addr(); b.Contains(a); a = after(a) {
			p := netip.PrefixFrom(a, nodeBits)
			if _, taken := s.used[p]; taken {
				continue
			}
			if count++; !first.IsValid() {
				first = p
			}
		}
	}
	return first, count
}

// after is the base of the next /26; invalid past the last one.
func after(a netip.Addr) netip.Addr {
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += 1 << (32 - nodeBits)
	if v < 1<<(32-nodeBits) {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// subnetRequest answers a worker from the book, or lets it wait and says so.
func (p *plane) subnetRequest(n model.NodeID) {
	s := &p.subnets
	if have, ok := s.book[n]; ok {
		p.send(n, nodelink.Outbound{Subnet: &nodelink.SubnetResult{Subnet: have}})
		return
	}
	s.waiting[n] = struct{}{}
	p.deliveryOf(n).told = false // every request gets an answer
}

func (p *plane) setBlocks(blocks []netip.Prefix) {
	p.subnets.blocks = nil
	for _, b := range blocks {
		if b.Addr().Is4() && b.Bits() <= nodeBits {
			p.subnets.blocks = append(p.subnets.blocks, b.Masked())
		}
	}
	slices.SortFunc(p.subnets.blocks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
}

// claimSubnet takes in what a worker says it uses: the book may be younger. It
// returns what others are told: a subnet of another worker is never announced
// twice.
func (p *plane) claimSubnet(n model.NodeID, subnet netip.Prefix) netip.Prefix {
	s := &p.subnets
	if s.book[n] == subnet || s.saving[n] == subnet {
		return subnet
	}
	if subnet.Bits() != nodeBits || !subnet.Addr().Is4() {
		return s.book[n]
	}
	owner, taken := s.used[subnet]
	given, has := s.book[n]
	if !has && !taken {
		p.take(n, subnet)
		return subnet
	}
	if !s.blamed.has(n) {
		s.blamed[n] = struct{}{}
		p.log.Error("worker uses a subnet that is not its own", "node", n, "subnet", subnet, "given", given, "owner", owner)
	}
	if taken && owner != n {
		p.offerAnother(n, given)
		return given
	}
	return subnet // its containers are there, and nobody else's
}

// offerAnother gives a worker that was away for long, and lost its subnet to
// another one, a subnet of its own. It moves once it has no containers.
func (p *plane) offerAnother(n model.NodeID, given netip.Prefix) {
	switch {
	case !given.IsValid():
		if _, asked := p.subnets.saving[n]; !asked {
			p.subnets.waiting[n] = struct{}{}
		}
	case len(p.worker(n).endpoints) == 0:
		p.send(n, nodelink.Outbound{Subnet: &nodelink.SubnetResult{Subnet: given}})
	}
}

// take writes a subnet down for a worker, in the background.
func (p *plane) take(n model.NodeID, subnet netip.Prefix) {
	s := &p.subnets
	if before, ok := s.saving[n]; ok {
		delete(s.used, before)
	}
	s.saving[n], s.used[subnet] = subnet, n
	s.jobs = append(s.jobs, saveJob{n, subnet})
}

func (p *plane) dropSubnet(n model.NodeID) {
	s := &p.subnets
	for _, m := range []map[model.NodeID]netip.Prefix{s.book, s.saving} {
		if have, ok := m[n]; ok {
			delete(s.used, have)
			delete(m, n)
		}
	}
	delete(s.waiting, n)
	delete(s.blamed, n)
	s.jobs = append(s.jobs, saveJob{node: n})
}

// saved hears from the book.
func (p *plane) saved(j saveJob, err error, now time.Time) {
	s := &p.subnets
	if !j.subnet.IsValid() {
		if err != nil {
			p.log.Error("subnet of a removed worker stays in the book", "node", j.node, "error", err)
		}
		return
	}
	if s.saving[j.node] != j.subnet {
		return // the worker was removed meanwhile
	}
	if err != nil {
		p.log.Error("subnet not saved", "node", j.node, "subnet", j.subnet, "error", err)
		delete(s.saving, j.node)
		delete(s.used, j.subnet)
		s.waiting[j.node] = struct{}{}
		s.retry = now.Add(saveRetry)
		return
	}
	delete(s.saving, j.node)
	s.book[j.node] = j.subnet
	if w := p.worker(j.node); !w.subnet.IsValid() {
		w.subnet = j.subnet
		for svc := range p.hosts.of[j.node] {
			p.touchService(svc)
		}
		p.touchWorker(j.node)
	}
	delete(s.waiting, j.node)
	p.log.Info("subnet given", "node", j.node, "subnet", j.subnet)
	p.send(j.node, nodelink.Outbound{Subnet: &nodelink.SubnetResult{Subnet: j.subnet}})
}

// serveSubnets gives subnets to those who wait, and asks the root for room.
func (p *plane) serveSubnets(now time.Time) {
	s := &p.subnets
	s.wake = time.Time{}
	for _, n := range sorted(s.waiting) {
		if _, ok := s.saving[n]; ok {
			continue
		}
		if until := latest(s.hold, s.retry); now.Before(until) {
			p.tellWhy(n, "subnets are being claimed, ask again")
			s.wake = until
			continue
		}
		if free, _ := s.free(); free.IsValid() {
			delete(s.waiting, n)
			p.take(n, free)
			continue
		}
		p.tellWhy(n, "no free subnet in this cluster yet, waiting for the root")
	}
	if _, room := s.free(); room < lowRoom {
		p.askBlock(now)
	}
}

func (p *plane) askBlock(now time.Time) {
	s := &p.subnets
	pause := blockPause
	if len(s.waiting) > 0 {
		pause = blockHurry
	}
	if s.asked.IsZero() || now.Sub(s.asked) >= pause {
		s.asked = now
		p.deps.Uplink.RequestBlock(slices.Clone(s.blocks))
	}
	if at := s.asked.Add(pause); s.wake.IsZero() || at.Before(s.wake) {
		s.wake = at
	}
}

// tellWhy answers our own NetManagers only: an original one would take an
// answer without an address for its subnet.
func (p *plane) tellWhy(n model.NodeID, why string) {
	if w := p.workers[n]; w != nil && w.ours && !p.deliveryOf(n).told {
		p.deliveryOf(n).told = true
		p.send(n, nodelink.Outbound{Subnet: &nodelink.SubnetResult{Error: why}})
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
