package linux

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
)

// Registers: reg1 is 16 bytes and starts with the 4 bytes that further parts
// of a concatenated key follow.
const (
	reg1    = unix.NFT_REG_1
	reg32At = unix.NFT_REG32_00
)

const (
	offsetSrc = 12
	offsetDst = 16
)

// expressions renders a rule for the kernel.
func expressions(r rules.Rule) []expr.Any {
	var all []expr.Any
	for _, t := range r.Terms {
		all = append(all, expression(t)...)
	}
	return all
}

// expression renders one term. Here are the matches of where a packet comes
// from and goes to; flow has those of what it is.
func expression(t rules.Term) []expr.Any {
	switch t.Op {
	case rules.IifIs:
		return device(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.Name)
	case rules.OifIs:
		return device(expr.MetaKeyOIFNAME, expr.CmpOpEq, t.Name)
	case rules.OifNot:
		return device(expr.MetaKeyOIFNAME, expr.CmpOpNeq, t.Name)
	case rules.SrcIn:
		return inPrefix(offsetSrc, t.Prefix)
	case rules.DstIn:
		return inPrefix(offsetDst, t.Prefix)
	case rules.SrcInSet:
		return []expr.Any{address(offsetSrc), inSet(t.Name, false)}
	case rules.DstInSet:
		return []expr.Any{address(offsetDst), inSet(t.Name, false)}
	case rules.DstNotInSet:
		return []expr.Any{address(offsetDst), inSet(t.Name, true)}
	case rules.SrcNetInSet:
		return []expr.Any{address(offsetSrc), mask(net.CIDRMask(26, 32)), inSet(t.Name, false)}
	case rules.SrcNetNotInSet:
		return []expr.Any{address(offsetSrc), mask(net.CIDRMask(26, 32)), inSet(t.Name, true)}
	case rules.DstNetInSet:
		return []expr.Any{address(offsetDst), mask(net.CIDRMask(26, 32)), inSet(t.Name, false)}
	case rules.DstLocal:
		return []expr.Any{&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagDADDR: true},
			equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL))}
	default:
		return flow(t)
	}
}

// flow matches on connection tracking and on the transport header.
func flow(t rules.Term) []expr.Any {
	switch t.Op {
	case rules.CtNew:
		return ctBit(expr.CtKeySTATE, expr.CtStateBitNEW)
	case rules.CtDnat:
		return ctBit(expr.CtKeySTATUS, 1<<5) // IPS_DST_NAT
	case rules.IsTCP:
		return protocol(unix.IPPROTO_TCP)
	case rules.TCPSyn:
		return append(protocol(unix.IPPROTO_TCP), transport(13, 1), mask([]byte{0x06}), equal([]byte{0x02}))
	case rules.ICMPRedirect:
		return append(protocol(unix.IPPROTO_ICMP), transport(0, 1), equal([]byte{5}))
	case rules.UDPTo:
		return append(protocol(unix.IPPROTO_UDP), transport(2, 2), equal(binary.BigEndian.AppendUint16(nil, uint16(t.N))))
	case rules.UDPToSet:
		return append(protocol(unix.IPPROTO_UDP), transport(2, 2), inSet(t.Name, false))
	default:
		return action(t)
	}
}

// action ends or changes a packet's way; translation has its addresses.
func action(t rules.Term) []expr.Any {
	switch t.Op {
	case rules.Mark:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
			&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(^t.N), Xor: binaryutil.NativeEndian.PutUint32(t.N)},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1, SourceRegister: true}}
	case rules.Untracked:
		return []expr.Any{&expr.Notrack{}}
	case rules.ClampMSS:
		return []expr.Any{&expr.Rt{Register: reg1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.Exthdr{SourceRegister: reg1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt}}
	case rules.Drop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case rules.Accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case rules.RefuseTCP:
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	case rules.Refuse:
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}}
	case rules.GoToByDst:
		return []expr.Any{address(offsetDst), verdictMap(t.Name)}
	case rules.GoToByPort:
		return append(protocolAndPort(), verdictMap(t.Name))
	case rules.GoTo:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.Name}}
	default:
		return translation(t)
	}
}

func translation(t rules.Term) []expr.Any {
	switch t.Op {
	case rules.DnatSlot:
		return []expr.Any{address(offsetDst), turn(reg32At+1, t.N), value(rules.SetBackends),
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1}}
	case rules.DnatPort:
		return append(protocolAndPort(), turn(reg32At+2, t.N), value(rules.SetHostSlots),
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1, RegProtoMin: reg32At + 1, Specified: true})
	case rules.SnatSame:
		return []expr.Any{address(offsetSrc), snat()}
	case rules.SnatMap:
		return []expr.Any{address(offsetSrc), value(t.Name), snat()}
	case rules.SnatTo:
		return []expr.Any{&expr.Immediate{Register: reg1, Data: t.Addr.AsSlice()}, snat()}
	case rules.Masquerade:
		return []expr.Any{&expr.Masq{}}
	default:
		return nil
	}
}

func device(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: reg1}, &expr.Cmp{Op: op, Register: reg1, Data: data}}
}

func address(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func transport(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1}, equal([]byte{number})}
}

func protocolAndPort() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Payload{DestRegister: reg32At + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

func inPrefix(offset uint32, p netip.Prefix) []expr.Any {
	return []expr.Any{address(offset), mask(net.CIDRMask(p.Bits(), 32)), equal(p.Masked().Addr().AsSlice())}
}

func mask(m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data}
}

func inSet(name string, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: reg1, SetName: name, Invert: invert}
}

func value(set string) expr.Any {
	return &expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: set}
}

func verdictMap(name string) expr.Any {
	return &expr.Lookup{SourceRegister: reg1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: name}
}

func turn(register, n uint32) expr.Any {
	return &expr.Numgen{Register: register, Modulus: n, Type: unix.NFT_NG_INCREMENTAL}
}

func snat() expr.Any {
	return &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1}
}

func ctBit(key expr.CtKey, bit uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: key, Register: reg1}, mask(binaryutil.NativeEndian.PutUint32(bit)),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: make([]byte, 4)}}
}
