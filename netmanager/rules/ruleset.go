package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Names of what belongs to the overlay on a machine.
const (
	Table  = "oakestra"
	Bridge = "oakbr0"
	Tunnel = "oakvx0"
)

// Names of the sets and maps of the table.
const (
	SetServices    = "services"    // service address -> chain
	SetKnown       = "known"       // service addresses; a verdict map cannot be asked whether it holds a key
	SetBackends    = "backends"    // service address . slot -> container address
	SetIdentities  = "identities"  // container address -> instance address
	SetHostPorts   = "hostports"   // protocol . port -> chain
	SetHostSlots   = "hostslots"   // protocol . port . slot -> container address . port
	SetPeers       = "peers"       // base addresses of the peers' /26
	SetSenders     = "senders"     // underlay addresses of the peers
	SetTunnelPorts = "tunnelports" // UDP ports peers are sent to
	SetNegative    = "negative"    // addresses that nobody knows, for NegativeTime; not part of a Ruleset
)

// NegativeTime is how long an address counts as one that nobody knows.
const NegativeTime = 5 * time.Second

// HoldMark is the bit of the packet mark that says: queue until the service is known.
const HoldMark = 0x00200000

// Key and Value of a set element, in the kernel's layout: each part padded to
// 4 bytes, slots in the byte order of the machine, unused bytes zero.
type (
	Key   [12]byte
	Value struct {
		Data  [8]byte
		Chain string // a verdict: go to that chain
	}
)

// Hook is where a base chain is called; the zero Hook is a chain to go to.
type Hook struct {
	Type     string // "filter" or "nat"
	Point    string // "prerouting", "forward", "output", "postrouting"
	Priority int
}

// Chain is a list of rules, called at a hook or gone to.
type Chain struct {
	Hook  Hook
	Rules []Rule
}

// Rule is its terms, left to right. Rules are compared by Text: the kernel
// keeps it with each rule.
type Rule struct {
	Terms []Term
	Text  string
}

// Ruleset is the whole content of the table.
type Ruleset struct {
	Chains map[string]Chain
	Sets   map[string]map[Key]Value
}

// Text prints the ruleset in a stable order, for goldens and for logs.
func (r Ruleset) Text() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Sets)) {
		elems := r.Sets[name]
		if len(elems) == 0 {
			continue
		}
		fmt.Fprintf(&b, "set %s\n", name)
		lines := make([]string, 0, len(elems))
		for k, v := range elems {
			lines = append(lines, "\t"+elementText(name, k, v)+"\n")
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Chains)) {
		c := r.Chains[name]
		fmt.Fprintf(&b, "chain %s", name)
		if c.Hook != (Hook{}) {
			fmt.Fprintf(&b, " %s %s %d", c.Hook.Type, c.Hook.Point, c.Hook.Priority)
		}
		b.WriteByte('\n')
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "\t%s\n", rule.Text)
		}
	}
	return b.String()
}
