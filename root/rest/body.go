package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
)

const (
	// maxBody bounds what a request may send, in bytes.
	maxBody = 1 << 20
	// smallBody is what nobody has to wait for, and all that callers may send
	// who have not logged in.
	smallBody = 64 << 10
	// firstPiece of a body is read without asking: most end within it.
	firstPiece = 4 << 10
	// smallAtOnce bounds the bodies of more than that which are held at a time,
	// those of users and, apart from them, those of strangers: slow senders
	// hold what they have sent.
	smallAtOnce, strangersAtOnce = 128, 32
	// largeAtOnce bounds the greater bodies that are held at a time: read into
	// values one takes ten times its size.
	largeAtOnce = 2
	// turnWait is how long one waits for its turn.
	turnWait = 10 * time.Second
	// bodyTime is how long a body may take. Without it a few sockets that send
	// a byte a second stay for ever.
	bodyTime = 30 * time.Second
)

// keyTurns is where a request keeps the turns it has.
const keyTurns = "oakestra.turns"

// turns are the places for bodies that are held.
type turns struct{ strangers, small, large chan struct{} }

func newTurns() turns {
	return turns{make(chan struct{}, strangersAtOnce), make(chan struct{}, smallAtOnce), make(chan struct{}, largeAtOnce)}
}

// limitBody bounds size and time of a body. The server itself lifts the
// deadline at the next request; here it is lifted as soon as all was read, for
// else it would end handlers that take longer than their bodies.
func (a *api) limitBody(c *gin.Context) {
	if c.Request.ContentLength != 0 {
		rc := http.NewResponseController(c.Writer)
		_ = rc.SetReadDeadline(time.Now().Add(bodyTime)) // a recorder in a test has none
		c.Request.Body = &timed{http.MaxBytesReader(c.Writer, c.Request.Body, maxBody), rc}
	}
	defer func() {
		held, _ := c.Get(keyTurns)
		list, _ := held.([]chan struct{})
		for _, place := range list {
			<-place
		}
	}()
	c.Next()
}

// timed lifts the deadline when its body has ended.
type timed struct {
	io.ReadCloser
	rc *http.ResponseController
}

// Read reads the body.
func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = t.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// readBody reads everything; its error has a class. What waits for a turn is
// not held, but for its first piece.
func (a *api) readBody(c *gin.Context) ([]byte, error) {
	_, known := identity(c)
	if !known && c.Request.ContentLength > smallBody {
		return nil, unreadable(&http.MaxBytesError{Limit: smallBody})
	}
	var raw bytes.Buffer
	for _, part := range a.parts(c, known) {
		if part.turn != nil {
			if err := a.turn(c, part.turn); err != nil {
				return nil, err
			}
			if n := int(c.Request.ContentLength); n < part.upTo { // else it grows as it comes
				raw.Grow(max(n-raw.Len(), 0) + bytes.MinRead)
			}
		}
		_, err := io.CopyN(&raw, c.Request.Body, int64(part.upTo-raw.Len()))
		switch {
		case errors.Is(err, io.EOF):
			return raw.Bytes(), nil
		case err != nil:
			return nil, unreadable(err)
		}
	}
	return nil, unreadable(&http.MaxBytesError{Limit: int64(raw.Len() - 1)})
}

func unreadable(why error) error { return fmt.Errorf("read body: %w", errors.Join(errNoJSON, why)) }

// part is how far a body is read, once it has its turn.
type part struct {
	turn chan struct{} // nil: at once
	upTo int
}

// parts of a body: a longer one than the last ends in is refused. One that
// says it is large waits before anything of it is read.
func (a *api) parts(c *gin.Context, known bool) []part {
	small, large := part{a.small, smallBody + 1}, part{a.large, maxBody + 1}
	switch {
	case !known:
		return []part{{nil, firstPiece}, {a.strangers, smallBody + 1}}
	case c.Request.ContentLength > smallBody:
		return []part{large}
	}
	return []part{{nil, firstPiece}, small, large}
}

// turn waits until a body may be held; limitBody ends it.
func (a *api) turn(c *gin.Context, place chan struct{}) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), turnWait)
	defer cancel()
	select {
	case place <- struct{}{}:
		held, _ := c.Get(keyTurns)
		list, _ := held.([]chan struct{})
		c.Set(keyTurns, append(list, place))
		return nil
	case <-ctx.Done():
		return inClass(errs.Unavailable, "others are sending bodies of more than %d KiB, try again", firstPiece>>10)
	}
}
