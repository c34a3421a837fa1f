package makefile

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asRegistry makes this test program one that only waits to be stopped.
const asRegistry = "OAK_TEST_AS_REGISTRY"

func TestMain(m *testing.M) {
	if os.Getenv(asRegistry) != "" {
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// goTool stands in for Go: it "builds" programs that write down how they are
// called, or fails where Go would.
const goTool = `#!/bin/sh
[ "$1" = build ] || exit 0
[ ! -e no-build ] || { echo "go: cannot build" >&2; exit 1; }
echo build >>asked
mkdir -p bin
for p in oak NodeEngine NetManager system-manager cluster-manager; do
	printf '#!/bin/sh\necho %s "$@" >>asked\n' $p >bin/$p
	chmod +x bin/$p
done
`

type tree struct {
	t          *testing.T
	dir, state string
}

func newTree(t *testing.T) tree {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("there is no make here; install it to run this test")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := tree{t: t, dir: dir, state: filepath.Join(t.TempDir(), "state")}
	r.copy("../../Makefile", "Makefile", 0o644)
	r.copy("../../deploy/demo/run.sh", "deploy/demo/run.sh", 0o755)
	r.write(filepath.Join(dir, "go"), goTool, 0o755)
	return r
}

func (r tree) copy(from, to string, mode os.FileMode) {
	r.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(filepath.Join(r.dir, to), string(data), mode)
}

func (r tree) write(file, text string, mode os.FileMode) {
	r.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), mode)); err != nil {
		r.t.Fatal(err)
	}
}

func (r tree) make(target string) (string, error) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "make", target, "STATE="+r.state, "SUDO=", "GO="+filepath.Join(r.dir, "go"), "VERSION=test")
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r tree) asked() string {
	data, err := os.ReadFile(filepath.Join(r.dir, "asked"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(data)
}

func (r tree) site() { r.t.Helper(); r.write(filepath.Join(r.state, "site.json"), "{}", 0o600) }

func TestDownBuildsWhatItNeedsWhenASiteIsThere(t *testing.T) {
	down := "oak down --state "
	t.Run("without programs", func(t *testing.T) {
		r := newTree(t)
		r.site()
		if out, err := r.make("down"); err != nil || r.asked() != "build\n"+down+r.state+"\n" {
			t.Errorf("%v, asked %q\n%s", err, r.asked(), out)
		}
		if out, err := r.make("down"); err != nil || strings.Count(r.asked(), "build") != 1 {
			t.Errorf("built again: %v, asked %q\n%s", err, r.asked(), out)
		}
	})
	t.Run("when nothing can be built", func(t *testing.T) {
		r := newTree(t)
		r.site()
		r.write(filepath.Join(r.dir, "no-build"), "", 0o644)
		if out, err := r.make("down"); err == nil || !strings.Contains(out, "cannot build") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("without a site", func(t *testing.T) {
		r := newTree(t)
		if out, err := r.make("down"); err != nil || r.asked() != "" || !strings.Contains(out, r.state+" holds no site") {
			t.Errorf("%v, asked %q\n%s", err, r.asked(), out)
		}
	})
}

func TestCleanLeavesTheProgramsOfASite(t *testing.T) {
	r := newTree(t)
	r.write(filepath.Join(r.dir, "bin/oak"), "", 0o755)
	r.site()
	if out, err := r.make("clean"); err == nil || !strings.Contains(out, "make down") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "bin/oak")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(r.state); err != nil {
		t.Fatal(err)
	}
	if out, err := r.make("clean"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "bin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("bin is left: %v", err)
	}
}

// The registry of the quick start is found when its program and all its files
// are gone, and nobody else's is stopped.
func TestDownStopsARegistryWhoseFilesAreGone(t *testing.T) {
	r, other := newTree(t), newTree(t)
	mine, others := r.registry(), other.registry()
	if err := os.RemoveAll(filepath.Join(r.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	out, err := r.make("down")
	if err != nil || !strings.Contains(out, "image registry stopped") {
		t.Errorf("%v\n%s", err, out)
	}
	select {
	case <-mine:
	case <-time.After(10 * time.Second):
		t.Error("the registry still runs")
	}
	select {
	case <-others:
		t.Error("the registry of another checkout was stopped")
	default:
	}
}

// registry starts a stand-in for it; the channel closes when it ends.
func (r tree) registry() <-chan struct{} {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.copy(self, "bin/demo-registry", 0o755)
	cmd := exec.Command(filepath.Join(r.dir, "bin/demo-registry"))
	cmd.Env = append(os.Environ(), asRegistry+"=1")
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return ended
}
