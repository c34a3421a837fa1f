package mqttx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/errs"
)

// peer is the broker's end of one connection, made of bytes.
type peer struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

// serve accepts one connection and hands it to fn.
func serve(t *testing.T, fn func(p peer)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fn(peer{c, bufio.NewReader(c), t})
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func (p peer) expect(kind byte) packet {
	v, err := readPacket(p.r)
	if err != nil || v.kind() != kind {
		p.t.Errorf("packet of type %d, %v; want %d", v.kind(), err, kind)
	}
	return v
}

func (p peer) say(b ...byte) { _, _ = p.Write(b) }

var consent = []byte{typeConnack << 4, 2, 0, 0}

// TestConversation: connect with a will, subscribe, publish at both levels,
// hear at both levels, acknowledge, leave.
func TestConversation(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 300) // a length of two bytes
	address := serve(t, func(p peer) {
		c := p.expect(typeConnect)
		if want := "\x00\x04MQTT\x04\x0e\x00\x0a\x00\x02me\x00\x01w\x00\x04gone"; string(c.body) != want {
			p.t.Errorf("connect %q, want %q", c.body, want)
		}
		p.say(consent...)
		if s := p.expect(typeSubscribe); string(s.body) != "\x00\x01\x00\x01a\x01\x00\x01b\x01" {
			p.t.Errorf("subscribe %q", s.body)
		}
		p.say(typeSuback<<4, 4, 0, 1, 1, 1)
		if m, id, err := p.expect(typePublish).message(); err != nil || id != 0 || m.Topic != "up" || !bytes.Equal(m.Payload, big) {
			p.t.Errorf("%q with id %d, %v", m.Topic, id, err)
		}
		if m, id, err := p.expect(typePublish).message(); err != nil || id != 1 || string(m.Payload) != "two" {
			p.t.Errorf("%q with id %d, %v", m.Payload, id, err)
		}
		p.expect(typePingreq)
		p.say(typePuback<<4, 2, 0, 1)
		p.say(typePingreq<<4|0x10, 0) // its answer
		p.say(typePublish<<4, 4, 0, 1, 'a', '0')
		p.say(typePublish<<4|2, 6, 0, 1, 'b', 0, 7, '1')
		if a := p.expect(typePuback); string(a.body) != "\x00\x07" {
			p.t.Errorf("acknowledged %q", a.body)
		}
		p.expect(typeDisconnect)
	})
	c, err := Dial(t.Context(), Options{Address: address, ClientID: "me", KeepAlive: 10 * time.Second, WillTopic: "w", Will: []byte("gone")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Publish("up", big, 0), c.Publish("up", []byte("two"), 1), c.Ping()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []Message{{"a", []byte("0")}, {"b", []byte("1")}} {
		if m, err := c.Next(); err != nil || m.Topic != want.Topic || !bytes.Equal(m.Payload, want.Payload) {
			t.Errorf("%+v, %v", m, err)
		}
	}
	if err := c.Disconnect(); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	address := serve(t, func(p peer) { p.expect(typeConnect); p.say(typeConnack<<4, 2, 0, 5) })
	if _, err := Dial(t.Context(), Options{Address: address, ClientID: "me"}); !errors.Is(err, errs.Forbidden) {
		t.Errorf("refused with %v", err)
	}
	address = serve(t, func(p peer) {
		p.expect(typeConnect)
		p.say(consent...)
		p.expect(typeSubscribe)
		p.say(typeSuback<<4, 4, 0, 1, 1, 0x80)
	})
	c, err := Dial(t.Context(), Options{Address: address, ClientID: "me"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe("mine", "yours"); !errors.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "yours") {
		t.Errorf("refused with %v", err)
	}
	if _, err := Dial(t.Context(), Options{Address: "127.0.0.1:1", ClientID: "me"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, Options{Address: address, ClientID: "me"}); err == nil {
		t.Error("dialled although it was over")
	}
}

// TestMute: a broker that accepts and says nothing ends a Dial by its timeout.
func TestMute(t *testing.T) {
	address := serve(t, func(p peer) { _, _ = io.Copy(io.Discard, p) })
	if _, err := Dial(t.Context(), Options{Address: address, ClientID: "me", Timeout: 50 * time.Millisecond}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("error %v", err)
	}
}

// FuzzReadPacket: nothing a broker sends makes the client panic or ask for
// more memory than allowed.
func FuzzReadPacket(f *testing.F) {
	f.Add([]byte{typePublish << 4, 4, 0, 1, 'a', '0'})
	f.Add([]byte{typePublish<<4 | 2, 3, 0, 1, 'b'})
	f.Add([]byte{typePublish << 4, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPacket(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		if m, _, err := p.message(); err == nil && len(m.Topic)+len(m.Payload) > len(b) {
			t.Errorf("%d bytes out of %d", len(m.Topic)+len(m.Payload), len(b))
		}
	})
}
