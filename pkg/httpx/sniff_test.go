package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// sniffed runs one connection through sniff in virtual time and says which
// side got it, if any, and how long that took.
func sniffed(t *testing.T, ctx context.Context, speak func(client net.Conn)) (side string, took time.Duration) {
	t.Helper()
	client, server := net.Pipe()
	spoken := make(chan struct{})
	web, links := newSideListener(server.LocalAddr()), newSideListener(server.LocalAddr())
	got := make(chan string, 2)
	take := func(name string, l *sideListener) {
		if c, err := l.Accept(); err == nil {
			got <- name
			_ = c.Close()
		}
	}
	go take("web", web)
	go take("links", links)
	go func() { defer close(spoken); speak(client) }()
	began := time.Now()
	sniff(ctx, server, web, links)
	took = time.Since(began)
	synctest.Wait()
	select {
	case side = <-got:
	default:
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection that nobody got is still open: %v", err)
		}
	}
	_ = web.Close()
	_ = links.Close()
	_ = client.Close()
	<-spoken
	return side, took
}

// One byte a second is the slow way to hold a server's connections: the
// deadline counts from the start, not from the last byte.
func TestTheFirstBytesMustComeInTime(t *testing.T) {
	slowly := func(text string, pause time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			for _, b := range []byte(text) {
				time.Sleep(pause)
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		name  string
		speak func(net.Conn)
		side  string
		took  time.Duration
	}{
		{"silence", func(net.Conn) {}, "", peekTimeout},
		{"too slow", slowly("GET / HTTP/1.1\r\n", 2*time.Second), "", peekTimeout},
		{"HTTP/1.1, slow but in time", slowly("GET ", time.Second), "web", 4 * time.Second},
		{"HTTP/2, slow but in time", slowly("PRI ", time.Second), "links", 4 * time.Second},
		{"almost the preface", slowly("PRIX", 0), "web", 0},
		{"closed after three bytes", func(c net.Conn) { _, _ = c.Write([]byte("PRI")); _ = c.Close() }, "closed", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.side == "closed" {
					client, server := net.Pipe()
					go c.speak(client)
					web := newSideListener(server.LocalAddr())
					sniff(t.Context(), server, web, web) // a delivery would hang
					return
				}
				side, took := sniffed(t, t.Context(), c.speak)
				if side != c.side || took != c.took {
					t.Errorf("went to %q after %s, want %q after %s", side, took, c.side, c.took)
				}
			})
		})
	}
}

// Once decided, the deadline of the peek is gone: a stream may be silent.
func TestTheDeadlineEndsWithThePeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		web := newSideListener(server.LocalAddr())
		go func() {
			_, _ = io.WriteString(client, "GET ")
			time.Sleep(10 * peekTimeout)
			_, _ = io.WriteString(client, "later")
			_ = client.Close()
		}()
		go sniff(t.Context(), server, web, web)
		c, err := web.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if over, ok := c.(interface{ NetConn() net.Conn }); !ok || over.NetConn() != server {
			t.Error("it hides the connection that the kernel knows")
		}
		if got, err := io.ReadAll(c); string(got) != "GET later" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

func TestStoppingCutsSilentConnectionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if side, took := sniffed(t, ctx, func(net.Conn) {}); side != "" || took != time.Second {
			t.Errorf("went to %q after %s", side, took)
		}
	})
}
