package rules

import (
	"fmt"
	"net/netip"
	"strings"
)

// Op is one thing a rule can ask or do.
type Op int

// Matches first, then what ends or changes a packet's way.
const (
	IifIs          Op = iota // Name: interface
	OifIs                    // Name
	OifNot                   // Name
	SrcIn                    // Prefix
	DstIn                    // Prefix
	SrcInSet                 // Name: set
	DstInSet                 // Name
	DstNotInSet              // Name
	SrcNetInSet              // Name: set of /26 base addresses
	SrcNetNotInSet           // Name
	DstNetInSet              // Name
	DstLocal                 // destination is an address of this machine
	CtNew                    // first packet of a flow
	CtDnat                   // the flow's destination was translated
	IsTCP                    //
	TCPSyn                   // SYN without RST
	ICMPRedirect
	UDPTo     // N: destination port
	UDPToSet  // Name: set of ports
	Mark      // N: set these bits of the packet mark
	Untracked // no connection tracking
	ClampMSS  // to the MTU of the route
	Drop
	Accept
	RefuseTCP  // answer with RST
	Refuse     // answer with port unreachable
	GoToByDst  // Name: verdict map keyed by destination address
	GoToByPort // Name: verdict map keyed by protocol . destination port
	GoTo       // Name: chain
	DnatSlot   // N slots, drawn in turn, of SetBackends
	DnatPort   // N slots, drawn in turn, of SetHostSlots
	SnatSame   // keep the source: later source translations leave the flow alone
	SnatMap    // Name: map from source address; no entry, no match
	SnatTo     // Addr
	Masquerade // to the address of the outgoing interface
)

// Term is an Op with its operand.
type Term struct {
	Op     Op
	Name   string
	Prefix netip.Prefix
	Addr   netip.Addr
	N      uint32
}

var words = map[Op]string{
	IifIs: "iif %s", OifIs: "oif %s", OifNot: "oif != %s", SrcIn: "src %p", DstIn: "dst %p", SrcInSet: "src @%s",
	DstInSet: "dst @%s", DstNotInSet: "dst != @%s", SrcNetInSet: "src/26 @%s", SrcNetNotInSet: "src/26 != @%s",
	DstNetInSet: "dst/26 @%s", DstLocal: "dst local", CtNew: "new", CtDnat: "dnatted", IsTCP: "tcp", TCPSyn: "tcp syn", ICMPRedirect: "icmp redirect",
	UDPTo: "udp to %n", UDPToSet: "udp to @%s", Mark: "mark %n", Untracked: "notrack", ClampMSS: "clamp mss",
	Drop: "drop", Accept: "accept", RefuseTCP: "reject rst", Refuse: "reject", GoToByDst: "goto by dst @%s",
	GoToByPort: "goto by port @%s", GoTo: "goto %s", DnatSlot: "dnat slot of %n", DnatPort: "dnat port slot of %n",
	SnatSame: "snat same", SnatMap: "snat @%s", SnatTo: "snat %a", Masquerade: "masquerade",
}

// String prints the term as goldens show it.
func (t Term) String() string {
	return strings.NewReplacer("%s", t.Name, "%p", t.Prefix.String(), "%a", t.Addr.String(),
		"%n", fmt.Sprint(t.N)).Replace(words[t.Op])
}

func rule(terms ...Term) Rule {
	texts := make([]string, len(terms))
	for i, t := range terms {
		texts[i] = t.String()
	}
	return Rule{Terms: terms, Text: strings.Join(texts, ", ")}
}

func do(op Op) Term                     { return Term{Op: op} }
func on(op Op, name string) Term        { return Term{Op: op, Name: name} }
func within(op Op, p netip.Prefix) Term { return Term{Op: op, Prefix: p} }
func count(op Op, n uint32) Term        { return Term{Op: op, N: n} }
func towards(op Op, a netip.Addr) Term  { return Term{Op: op, Addr: a} }
