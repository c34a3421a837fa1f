package address

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Sizes of what is leased: a cluster's block has room for 16 worker subnets.
const (
	BlockBits  = 22
	SubnetBits = 26
)

// The range of worker subnets, cut into blocks.
var (
	firstBlock = netip.MustParsePrefix("10.18.0.0/22")
	blockCount = uint32((29 - 18 + 1) << (BlockBits - 16)) // 64 blocks per /16
)

// Blocks is the root's book of blocks leased to clusters.
type Blocks struct {
	owner map[netip.Prefix]model.ClusterID
}

// NewBlocks is empty.
func NewBlocks() *Blocks { return &Blocks{owner: map[netip.Prefix]model.ClusterID{}} }

// Claim enters a block that a cluster holds. Errors: errs.Invalid when it is no
// block of the range, errs.Conflict when another cluster has it.
func (b *Blocks) Claim(p netip.Prefix, c model.ClusterID) error {
	if p.Bits() != BlockBits || p != p.Masked() || !inRange(p.Addr()) {
		return fmt.Errorf("block %s is no /%d of 10.18.0.0-10.29.255.255: %w", p, BlockBits, errs.Invalid)
	}
	if have, taken := b.owner[p]; taken && have != c {
		return fmt.Errorf("block %s is leased to cluster %s: %w", p, have, errs.Conflict)
	}
	b.owner[p] = c
	return nil
}

// Next leases the lowest free block. Error: errs.Exhausted.
func (b *Blocks) Next(c model.ClusterID) (netip.Prefix, error) {
	for i := range blockCount {
		p := netip.PrefixFrom(offset(firstBlock.Addr(), i<<(32-BlockBits)), BlockBits)
		if _, taken := b.owner[p]; !taken {
			b.owner[p] = c
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("all %d blocks of worker subnets are leased: %w", blockCount, errs.Exhausted)
}

// Return frees a block.
func (b *Blocks) Return(p netip.Prefix) { delete(b.owner, p) }

// Of lists the blocks of a cluster, sorted.
func (b *Blocks) Of(c model.ClusterID) []netip.Prefix {
	var list []netip.Prefix
	for p, owner := range b.owner {
		if owner == c {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, comparePrefix)
	return list
}

func inRange(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 10 && b[1] >= 18 && b[1] <= 29
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Subnets is a cluster's book of worker subnets inside its leased blocks.
type Subnets struct {
	blocks []netip.Prefix
	byNode map[model.NodeID]netip.Prefix
	taken  map[netip.Prefix]model.NodeID
}

// NewSubnets has no blocks.
func NewSubnets() *Subnets {
	return &Subnets{byNode: map[model.NodeID]netip.Prefix{}, taken: map[netip.Prefix]model.NodeID{}}
}

// SetBlocks replaces the leased blocks. Subnets given out of a block that is
// no longer leased stay with their nodes.
func (s *Subnets) SetBlocks(blocks []netip.Prefix) {
	s.blocks = slices.Clone(blocks)
	slices.SortFunc(s.blocks, comparePrefix)
}

// Restore enters a stored subnet. Error: errs.Conflict when another node has it.
func (s *Subnets) Restore(n model.NodeID, p netip.Prefix) error {
	if have, taken := s.taken[p]; taken && have != n {
		return fmt.Errorf("subnet %s of node %s belongs to node %s: %w", p, n, have, errs.Conflict)
	}
	if old, ok := s.byNode[n]; ok {
		delete(s.taken, old)
	}
	s.byNode[n], s.taken[p] = p, n
	return nil
}

// Get returns the node's subnet, giving it the lowest free one when it has
// none. Error: errs.Exhausted when the blocks are full: ask the root for more.
func (s *Subnets) Get(n model.NodeID) (netip.Prefix, error) {
	if p, ok := s.byNode[n]; ok {
		return p, nil
	}
	for _, block := range s.blocks {
		for i := range uint32(1 << (SubnetBits - BlockBits)) {
			p := netip.PrefixFrom(offset(block.Addr(), i<<(32-SubnetBits)), SubnetBits)
			if _, taken := s.taken[p]; !taken {
				s.byNode[n], s.taken[p] = p, n
				return p, nil
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free subnet for node %s in %d blocks: %w", n, len(s.blocks), errs.Exhausted)
}

// Return frees the subnet of a removed node.
func (s *Subnets) Return(n model.NodeID) {
	if p, ok := s.byNode[n]; ok {
		delete(s.byNode, n)
		delete(s.taken, p)
	}
}
