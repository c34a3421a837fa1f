package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func waits(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTheFirstFailureStopsTheOthersAndIsNamed(t *testing.T) {
	broken := errors.New("no such device")
	err := Run(t.Context(), Part{"loop", waits}, Part{"links", func(context.Context) error { return broken }})
	if !errors.Is(err, broken) || err.Error() != "links: no such device" {
		t.Errorf("error = %v", err)
	}
}

func TestAPartThatEndsByItselfIsAFailure(t *testing.T) {
	err := Run(t.Context(), Part{"loop", waits}, Part{"poll", func(context.Context) error { return nil }})
	if err == nil || err.Error() != "poll: ended by itself" {
		t.Errorf("error = %v", err)
	}
}

func TestStoppingIsNoFailureAndWaitsForEveryPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := false
		done := make(chan error)
		go func() {
			done <- Run(ctx, Part{"quick", waits}, Part{"slow", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Minute)
				stopped = true
				return errors.New("the connection was closed")
			}})
		}()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !stopped {
			t.Errorf("error = %v, the slow part has stopped: %v", err, stopped)
		}
	})
}

// The pauses double from the shortest to the longest, each with up to a
// quarter more.
func TestBackoffDoublesWithJitter(t *testing.T) {
	b := NewBackoff(time.Second, 5*time.Second)
	check := func(want time.Duration) {
		t.Helper()
		if d := b.Next(); d < want || d > want+want/4 {
			t.Errorf("pause %s, want %s to %s", d, want, want+want/4)
		}
	}
	for _, want := range []int{1, 2, 4, 5, 5} {
		check(time.Duration(want) * time.Second)
	}
	b.Reset()
	check(time.Second)
}

func TestBackoffOfManyClientsSpreads(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[NewBackoff(time.Second, time.Minute).Next()] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 clients chose %d pauses", len(seen))
	}
}
