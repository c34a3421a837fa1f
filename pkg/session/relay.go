package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// Conn is one side of a session. Send and Recv may run at once, each in one
// goroutine at a time. Send returns when the other side has room for more.
type Conn interface {
	Send(ctx context.Context, f Frame) error
	// Recv waits for the next frame; its Data is good until the next call.
	Recv(ctx context.Context) (Frame, error)
}

// NewID is an id that nobody can guess: 128 random bits.
func NewID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Sides of a Relay that can fail.
var (
	errUp   = errors.New("the asking side is gone")
	errDown = errors.New("the answering side is gone")
)

// Relay copies what up (who asked) and down (who answers) send until down has
// sent End, or one of them is gone. It returns nil after End, and an error of
// which UpGone tells whose it was. What still waits in the other's Recv ends
// with the context of the caller.
func Relay(ctx context.Context, up, down Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- pump(ctx, up, down, errUp, errDown) }()
	go func() { ended <- pump(ctx, down, up, errDown, errUp) }()
	return <-ended
}

// pump copies one way until End.
func pump(ctx context.Context, to, from Conn, toGone, fromGone error) error {
	for {
		f, err := from.Recv(ctx)
		if err != nil {
			return errors.Join(fromGone, err)
		}
		if err := to.Send(ctx, f); err != nil {
			return errors.Join(toGone, err)
		}
		if f.Kind == End {
			return nil
		}
	}
}

// UpGone says that a Relay ended since who asked is gone.
func UpGone(err error) bool { return errors.Is(err, errUp) }
