package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// appendTo writes as a shim does.
func appendTo(t interface{ Fatal(...any) }, path, text string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}

// However a log is written, rotated and read, a reader that keeps up sees every
// byte once, in order; and the last lines are the last lines.
func TestAReaderSeesEveryByteOnceOverRotations(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "log")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "x.log")
		appendTo(r, path, "")
		f := &logFile{path: path}
		running := true
		reader := &logReader{ctx: t.Context(), file: f, runs: func(context.Context) bool { return running }}
		var written, seen bytes.Buffer
		const limit = 64
		for i := range rapid.IntRange(1, 30).Draw(r, "steps") {
			line := fmt.Sprintf("%d%s\n", i, strings.Repeat("x", rapid.IntRange(0, 40).Draw(r, "length")))
			appendTo(r, path, line)
			written.WriteString(line)
			if rapid.Bool().Draw(r, "look") {
				if err := f.keep(limit, time.Unix(int64(i), 0)); err != nil {
					r.Fatal(err)
				}
			}
			b := make([]byte, 300) // keeps up
			for {
				n, err := reader.more(b)
				if err != nil {
					r.Fatal(err)
				}
				if seen.Write(b[:n]); n == 0 {
					break
				}
			}
		}
		if seen.String() != written.String() || len(reader.skip) > 0 {
			r.Fatalf("written %q\nread %q", written.String(), seen.String())
		}
		first, end := f.span()
		lines := rapid.Int64Range(1, 12).Draw(r, "tail")
		at, err := f.tail(lines, first, end)
		if err != nil {
			r.Fatal(err)
		}
		kept := written.Bytes()[first:]
		all := bytes.SplitAfter(bytes.TrimSuffix(kept, []byte("\n")), []byte("\n"))
		want := bytes.Join(all[max(0, len(all)-int(lines)):], nil)
		if got := bytes.TrimSuffix(written.Bytes()[at:], []byte("\n")); !bytes.Equal(got, want) {
			r.Fatalf("the last %d lines are %q, want %q", lines, got, want)
		}
	})
}

func TestAReaderIsToldWhatItHasMissed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f := &logFile{path: path}
	running := true
	reader := &logReader{ctx: t.Context(), file: f, runs: func(context.Context) bool { return running }}
	for i := range 3 {
		appendTo(t, path, strings.Repeat(fmt.Sprint(i), 100))
		if err := f.keep(80, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	running = false
	got, err := io.ReadAll(reader)
	if err != nil || !strings.Contains(string(got), "[220 bytes of output") || !strings.HasSuffix(string(got), "\n"+strings.Repeat("2", 80)) {
		t.Errorf("%q %v", got, err)
	}
}

func TestSinceLeavesOutWhatIsOlder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f := &logFile{path: path}
	at := func(s int) time.Time { return time.Now().Add(time.Duration(s) * time.Second) }
	for i := range 2000 { // more than are kept
		if i%4 == 0 {
			appendTo(t, path, "0123456789")
		}
		if err := f.keep(1<<20, at(i-2000)); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.marks) > mostMarks {
		t.Errorf("%d marks", len(f.marks))
	}
	for _, s := range []int{-2000, -1500, -1000, -10} {
		// All that was written after that, and a little more, by the distance of marks.
		exact := int64(2000+s) / 4 * 10
		if got := f.since(at(s)); got > exact+10 || got < exact-200 {
			t.Errorf("since %d s is place %d, want about %d", -s, got, exact)
		}
	}
	if got := f.since(at(-3000)); got != 0 {
		t.Errorf("before everything: %d", got)
	}
	if got := f.since(time.Now().Add(time.Hour)); got != 5000 {
		t.Errorf("nothing is that new: %d", got)
	}
	old := (&logs{}).of("x", path) // a process that has just begun
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := old.since(time.Now().Add(-time.Minute)); got != 5000 {
		t.Errorf("a file that is old: %d", got)
	}
	if got := old.since(time.Now().Add(-2 * time.Hour)); got != 0 {
		t.Errorf("a file that is newer: %d", got)
	}
}

func TestOutputThatIsNotKept(t *testing.T) {
	e := &Engine{cfg: Config{Data: t.TempDir()}}
	if _, err := e.OpenLog(t.Context(), "x", runtime.LogQuery{}); !errors.Is(err, errs.NotFound) {
		t.Error(err)
	}
}
