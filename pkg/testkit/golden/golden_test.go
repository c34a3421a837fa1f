package golden

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// recorder notes how the check ended.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func TestCheckComparesWithTheFileAndUpdateWritesIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "testdata", "a.golden")
	failure := func(got string, write bool) string {
		r, done := &recorder{}, make(chan struct{})
		go func() {
			defer close(done)
			check(r, file, got, write)
		}()
		<-done
		return r.failed
	}
	if msg := failure("one\n", false); !strings.Contains(msg, "-update") {
		t.Errorf("a missing file: %q", msg)
	}
	if msg := failure("one\n", true); msg != "" {
		t.Errorf("writing: %q", msg)
	}
	if msg := failure("one\n", false); msg != "" {
		t.Errorf("equal text: %q", msg)
	}
	if msg := failure("two\n", false); !strings.Contains(msg, "two") {
		t.Errorf("other text: %q", msg)
	}
}
