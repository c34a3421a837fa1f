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
	// largeAtOnce bounds the greater bodies that are held at a time: read into
	// values one takes ten times its size.
	largeAtOnce = 2
	// largeWait is how long one waits for its turn.
	largeWait = 10 * time.Second
	// bodyTime is how long a body may take. Without it a few sockets that send
	// a byte a second stay for ever.
	bodyTime = 30 * time.Second
)

// keyTurn is where a request keeps that it has one of the turns.
const keyTurn = "oakestra.turn"

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
		if c.GetBool(keyTurn) {
			<-a.large
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

// readBody reads everything; its error has a class.
func (a *api) readBody(c *gin.Context) ([]byte, error) {
	var raw bytes.Buffer
	_, err := io.CopyN(&raw, c.Request.Body, smallBody+1)
	switch {
	case errors.Is(err, io.EOF):
		return raw.Bytes(), nil
	case err == nil:
		if _, known := identity(c); !known {
			return nil, fmt.Errorf("read body: %w", errors.Join(errNoJSON, &http.MaxBytesError{Limit: smallBody}))
		}
		if err := a.turn(c); err != nil {
			return nil, err
		}
		_, err = io.Copy(&raw, c.Request.Body)
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", errors.Join(errNoJSON, err))
	}
	return raw.Bytes(), nil
}

// turn waits until a large body may be held; limitBody ends it.
func (a *api) turn(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), largeWait)
	defer cancel()
	select {
	case a.large <- struct{}{}:
		c.Set(keyTurn, true)
		return nil
	case <-ctx.Done():
		return inClass(errs.Unavailable, "others are sending bodies of more than %d KiB, try again", smallBody>>10)
	}
}
