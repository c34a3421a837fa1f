package testkit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder notes how a helper ended a test. Like testing.T, ending stops the
// calling goroutine.
type recorder struct {
	testing.TB
	failed, skipped string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func record(f func(testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestEventuallyReturnsOnceItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		Eventually(t, time.Minute, func() error {
			if calls++; calls < 5 {
				return errors.New("not yet")
			}
			return nil
		})
		if calls != 5 {
			t.Errorf("%d calls", calls)
		}
	})
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := record(func(tb testing.TB) {
			Eventually(tb, 3*time.Second, func() error { return errors.New("still waiting") })
		})
		if r.failed != "not within 3s: still waiting" || time.Since(start) != 3*time.Second {
			t.Errorf("%q after %s", r.failed, time.Since(start))
		}
	})
}

func TestMissingSkipsLoudlyAndFailsWhereNothingMayBeLeftOut(t *testing.T) {
	t.Setenv(RequireVariable, "")
	r := record(func(tb testing.TB) { Missing(tb, "root, nft") })
	if r.skipped != "SKIPPED: needs root, nft; run: sudo make test" || r.failed != "" {
		t.Errorf("%+v", r)
	}
	t.Setenv(RequireVariable, "1")
	r = record(func(tb testing.TB) { Missing(tb, "root, nft") })
	if r.skipped != "" || !strings.Contains(r.failed, "root, nft") {
		t.Errorf("%+v", r)
	}
}

func TestLackingNamesRootAndEveryTool(t *testing.T) {
	look := func(tool string) (string, error) {
		if tool == "here" {
			return tool, nil
		}
		return "", os.ErrNotExist
	}
	for _, c := range []struct {
		uid   int
		tools []string
		want  string
	}{
		{0, nil, ""},
		{0, []string{"here"}, ""},
		{1000, []string{"here"}, "root"},
		{0, []string{"gone", "here", "lost"}, "gone, lost"},
		{1000, []string{"gone"}, "root, gone"},
	} {
		if got := lacking(c.uid, look, c.tools); got != c.want {
			t.Errorf("uid %d, %v: %q, want %q", c.uid, c.tools, got, c.want)
		}
	}
}

func TestLoggerWritesEveryLevelAndOutlivesTheTest(t *testing.T) {
	var log *slog.Logger
	t.Run("inner", func(t *testing.T) {
		log = Logger(t)
		if !log.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("debug is off")
		}
		log.Debug("visible with -v")
	})
	log.Error("too late") // would panic when it reached the ended test
}
