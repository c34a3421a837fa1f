package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
type Socket struct{ c *websocket.Conn }

var _ Conn = (*Socket)(nil)

// Accept turns a request into a Socket. origins are the pages that may ask, nil
// for all: who asks has shown a secret that no browser sends by itself. On an
// error the request is answered.
func Accept(w http.ResponseWriter, r *http.Request, origins []string) (*Socket, error) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}, InsecureSkipVerify: len(origins) == 0, OriginPatterns: origins})
	if err != nil {
		return nil, fmt.Errorf("open a session: %w: %w", err, errs.Invalid)
	}
	return newSocket(c), nil
}

// Dial opens a session at a URL. An answer that is no session becomes an error
// with the class of its status and its "message".
func Dial(ctx context.Context, url string, header http.Header, client *http.Client) (*Socket, error) {
	c, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: []string{Subprotocol}})
	if err != nil {
		if resp != nil && resp.Body != nil {
			defer resp.Body.Close()
		}
		return nil, refusal(resp, err)
	}
	return newSocket(c), nil
}

func newSocket(c *websocket.Conn) *Socket {
	c.SetReadLimit(maxMessage)
	return &Socket{c}
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

// Finish says good-bye and waits for the answer for some seconds.
func (s *Socket) Finish() { _ = s.c.Close(websocket.StatusNormalClosure, "") }

// Close cuts the connection.
func (s *Socket) Close() { _ = s.c.CloseNow() }

// watchEvery is how often Watch sends.
const watchEvery = 20 * time.Second

// Watch calls gone when the other side is found to be away, until ctx ends: who
// waits for room to pass on what it has received does not read, and would not
// notice. One that is there but slow is left alone.
func (s *Socket) Watch(ctx context.Context, gone func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A context that ends within a write closes the connection, and somebody
		// may still have a last word.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), Stall)
		err := s.c.Ping(limit)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			gone()
			return
		}
	}
}
