package linux

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/pkg/errs"
)

// fdb says to which worker, and to which of its UDP ports, the tunnel sends
// frames for a hardware address. It speaks netlink itself: the library in use
// elsewhere does not know the port.
type fdb struct{ conn *mdl.Conn }

// remote is where frames go.
type remote struct {
	mac  [6]byte
	addr netip.Addr
	port uint16 // 0: the tunnel's own
}

func openFDB(ns int) (*fdb, error) {
	conn, err := mdl.Dial(unix.NETLINK_ROUTE, &mdl.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w: %w", errs.Unavailable, err)
	}
	return &fdb{conn: conn}, nil
}

func (f *fdb) close() error { return f.conn.Close() }

const (
	neighborHeader = 12
	attrDst        = 1
	attrLinkAddr   = 2
	attrPort       = 6
	nudPermanent   = 0x80
	flagSelf       = 0x02
)

func header(link int) []byte {
	b := make([]byte, neighborHeader)
	b[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(b[4:], uint32(link))
	binary.NativeEndian.PutUint16(b[8:], nudPermanent)
	b[10] = flagSelf
	return b
}

// list returns the permanent entries of the link.
func (f *fdb) list(link int) (map[[6]byte]remote, error) {
	// A bridge dump wants a link header (16 bytes) to filter by; without one it lists all.
	reply, err := f.conn.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.RTM_GETNEIGH, Flags: mdl.Request | mdl.Dump}, Data: header(0),
	})
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w: %w", errs.Unavailable, err)
	}
	out := map[[6]byte]remote{}
	for _, m := range reply {
		if len(m.Data) < neighborHeader || binary.NativeEndian.Uint32(m.Data[4:]) != uint32(link) {
			continue
		}
		if r, ok := parseRemote(m.Data[neighborHeader:]); ok {
			out[r.mac] = r
		}
	}
	return out, nil
}

func parseRemote(data []byte) (r remote, ok bool) {
	ad, err := mdl.NewAttributeDecoder(data)
	if err != nil {
		return r, false
	}
	for ad.Next() {
		b := ad.Bytes()
		switch {
		case ad.Type() == attrDst && len(b) == 4:
			r.addr = netip.AddrFrom4([4]byte(b))
		case ad.Type() == attrLinkAddr && len(b) == 6:
			r.mac = [6]byte(b)
		case ad.Type() == attrPort && len(b) == 2:
			r.port = binary.BigEndian.Uint16(b)
		}
	}
	return r, ad.Err() == nil && r.addr.IsValid()
}

func (f *fdb) set(link int, r remote) error {
	attributes := []mdl.Attribute{{Type: attrLinkAddr, Data: r.mac[:]}, {Type: attrDst, Data: r.addr.AsSlice()}}
	if r.port != 0 {
		attributes = append(attributes, mdl.Attribute{Type: attrPort, Data: binary.BigEndian.AppendUint16(nil, r.port)})
	}
	return f.send(unix.RTM_NEWNEIGH, mdl.Create|mdl.Replace, link, attributes)
}

func (f *fdb) del(link int, r remote) error {
	return f.send(unix.RTM_DELNEIGH, 0, link, []mdl.Attribute{{Type: attrLinkAddr, Data: r.mac[:]}})
}

func (f *fdb) send(kind mdl.HeaderType, flags mdl.HeaderFlags, link int, attributes []mdl.Attribute) error {
	data, err := mdl.MarshalAttributes(attributes)
	if err != nil {
		return fmt.Errorf("forwarding entry: %w: %w", errs.Internal, err)
	}
	_, err = f.conn.Execute(mdl.Message{
		Header: mdl.Header{Type: kind, Flags: mdl.Request | mdl.Acknowledge | flags}, Data: append(header(link), data...),
	})
	if err != nil {
		return fmt.Errorf("forwarding entry of %s: %w: %w", net.HardwareAddr(attributes[0].Data), errs.Unavailable, err)
	}
	return nil
}
