package testkit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// RequireVariable names the environment variable that turns skips into
// failures: a run that is meant to leave nothing out sets it to 1.
const RequireVariable = "OAK_TEST_REQUIRE"

// Eventually calls check until it returns nil, and fails the test with its
// last error when within has passed. It waits 1 ms at first and at most 100 ms
// between calls. Inside a synctest bubble the time is the bubble's.
func Eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	pause := time.Millisecond
	for {
		err := check()
		if err == nil {
			return
		}
		if !time.Now().Before(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(min(pause, max(time.Until(deadline), 0)))
		pause = min(pause*2, 100*time.Millisecond)
	}
}

// RequireRoot skips the test, naming what is missing and what to type, unless
// it runs as root with every tool in PATH. With OAK_TEST_REQUIRE=1 it fails
// the test instead.
func RequireRoot(t testing.TB, tools ...string) {
	t.Helper()
	if missing := lacking(os.Geteuid(), exec.LookPath, tools); missing != "" {
		Missing(t, missing)
	}
}

func lacking(uid int, look func(string) (string, error), tools []string) string {
	var missing []string
	if uid != 0 {
		missing = append(missing, "root")
	}
	for _, tool := range tools {
		if _, err := look(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	return strings.Join(missing, ", ")
}

// Missing skips the test for want of what, or fails it with OAK_TEST_REQUIRE=1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(RequireVariable) == "1" {
		t.Fatalf("%s=1, but this machine lacks: %s", RequireVariable, what)
	}
	t.Skipf("SKIPPED: needs %s; run: sudo make test", what)
}
