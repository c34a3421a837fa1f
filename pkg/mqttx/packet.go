package mqttx

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"oakestra/pkg/errs"
)

// Types of packets, in the upper half of the first byte.
const (
	typeConnect    = 1
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typeSubscribe  = 8
	typeSuback     = 9
	typePingreq    = 12
	typeDisconnect = 14
)

// maxPacket bounds what a broker may send in one packet.
const maxPacket = 16 << 20

// packet is one packet without its length.
type packet struct {
	head byte
	body []byte
}

func (p packet) kind() byte { return p.head >> 4 }

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendHead writes the first byte and the length of what follows.
func appendHead(b []byte, head byte, length int) []byte {
	b = append(b, head)
	for {
		digit := byte(length % 128)
		if length /= 128; length > 0 {
			b = append(b, digit|0x80)
			continue
		}
		return append(b, digit)
	}
}

func readPacket(r *bufio.Reader) (packet, error) {
	head, err := r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, shift := 0, 0
	for {
		digit, err := r.ReadByte()
		if err != nil {
			return packet{}, err
		}
		length |= int(digit&0x7f) << shift
		if digit&0x80 == 0 {
			break
		}
		if shift += 7; shift > 21 {
			return packet{}, fmt.Errorf("length of a packet: %w", errs.Invalid)
		}
	}
	if length > maxPacket {
		return packet{}, fmt.Errorf("packet of %d bytes: %w", length, errs.Invalid)
	}
	p := packet{head, make([]byte, length)}
	_, err = io.ReadFull(r, p.body)
	return p, err
}

// message reads a PUBLISH.
func (p packet) message() (m Message, id uint16, err error) {
	b := p.body
	short := fmt.Errorf("publish is cut off: %w", errs.Invalid)
	if len(b) < 2 {
		return m, 0, short
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < n {
		return m, 0, short
	}
	m.Topic, b = string(b[:n]), b[n:]
	if p.head&0x06 != 0 {
		if len(b) < 2 {
			return m, 0, short
		}
		id, b = binary.BigEndian.Uint16(b), b[2:]
	}
	m.Payload = b
	return m, id, nil
}
