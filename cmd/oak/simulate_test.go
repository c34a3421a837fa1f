package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlagsOfSimAreRefusedByName: before anything is made or started.
func TestFlagsOfSimAreRefusedByName(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--workers", "abc"}, `--workers: want a whole number (got "abc")`},
		{[]string{"--bin", "/nonexist"}, `--bin: want a directory with the program system-manager (got "/nonexist")`},
	} {
		_, err := oak(t, "", append([]string{"sim"}, c.args...)...)
		if err == nil || err.Error() != c.want {
			t.Errorf("oak sim %s\n got %v\nwant %s", strings.Join(c.args, " "), err, c.want)
		}
	}
	made, err := filepath.Glob(filepath.Join(os.TempDir(), "oak-sim-*"))
	if err != nil || len(made) != 0 {
		t.Errorf("left behind: %v, %v", made, err)
	}
}
