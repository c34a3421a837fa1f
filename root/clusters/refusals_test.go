package clusters

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/pkg/errs"
)

// lines counts what is logged, and adds up the tries it tells of.
type lines struct {
	slog.Handler
	mu    sync.Mutex
	count map[string]int
	tries int64
}

func (*lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler     { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[r.Message]++
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "tries" {
			l.tries += a.Value.Int64()
		}
		return true
	})
	return nil
}

// TestARefusalIsLoggedOnceAMinute, with how often it happened; another name, key
// or reason is another refusal.
func TestARefusalIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := &lines{count: map[string]int{}}
		d := &desk{refusal: fmt.Errorf("another has the name: %w", errs.Conflict)}
		s := NewServer(NewBook(nil), d, slog.New(said))
		try := func(name, key string) {
			if _, err := s.welcome(t.Context(), Hello{Name: name, Key: key}); err == nil {
				t.Fatal("not refused")
			}
		}
		const every = 500 * time.Millisecond
		for range 10 * time.Minute / every {
			try("a", "k")
			time.Sleep(every)
		}
		if n := said.count["cluster refused"]; n != 10 || said.tries != 9*120+1 {
			t.Errorf("%d lines in 10 minutes, which tell of %d tries; want 10 and %d", n, said.tries, 9*120+1)
		}
		try("b", "k")
		try("a", "l")
		d.refusal = fmt.Errorf("something else: %w", errs.Conflict)
		try("a", "l")
		if n := said.count["cluster refused"]; n != 13 {
			t.Errorf("%d lines after three new refusals, want 13", n)
		}
		for i := range 5 * mostRefused {
			try(fmt.Sprint(i), "k")
		}
		if n := len(s.refusals.seen); n > mostRefused {
			t.Errorf("%d refusals are remembered", n)
		}
		time.Sleep(time.Hour)
		if try("c", "k"); len(s.refusals.seen) != 1 {
			t.Errorf("%d refusals are remembered after an hour", len(s.refusals.seen))
		}
	})
}
