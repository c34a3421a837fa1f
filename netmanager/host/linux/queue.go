package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/pkg/errs"
)

// Numbers of linux/netfilter/nfnetlink_queue.h that package unix lacks.
const (
	subsysQueue      = 3
	attrPacketHeader = 1
	attrVerdict      = 2
	attrMark         = 3
	attrPayload      = 10
	msgPacket        = 0
	msgVerdict       = 1
	msgConfig        = 2
	cfgCommand       = 1
	cfgParams        = 2
	cfgMaxLen        = 3
	cfgMask          = 4
	cfgFlags         = 5
	commandBind      = 1
	copyPacket       = 2
	flagFailOpen     = 1
	verdictDrop      = 0
	verdictAccept    = 1
	queueBuffer      = 1 << 20
)

// queue is one NFQUEUE.
type queue struct {
	conn   *mdl.Conn
	number uint16
}

func openQueue(ns int, number uint16) (*queue, error) {
	conn, err := mdl.Dial(unix.NETLINK_NETFILTER, &mdl.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("open queue %d: %w: %w", number, errs.Unavailable, err)
	}
	q := &queue{conn: conn, number: number}
	if err := q.bind(); err != nil {
		err = fmt.Errorf("bind queue %d (is another NetManager running?): %w: %w", number, errs.Unavailable, err)
		return nil, errors.Join(err, conn.Close())
	}
	return q, nil
}

func (q *queue) bind() error {
	if err := q.conn.SetReadBuffer(queueBuffer); err != nil {
		return err
	}
	if err := q.conn.SetOption(mdl.NoENOBUFS, true); err != nil {
		return err
	}
	params := append(binary.BigEndian.AppendUint32(nil, copyBytes), copyPacket)
	number := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for _, attributes := range [][]mdl.Attribute{
		{{Type: cfgCommand, Data: []byte{commandBind, 0, 0, unix.AF_INET}}},
		{{Type: cfgParams, Data: params}},
		{{Type: cfgMaxLen, Data: number(maxQueued)}, {Type: cfgMask, Data: number(flagFailOpen)}, {Type: cfgFlags, Data: number(flagFailOpen)}},
	} {
		m, err := q.message(msgConfig, mdl.Request|mdl.Acknowledge, attributes)
		if err != nil {
			return err
		}
		if _, err := q.conn.Execute(m); err != nil {
			return err
		}
	}
	return nil
}

func (q *queue) message(kind uint16, flags mdl.HeaderFlags, attributes []mdl.Attribute) (mdl.Message, error) {
	data, err := mdl.MarshalAttributes(attributes)
	if err != nil {
		return mdl.Message{}, err
	}
	header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, 0}, q.number)
	return mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(subsysQueue<<8 | kind), Flags: flags}, Data: append(header, data...)}, nil
}

func (q *queue) receive() ([]packet, error) {
	messages, err := q.conn.Receive()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var packets []packet
	for _, m := range messages {
		if m.Header.Type != subsysQueue<<8|msgPacket {
			continue
		}
		if p, ok := parsePacket(m.Data, now); ok {
			packets = append(packets, p)
		}
	}
	return packets, nil
}

func (q *queue) verdict(p packet, verdict uint32) error {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, verdict), p.id)
	m, err := q.message(msgVerdict, mdl.Request, []mdl.Attribute{
		{Type: attrVerdict, Data: head},
		{Type: attrMark, Data: binary.BigEndian.AppendUint32(nil, p.onward())},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errs.Internal, err)
	}
	if _, err := q.conn.Send(m); err != nil {
		return fmt.Errorf("%w: %w", errs.Unavailable, err)
	}
	return nil
}

// interrupt ends a receive; errors mean that the socket is closed already.
func (q *queue) interrupt() { _ = q.conn.SetReadDeadline(time.Unix(1, 0)) }

func (q *queue) close() { _ = q.conn.Close() }
