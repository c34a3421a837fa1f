package rest

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Backup writes a consistent copy of the store.
type Backup func(ctx context.Context, w io.Writer) (int64, error)

const trailerSum = "X-Checksum-Sha256"

// patient gives every write its own deadline: a reader that has stopped does
// not hold the snapshot.
type patient struct {
	w       io.Writer
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(sendWait)) // recorders of tests have none
	return p.w.Write(b)
}
