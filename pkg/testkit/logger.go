package testkit

import (
	"io"
	"log/slog"
	"sync"
	"testing"
)

// Logger writes every level to the test's output, which go test shows when the
// test fails or with -v. What is logged after the test's end is dropped: the
// testing package would panic.
func Logger(t testing.TB) *slog.Logger {
	t.Helper()
	out := &output{to: t.Output()}
	t.Cleanup(out.close)
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type output struct {
	mu sync.Mutex
	to io.Writer // nil after the test
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to == nil {
		return len(p), nil
	}
	return o.to.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = nil
}
