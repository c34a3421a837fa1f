package httpx

import (
	"encoding/binary"
	"errors"
	"net"
	"time"
)

// A client of gRPC opens few streams and keeps them. One that opens them and
// takes them back as fast as it can (CVE-2023-44487) costs the server far more
// than itself, and is cut: it may send this many frames that open, reset or
// configure at once, and then so many a second.
const (
	frameBurst = 96
	frameRate  = 24
)

var errFlood = errors.New("more streams of HTTP/2 than a client has use for")

// Types of frames (RFC 9113, 6) that are counted, and the size of what stands
// before each.
const (
	frameHeaders   = 1
	framePriority  = 2
	frameReset     = 3
	frameSettings  = 4
	frameHeadSize  = 9
	clientPreface  = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frameContinued = 9
)

// meteredConn ends when its client sends too many such frames.
type meteredConn struct {
	net.Conn
	meter frameMeter
}

func newMeteredConn(c net.Conn) *meteredConn {
	return &meteredConn{Conn: c, meter: frameMeter{skip: clientPreface, left: frameBurst, at: time.Now()}}
}

// Read reads and counts.
func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.meter.count(p[:n], time.Now()) {
		_ = c.Close()
		return 0, errFlood
	}
	return n, err
}

// frameMeter follows the frames in a stream of bytes, however it is cut.
type frameMeter struct {
	skip int // bytes until the next head
	head [frameHeadSize]byte
	have int // bytes of head
	left float64
	at   time.Time
}

// count says whether the client may go on.
func (m *frameMeter) count(b []byte, now time.Time) bool {
	m.left = min(frameBurst, m.left+now.Sub(m.at).Seconds()*frameRate)
	m.at = now
	for len(b) > 0 {
		if m.skip > 0 {
			n := min(m.skip, len(b))
			m.skip, b = m.skip-n, b[n:]
			continue
		}
		n := copy(m.head[m.have:], b)
		m.have, b = m.have+n, b[n:]
		if m.have < frameHeadSize {
			return true
		}
		m.have, m.skip = 0, int(binary.BigEndian.Uint32(m.head[:4])>>8)
		switch m.head[3] {
		case frameHeaders, framePriority, frameReset, frameSettings, frameContinued:
			if m.left--; m.left < 0 {
				return false
			}
		}
	}
	return true
}
