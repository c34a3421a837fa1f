package httpx

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func frame(kind byte, size int) string {
	return string([]byte{byte(size >> 16), byte(size >> 8), byte(size), kind, 0, 0, 0, 0, 1}) + strings.Repeat("\x01", size)
}

const h2preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// However the bytes are cut, the same frames are counted.
func TestFramesAreCountedInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.ByteRange(0, 10), 0, frameBurst).Draw(t, "kinds")
		text, want := h2preface, 0
		for _, k := range kinds {
			text += frame(k, rapid.IntRange(0, 70_000).Draw(t, "size"))
			if k >= 1 && k <= 4 || k == 9 {
				want++
			}
		}
		m := frameMeter{skip: clientPreface, left: frameBurst}
		for b := []byte(text); len(b) > 0; {
			n := rapid.IntRange(1, min(len(b), 1<<15)).Draw(t, "n")
			if !m.count(b[:n], m.at) {
				t.Fatal("cut")
			}
			b = b[n:]
		}
		if got := frameBurst - int(m.left); got != want {
			t.Fatalf("%d were counted, %d were sent", got, want)
		}
	})
}

func TestAClientThatOpensAndResetsIsCut(t *testing.T) {
	for _, c := range []struct {
		name  string
		piece string
		every time.Duration
		cut   bool
	}{
		{"at once", frame(1, 40) + frame(3, 4), 0, true},
		{"100 times a second", frame(1, 40) + frame(3, 4), 10 * time.Millisecond, true},
		{"10 times a second", frame(1, 40) + frame(3, 4), 100 * time.Millisecond, false},
		{"data, as fast as can be", frame(0, 1<<14) + frame(8, 4) + frame(6, 8), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer client.Close()
					_, err := io.WriteString(client, h2preface)
					for i := 0; i < 1000 && err == nil; i++ {
						time.Sleep(c.every)
						_, err = io.WriteString(client, c.piece)
					}
				}()
				_, err := io.Copy(io.Discard, newMeteredConn(server))
				if errors.Is(err, errFlood) != c.cut {
					t.Errorf("ended with %v", err)
				}
				_ = server.Close()
				<-ended
			})
		})
	}
}
