package clusters

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	linkv1 "oakestra/api/link/v1"
)

// queueLength is how many messages may wait for a cluster. One that reads more
// slowly than this is cut off; it hears everything again when it returns.
const queueLength = 1024

// session is one Control stream. One goroutine writes; everybody else queues.
type session struct {
	out  chan *linkv1.Down
	cut  context.CancelCauseFunc
	once sync.Once
	over chan struct{}
}

func newSession(cut context.CancelCauseFunc) *session {
	return &session{out: make(chan *linkv1.Down, queueLength), cut: cut, over: make(chan struct{})}
}

// queue hands a message to the writer, or cuts a stream that does not read.
func (s *session) queue(m *linkv1.Down) bool {
	select {
	case <-s.over:
		return false
	default:
	}
	select {
	case s.out <- m:
		return true
	default:
		s.end(errSlow)
		return false
	}
}

// end cuts the stream, once.
func (s *session) end(why error) {
	s.once.Do(func() {
		close(s.over)
		s.cut(why)
	})
}

// write sends what is queued until the stream ends.
func (s *session) write(ctx context.Context, stream grpc.BidiStreamingServer[linkv1.Up, linkv1.Down]) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m := <-s.out:
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}
