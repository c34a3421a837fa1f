package sim

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers everything with itself.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

type talker struct {
	t *testing.T
	net.Conn
}

func (r *relay) dial(t *testing.T) talker {
	t.Helper()
	c, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return talker{t, c}
}

func (c talker) say(word string) {
	c.t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		c.t.Fatal(err)
	}
}

// hears reads for a while, or until as much as want is there.
func (c talker) hears(want string, within time.Duration) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	got := make([]byte, max(1, len(want)))
	n, err := io.ReadFull(c, got)
	if string(got[:n]) != want || want == "" && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("heard %q and %v, want %q", got[:n], err, want)
	}
}

// TestARelayThatIsCut passes nothing, loses nothing, and says nothing of it.
func TestARelayThatIsCut(t *testing.T) {
	r := newRelay("127.0.0.1:0", echo(t))
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	const long, short = 10 * time.Second, 50 * time.Millisecond
	old := r.dial(t)
	old.say("one")
	old.hears("one", long)
	r.cut()
	r.cut()
	old.say("two")
	fresh := r.dial(t)
	fresh.say("three")
	old.hears("", short)
	fresh.hears("", short)
	r.heal()
	r.heal()
	old.hears("two", long)
	fresh.hears("three", long)
	_ = fresh.Close()
	old.say("four")
	old.hears("four", long)
	r.cut()
	r.stop() // ends what is held, too
	_ = old.SetReadDeadline(time.Now().Add(long))
	if n, err := old.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the stop: %d bytes, %v", n, err)
	}
}
