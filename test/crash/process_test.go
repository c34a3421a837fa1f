package crash

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/pkg/testkit"
)

// root is a system manager as a process of its own.
type root struct {
	t    *testing.T
	bin  string
	data string
	addr string

	mu      sync.Mutex
	changed *sync.Cond // generation or ready
	life    int        // counts starts
	ready   bool
	over    bool // there will be no further start

	cmd *exec.Cmd
	log *os.File
}

func newRoot(t *testing.T) *root {
	t.Helper()
	pid := os.Getpid()
	r := &root{
		t: t, bin: build(t, "system-manager"), data: filepath.Join(t.TempDir(), "root"),
		// An address of our own, and a port below those of connections: nobody
		// takes it while the root is dead.
		addr: fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>16&63, pid>>8&255, max(pid&255, 1), 20_000+pid%10_000),
	}
	r.changed = sync.NewCond(&r.mu)
	var err error
	if r.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("the end of the root's log:\n%s", r.tail(60))
		}
		r.log.Close()
	})
	return r
}

// build makes a program, or takes it from OAK_BIN.
func build(t *testing.T, name string) string {
	t.Helper()
	if dir := os.Getenv("OAK_BIN"); dir != "" {
		return filepath.Join(dir, name)
	}
	program := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", program, "./cmd/"+name)
	if goTool := os.Getenv("GO"); goTool != "" {
		cmd.Path, cmd.Err = goTool, nil
	}
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// start runs the program without waiting for it.
func (r *root) start() {
	r.t.Helper()
	r.cmd = exec.Command(r.bin, "-listen", r.addr, "-data", r.data)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.life++
	r.ready = false
	r.mu.Unlock()
	r.changed.Broadcast()
}

// serve waits until requests are served and returns how long it took.
func (r *root) serve(within time.Duration) time.Duration {
	r.t.Helper()
	begin := time.Now()
	testkit.Eventually(r.t, within, func() error {
		resp, err := http.Get("http://" + r.addr + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz says %s", resp.Status)
		}
		return nil
	})
	took := time.Since(begin)
	r.mu.Lock()
	r.ready = true
	r.mu.Unlock()
	r.changed.Broadcast()
	return took
}

// kill ends the process with -9, by its pid, and waits until it is gone. One
// that ended by itself is a failure.
func (r *root) kill() {
	r.t.Helper()
	if r.cmd == nil {
		return
	}
	err := r.cmd.Process.Kill()
	_ = r.cmd.Wait() // it was killed
	if errors.Is(err, os.ErrProcessDone) || r.cmd.ProcessState.Exited() {
		r.t.Errorf("the root ended by itself: %v\n%s", r.cmd.ProcessState, r.tail(20))
	}
	r.cmd = nil
}

// finish says that the present life is the last.
func (r *root) finish() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.changed.Broadcast()
}

// now is the number of the present life.
func (r *root) now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.life
}

// await blocks until the root lives longer than life, and serves if asked so.
// It returns false when that will not happen.
func (r *root) await(life int, ready bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.over && (r.life <= life || ready && !r.ready) {
		r.changed.Wait()
	}
	return r.life > life
}

func (r *root) tail(lines int) string {
	data, err := os.ReadFile(r.log.Name())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// memory reads a field of the process's status, in KiB.
func (r *root) memory(field string) int {
	r.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				r.t.Fatal(err)
			}
			return n
		}
	}
	r.t.Fatalf("no %s of the root", field)
	return 0
}

// number reads a setting from the environment.
func number(t *testing.T, variable string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
