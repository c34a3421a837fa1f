package rules

import "net/netip"

const chainRefuse = "refuse"

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// frame is every chain that does not depend on services. The NAT chains are
// there from the first Apply on and never empty: when the kernel's last NAT
// rule goes, established flows reset.
func frame(n Node, caps Caps) map[string]Chain {
	chains := map[string]Chain{
		"raw-in":   {Hook: Hook{"filter", "prerouting", -300}, Rules: rawIn(n)},
		"raw-out":  {Hook: Hook{"filter", "output", -300}, Rules: rawOut()},
		"hold-in":  {Hook: Hook{"filter", "prerouting", -151}, Rules: []Rule{rule(append([]Term{on(IifIs, Bridge)}, hold()...)...)}},
		"hold-out": {Hook: Hook{"filter", "output", -151}, Rules: []Rule{rule(hold()...)}},
		"dnat-in":  {Hook: Hook{"nat", "prerouting", -110}, Rules: dnat()},
		"dnat-out": {Hook: Hook{"nat", "output", -110}, Rules: dnat()},
		"snat":     {Hook: Hook{"nat", "postrouting", 90}, Rules: snat(n)},
		chainRefuse: {Rules: []Rule{
			rule(do(IsTCP), do(RefuseTCP)),
			rule(do(Refuse)),
		}},
	}
	if caps.ClampMSS {
		chains["clamp"] = Chain{Hook: Hook{"filter", "forward", -150}, Rules: []Rule{
			rule(on(OifIs, Bridge), do(TCPSyn), do(ClampMSS)),
			rule(on(IifIs, Bridge), do(TCPSyn), do(ClampMSS)),
		}}
	}
	return chains
}

// rawIn lets only known workers tunnel to us, and only with sources of their
// own; and keeps containers from this machine's loopback, which route_localnet
// on the bridge would open.
func rawIn(n Node) []Rule {
	rules := []Rule{rule(on(IifIs, Bridge), within(DstIn, loopback), do(Drop))}
	if n.Direct || !n.Subnet.IsValid() {
		return rules
	}
	return append(rules,
		rule(on(IifIs, Tunnel), on(SrcNetNotInSet, SetPeers), do(Drop)),
		rule(count(UDPTo, uint32(portOr(n.Port))), do(DstLocal), on(SrcInSet, SetSenders), do(Untracked), do(Accept)),
		rule(count(UDPTo, uint32(portOr(n.Port))), do(DstLocal), do(Drop)),
	)
}

// rawOut keeps the tunnel's packets out of connection tracking. It silences
// redirects: two containers that meet through a service address share the
// bridge, and must not learn to go around the translation.
func rawOut() []Rule {
	return []Rule{
		rule(on(OifIs, Bridge), do(ICMPRedirect), do(Drop)),
		rule(on(UDPToSet, SetTunnelPorts), on(DstInSet, SetSenders), do(Untracked)),
	}
}

// hold marks first packets to addresses nobody has programmed. The queueing
// itself is an iptables rule: the kernel's own queue expression may be absent.
func hold() []Term {
	return []Term{do(CtNew), within(DstIn, ServiceRange), on(DstNotInSet, SetKnown), on(DstNotInSet, SetNegative), count(Mark, HoldMark)}
}

func dnat() []Rule {
	return []Rule{
		rule(on(GoToByDst, SetServices)),
		rule(within(DstIn, ServiceRange), on(GoTo, chainRefuse)),
		rule(do(DstLocal), on(GoToByPort, SetHostPorts)),
	}
}

// snat decides who servers see. It runs before the usual priority 100: what is
// bound here, even to the same address, a foreign MASQUERADE leaves alone.
func snat(n Node) []Rule {
	rules := []Rule{rule(on(OifIs, Bridge), on(SnatMap, SetIdentities))}
	if !n.Subnet.IsValid() {
		return rules
	}
	gateway := Gateway(n.Subnet)
	return append(rules,
		rule(on(OifIs, Bridge), within(SrcIn, loopback), towards(SnatTo, gateway)),
		rule(on(OifIs, Bridge), within(SrcIn, n.Subnet), do(CtDnat), towards(SnatTo, gateway)),
		rule(on(OifIs, Bridge), within(SrcIn, n.Subnet), do(SnatSame)),
		rule(on(OifIs, Bridge), on(SrcNetInSet, SetPeers), do(SnatSame)),
		rule(on(DstNetInSet, SetPeers), within(SrcIn, n.Subnet), do(SnatSame)),
		rule(on(DstNetInSet, SetPeers), towards(SnatTo, gateway)),
		rule(on(OifNot, Bridge), within(SrcIn, n.Subnet), do(Masquerade)),
	)
}
