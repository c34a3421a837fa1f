package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"oakestra/pkg/errs"
)

const (
	// Stall is how long one who reads may take nothing before it is cut.
	Stall = 5 * time.Minute
	// maxMessage bounds what one message may hold.
	maxMessage = 64 << 10
	// maxRefusal bounds the body of a refused handshake.
	maxRefusal = 16 << 10
)

// Socket is a Conn over a WebSocket.
type Socket struct {
	c       *websocket.Conn
	line    net.Conn     // below it, nil when not known
	sending atomic.Int32 // calls of Send
}

var _ Conn = (*Socket)(nil)

// Accept turns a request into a Socket. origins are the pages that may ask, nil
// for all: who asks has shown a secret that no browser sends by itself. On an
// error the request is answered.
func Accept(w http.ResponseWriter, r *http.Request, origins []string) (*Socket, error) {
	taken := &hijacked{ResponseWriter: w}
	c, err := websocket.Accept(taken, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}, InsecureSkipVerify: len(origins) == 0,
		OriginPatterns: origins, OnPingReceived: unanswered})
	if err != nil {
		return nil, fmt.Errorf("open a session: %w: %w", err, errs.Invalid)
	}
	return newSocket(c, taken.line), nil
}

// Dial opens a session at a URL. An answer that is no session becomes an error
// with the class of its status and its "message".
func Dial(ctx context.Context, url string, header http.Header, client *http.Client) (*Socket, error) {
	var line net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { line = i.Conn }})
	c, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: []string{Subprotocol}, OnPingReceived: unanswered})
	if err != nil {
		if resp != nil && resp.Body != nil {
			defer resp.Body.Close()
		}
		return nil, refusal(resp, err)
	}
	return newSocket(c, line), nil
}

func newSocket(c *websocket.Conn, line net.Conn) *Socket {
	c.SetReadLimit(maxMessage)
	s := &Socket{c: c, line: beneath(line)}
	s.prepare()
	return s
}

// unanswered leaves a ping without a pong. A pong waits until what is being sent
// has gone, and the library breaks the connection when that takes 5 s; one who
// is slow to read is not broken off for it. Nobody waits for our pongs.
func unanswered(context.Context, []byte) bool { return false }

// hijacked remembers the connection that is taken over.
type hijacked struct {
	http.ResponseWriter
	line net.Conn
}

// Hijack is http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, b, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.line = c
	return c, b, err
}

// WriteHeaderNow sends the header of writers that put that off.
func (h *hijacked) WriteHeaderNow() {
	if w, ok := h.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		w.WriteHeaderNow()
	}
}

// Refused is a handshake that was answered with a status.
type Refused struct {
	Status  int
	Message string
}

// Error is the message of the answer.
func (r *Refused) Error() string {
	if r.Message == "" {
		return http.StatusText(r.Status)
	}
	return r.Message
}

func refusal(resp *http.Response, err error) error {
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("open a session: %w: %w", err, errs.Unavailable)
	}
	r := &Refused{Status: resp.StatusCode}
	if resp.Body != nil {
		var body struct {
			Message string `json:"message"`
		}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		_ = json.Unmarshal(text, &body) // a proxy's page stays a bare status
		r.Message = body.Message
	}
	return r
}

// Send writes one message, and gives up a reader that stalls.
func (s *Socket) Send(ctx context.Context, f Frame) error {
	s.sending.Add(1)
	defer s.sending.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, Stall)
	defer cancel()
	return s.c.Write(ctx, websocket.MessageBinary, f.Encode())
}

// Recv reads one message. io.EOF: the other side has closed as it should.
func (s *Socket) Recv(ctx context.Context) (Frame, error) {
	kind, b, err := s.c.Read(ctx)
	switch {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return Frame{}, io.EOF
	case err != nil:
		return Frame{}, err
	case kind != websocket.MessageBinary:
		return Frame{}, errors.Join(errs.Invalid, errors.New("a session has binary messages only"))
	}
	return Decode(b)
}

// Finish says good-bye and waits for the answer for some seconds. What a slow
// reader has not taken by then still reaches it.
func (s *Socket) Finish() {
	s.linger(-1)
	_ = s.c.Close(websocket.StatusNormalClosure, "")
}

// Close cuts the connection; what was not taken yet is lost.
func (s *Socket) Close() { _ = s.c.CloseNow() }
