package mqttx

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"oakestra/pkg/errs"
)

// Options of a connection. Address and ClientID are needed.
type Options struct {
	Address   string // host:port
	ClientID  string
	Local     net.Addr      // to connect from, nil for any
	KeepAlive time.Duration // the caller publishes or pings that often; 0: never cut for silence
	WillTopic string        // "" for no will
	Will      []byte
	Timeout   time.Duration // of the handshakes and of one write; default 5 s
}

// Message is what a subscription delivers.
type Message struct {
	Topic   string
	Payload []byte
}

// Conn is a connection with a clean session. Next and Subscribe belong to one
// goroutine; Publish, Ping and Close may be called from any.
type Conn struct {
	net     net.Conn
	reader  *bufio.Reader
	timeout time.Duration

	mu     sync.Mutex // of writing
	buffer []byte
	id     uint16
}

// Dial connects and waits for the broker's consent. Errors: errs.Unavailable
// when there is no broker, errs.Forbidden when it refuses.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	d := net.Dialer{Timeout: o.Timeout, LocalAddr: o.Local}
	raw, err := d.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w: %w", err, errs.Unavailable)
	}
	c := &Conn{net: raw, reader: bufio.NewReaderSize(raw, 512), timeout: o.Timeout}
	if err := c.greet(o); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) greet(o Options) error {
	flags, payload := byte(0x02), appendText(nil, o.ClientID) // clean session
	if o.WillTopic != "" {
		flags |= 0x04 | 0x08 // at QoS 1
		payload = appendText(appendText(payload, o.WillTopic), string(o.Will))
	}
	body := append(appendText(nil, "MQTT"), 4, flags)
	body = binary.BigEndian.AppendUint16(body, uint16(min(o.KeepAlive/time.Second, 65535)))
	body = append(body, payload...)
	if err := c.write(append(appendHead(nil, typeConnect<<4, len(body)), body...)); err != nil {
		return err
	}
	p, err := c.answer(typeConnack)
	if err != nil {
		return err
	}
	if len(p.body) < 2 || p.body[1] != 0 {
		return fmt.Errorf("the broker refuses client %s with code %v: %w", o.ClientID, p.body, errs.Forbidden)
	}
	return nil
}

// answer reads one packet that must come next.
func (c *Conn) answer(kind byte) (packet, error) {
	_ = c.net.SetReadDeadline(time.Now().Add(c.timeout))
	defer func() { _ = c.net.SetReadDeadline(time.Time{}) }()
	p, err := readPacket(c.reader)
	if err != nil {
		return p, fmt.Errorf("the broker does not answer: %w: %w", err, errs.Unavailable)
	}
	if p.kind() != kind {
		return p, fmt.Errorf("packet of type %d instead of %d: %w", p.kind(), kind, errs.Invalid)
	}
	return p, nil
}

// Subscribe asks for topics at QoS 1. Call it once, before Next. Error:
// errs.Forbidden when the broker refuses one.
func (c *Conn) Subscribe(filters ...string) error {
	body := []byte{0, 1}
	for _, f := range filters {
		body = append(appendText(body, f), 1)
	}
	if err := c.write(append(appendHead(nil, typeSubscribe<<4|2, len(body)), body...)); err != nil {
		return err
	}
	p, err := c.answer(typeSuback)
	if err != nil {
		return err
	}
	for i, code := range p.body[min(2, len(p.body)):] {
		if code == 0x80 && i < len(filters) {
			return fmt.Errorf("subscribe to %s: %w", filters[i], errs.Forbidden)
		}
	}
	return nil
}

// Next waits for a message. Messages at QoS 1 are acknowledged before it
// returns them.
func (c *Conn) Next() (Message, error) {
	for {
		p, err := readPacket(c.reader)
		if err != nil {
			return Message{}, fmt.Errorf("connection lost: %w: %w", err, errs.Unavailable)
		}
		if p.kind() != typePublish {
			continue // an acknowledgement: nothing is sent again
		}
		m, id, err := p.message()
		if err == nil && id != 0 {
			err = c.write([]byte{typePuback << 4, 2, byte(id >> 8), byte(id)})
		}
		return m, err
	}
}

// Publish writes a message at QoS 0 or 1 and does not wait for the broker.
func (c *Conn) Publish(topic string, payload []byte, qos byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	length := 2 + len(topic) + len(payload)
	if qos > 0 {
		length += 2
	}
	b := appendText(appendHead(c.buffer[:0], typePublish<<4|qos<<1, length), topic)
	if qos > 0 {
		if c.id++; c.id == 0 {
			c.id = 1
		}
		b = binary.BigEndian.AppendUint16(b, c.id)
	}
	b = append(b, payload...)
	err := c.writeLocked(b)
	if c.buffer = b; cap(b) > 16<<10 {
		c.buffer = nil
	}
	return err
}

// Ping says that we are there.
func (c *Conn) Ping() error { return c.write([]byte{typePingreq << 4, 0}) }

// Close cuts the connection without a farewell: the broker sends the will.
func (c *Conn) Close() error { return c.net.Close() }

// Disconnect says farewell, so that no will is sent, and closes.
func (c *Conn) Disconnect() error {
	err := c.write([]byte{typeDisconnect << 4, 0})
	if e := c.net.Close(); err == nil {
		err = e
	}
	return err
}

func (c *Conn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(b)
}

func (c *Conn) writeLocked(b []byte) error {
	_ = c.net.SetWriteDeadline(time.Now().Add(c.timeout))
	if _, err := c.net.Write(b); err != nil {
		_ = c.net.Close() // half a packet may be out
		return fmt.Errorf("write to the broker: %w: %w", err, errs.Unavailable)
	}
	return nil
}
