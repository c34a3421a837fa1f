package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files instead of comparing")

// Check compares got with testdata/<name> of the calling package.
func Check(t testing.TB, name, got string) {
	t.Helper()
	check(t, filepath.Join("testdata", name), got, *update)
}

func check(t testing.TB, file, got string, write bool) {
	t.Helper()
	if write {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if string(want) != got {
		t.Errorf("%s differs (-want +got), go test -update rewrites it:\n%s", file, cmp.Diff(string(want), got))
	}
}
