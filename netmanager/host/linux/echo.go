package linux

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"oakestra/pkg/errs"
)

// maxEchoes is how many answers wait for the reader; more are lost, and asked
// for again.
const maxEchoes = 1024

// echo asks by ICMP (RFC 792). The kernel of the other worker answers, so what
// is heard is the data plane alone: the tunnel there and back.
type echo struct {
	in      func(func() error) error
	answers chan netip.Addr
	key     [10]byte // id and data of our requests: others send echoes, too

	mu   sync.Mutex
	conn net.PacketConn
	seq  uint16
}

func newEcho(in func(func() error) error) *echo {
	e := &echo{in: in, answers: make(chan netip.Addr, maxEchoes)}
	_, _ = rand.Read(e.key[:]) // never fails
	return e
}

func (e *echo) run(ctx context.Context) error {
	var conn net.PacketConn
	err := e.in(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
		if err == nil {
			err = onlyReplies(conn)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open a socket for echoes: %w: %w", errs.Unavailable, err)
	}
	e.mu.Lock()
	e.conn = conn
	e.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		e.mu.Lock()
		e.conn = nil
		e.mu.Unlock()
		if stop() {
			_ = conn.Close()
		}
	}()
	buf := make([]byte, 128)
	for {
		n, from, err := conn.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("echoes: %w: %w", errs.Unavailable, err)
		case err != nil:
			continue // of one packet
		}
		e.take(buf[:n], from)
	}
}

// onlyReplies has the kernel keep all other ICMP messages from the socket.
func onlyReplies(conn net.PacketConn) error {
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		const solRaw, icmpFilter = 255, 1 // linux/icmp.h
		inner = unix.SetsockoptInt(int(fd), solRaw, icmpFilter, int(^uint32(1<<uint(ipv4.ICMPTypeEchoReply))))
	})
	return errors.Join(err, inner)
}

func (e *echo) take(packet []byte, from net.Addr) {
	m, err := icmp.ParseMessage(1, packet)
	if err != nil {
		return
	}
	body, ok := m.Body.(*icmp.Echo)
	if !ok || body.ID != e.id() || string(body.Data) != string(e.key[2:]) {
		return
	}
	a, ok := from.(*net.IPAddr)
	if !ok {
		return
	}
	if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
		select {
		case e.answers <- ip:
		default:
		}
	}
}

func (e *echo) id() int { return int(binary.BigEndian.Uint16(e.key[:2])) }

// ask sends to each. What cannot be sent is not answered.
func (e *echo) ask(to []netip.Addr) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return fmt.Errorf("echoes are not served: %w", errs.Unavailable)
	}
	e.seq++
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: e.id(), Seq: int(e.seq), Data: e.key[2:]}}
	packet, err := m.Marshal(nil)
	if err != nil {
		return fmt.Errorf("echo: %w: %w", errs.Internal, err)
	}
	for _, a := range to {
		_, _ = e.conn.WriteTo(packet, &net.IPAddr{IP: a.AsSlice()})
	}
	return nil
}
