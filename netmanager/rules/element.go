package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

func addrKey(a netip.Addr) (k Key) {
	b := a.As4()
	copy(k[:], b[:])
	return k
}

func slotKey(a netip.Addr, slot int) Key {
	k := addrKey(a)
	binary.NativeEndian.PutUint32(k[4:], uint32(slot))
	return k
}

func portKey(p Protocol, port uint16) (k Key) {
	k[0] = protocolNumber(p)
	binary.BigEndian.PutUint16(k[4:], port)
	return k
}

func portSlotKey(p Protocol, port uint16, slot int) Key {
	k := portKey(p, port)
	binary.NativeEndian.PutUint32(k[8:], uint32(slot))
	return k
}

func numberKey(port uint16) (k Key) {
	binary.BigEndian.PutUint16(k[:], port)
	return k
}

func addrValue(a netip.Addr) (v Value) {
	b := a.As4()
	copy(v.Data[:], b[:])
	return v
}

func addrPortValue(a netip.AddrPort) Value {
	v := addrValue(a.Addr())
	binary.BigEndian.PutUint16(v.Data[4:], a.Port())
	return v
}

func protocolNumber(p Protocol) byte {
	if p == "udp" {
		return 17
	}
	return 6
}

// NegativeKey is the element of SetNegative for an address.
func NegativeKey(a netip.Addr) Key { return addrKey(a) }

// Sizes gives the bytes of a key and of a value of the named set; 0 bytes of
// value are a plain set or, with verdict, a map to chains.
func Sizes(set string) (key, value int, verdict bool) {
	switch set {
	case SetServices:
		return 4, 0, true
	case SetHostPorts:
		return 8, 0, true
	case SetBackends:
		return 8, 4, false
	case SetIdentities:
		return 4, 4, false
	case SetHostSlots:
		return 12, 8, false
	case SetTunnelPorts:
		return 2, 0, false
	default:
		return 4, 0, false
	}
}

// Sets lists the sets that a Ruleset fills, in the order they are made.
func Sets() []string {
	return []string{SetKnown, SetServices, SetBackends, SetIdentities, SetHostPorts, SetHostSlots, SetPeers, SetSenders, SetTunnelPorts}
}

func elementText(set string, k Key, v Value) string {
	addr := netip.AddrFrom4([4]byte(k[:4])).String()
	to := netip.AddrFrom4([4]byte(v.Data[:4])).String()
	port := func() string { return fmt.Sprintf("%d.%d", k[0], binary.BigEndian.Uint16(k[4:])) }
	switch set {
	case SetServices:
		return addr + " : " + v.Chain
	case SetBackends:
		return fmt.Sprintf("%s.%03d : %s", addr, binary.NativeEndian.Uint32(k[4:]), to)
	case SetIdentities:
		return addr + " : " + to
	case SetHostPorts:
		return port() + " : " + v.Chain
	case SetHostSlots:
		return fmt.Sprintf("%s.%03d : %s:%d", port(), binary.NativeEndian.Uint32(k[8:]), to, binary.BigEndian.Uint16(v.Data[4:]))
	case SetTunnelPorts:
		return fmt.Sprint(binary.BigEndian.Uint16(k[:]))
	default:
		return addr
	}
}
