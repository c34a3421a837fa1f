package clusters

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "oakestra/api/link/v1"
)

// note is a message with a number.
func note(n int) *linkv1.Down {
	return &linkv1.Down{Body: &linkv1.Down_Heartbeat{Heartbeat: &linkv1.Heartbeat{Seq: uint64(n)}}}
}

func numbers(list []*linkv1.Down) (out string) {
	for _, m := range list {
		out += strconv.FormatUint(m.GetHeartbeat().GetSeq(), 10) + " "
	}
	return out
}

func TestWhatReplacesAWaitingMessageTakesItsPlace(t *testing.T) {
	s := newSession(func(error) {})
	s.queue(note(1))
	s.replace("k", note(2))
	s.queue(note(3))
	s.replace("k", note(4))
	s.replace("l", note(5))
	expect(t, "waiting", numbers(s.take()), "1 4 3 5 ")
	s.replace("k", note(6)) // what was taken cannot be replaced
	s.queue(note(7))
	expect(t, "after that", numbers(s.take()), "6 7 ")
	expect(t, "nothing", numbers(s.take()), "")
}

func TestAFullQueueEndsTheStream(t *testing.T) {
	var why []error
	s := newSession(func(err error) { why = append(why, err) })
	for i := range mostWaiting - 1 {
		if !s.queue(note(i)) {
			t.Fatalf("full at %d", i)
		}
	}
	for i := range 100 {
		if !s.replace("k", note(i)) {
			t.Fatal("what replaces a message needs no room")
		}
	}
	if len(why) != 0 || s.queue(note(0)) || len(why) != 1 || !errors.Is(why[0], errSlow) {
		t.Errorf("ended %v", why)
	}
	if s.queue(note(0)) || s.replace("k", note(0)) || len(s.take()) != 0 {
		t.Error("a stream that ended takes messages")
	}
	if s.end(errSilent); len(why) != 1 {
		t.Errorf("ended twice: %v", why)
	}
}

func TestTheWriterSendsInOrderUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cut := context.WithCancelCause(t.Context())
		s := newSession(cut)
		sent, ended := "", error(nil)
		go func() {
			ended = s.write(ctx, func(m *linkv1.Down) error { sent += numbers([]*linkv1.Down{m}); return nil })
		}()
		for i := range 3 {
			s.queue(note(i))
			s.replace("k", note(10+i))
			synctest.Wait()
			time.Sleep(time.Hour) // nothing to send is no reason to end
		}
		expect(t, "sent", sent, "0 10 1 11 2 12 ")
		s.end(errReplaced)
		if synctest.Wait(); !errors.Is(ended, errReplaced) {
			t.Errorf("ended %v", ended)
		}
	})
}

func TestAReaderMayBeSlowButNotStuck(t *testing.T) {
	for _, c := range []struct {
		takes time.Duration
		want  error
	}{{streamSilent - time.Second, nil}, {streamSilent + time.Second, errSlow}} {
		t.Run(fmt.Sprint(c.takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cut := context.WithCancelCause(t.Context())
				s := newSession(cut)
				done := make(chan error)
				go func() {
					done <- s.write(ctx, func(*linkv1.Down) error { time.Sleep(c.takes); return context.Cause(ctx) })
				}()
				for i := range 20 {
					s.queue(note(i))
				}
				time.Sleep(6 * time.Minute)
				if got := context.Cause(ctx); !errors.Is(got, c.want) {
					t.Errorf("ended %v, want %v", got, c.want)
				}
				s.end(nil)
				if err := <-done; c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("the writer ended with %v", err)
				}
			})
		})
	}
}

func TestAFailedSendEndsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, broken := newSession(func(error) {}), errors.New("broken")
		s.queue(note(1))
		if err := s.write(t.Context(), func(*linkv1.Down) error { return broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}
