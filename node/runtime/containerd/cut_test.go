package containerd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/node/runtime"
	"oakestra/node/runtime/containerd"
)

func cutSpec(image string, number int) runtime.Spec {
	return runtime.Spec{Node: "cut", Service: "0123456789abcdef01234567", Number: number, Grant: 1<<32 + 1, Try: 1,
		JobName: "a.b.c.d", Image: image, Command: []string{"sleep", "1000"}}
}

// traces counts what a container has in the kernel: processes in its cgroup,
// and shims.
func traces(t *testing.T, socket, id string) (processes, shims int) {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/*/oakestra/cut/" + id + "/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	unified, err := filepath.Glob("/sys/fs/cgroup/oakestra/cut/" + id + "/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range append(groups, unified...) {
		text, _ := os.ReadFile(file) // the group may go meanwhile
		for _, pid := range strings.Fields(string(text)) {
			seen[pid] = true
		}
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		line, _ := os.ReadFile(file) // the process may have ended
		args := strings.Split(string(line), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, id) && slices.Contains(args, socket) {
			shims++
		}
	}
	return len(seen), shims
}

// settled waits until an attempt is either ready to be started or not there at
// all, and has in the kernel what belongs to that. A container without a task
// is nothing: the next Create gives it one.
func settled(t *testing.T, e *containerd.Engine, socket, id string) (ready bool) {
	t.Helper()
	var why string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := e.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		phase := runtime.NoTask
		for _, c := range list {
			if c.Spec.ID() == id {
				phase = c.Phase
			}
		}
		processes, shims := traces(t, socket, id)
		want := 0
		if phase != runtime.NoTask {
			want = 1
		}
		if processes == want && shims == want {
			return want == 1
		}
		why = fmt.Sprintf("phase %s, %d processes, %d shims", phase, processes, shims)
	}
	t.Errorf("%s has not settled: %s", id, why)
	return false
}

// A NodeEngine that is told to stop while it makes a container cancels the
// call. What is left is a whole container, to be adopted, or nothing.
func TestACreationThatIsCutOffIsWholeOrNothing(t *testing.T) {
	e, cfg, image := private(t)
	if err := e.Pull(t.Context(), image, nil); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for round := range 12 {
		s := cutSpec(image, round)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := e.Create(ctx, s); done <- err }()
		time.Sleep(time.Duration(round*10) * time.Millisecond) // that far it comes
		cancel()
		err := <-done
		ready := settled(t, e, cfg.Socket, s.ID())
		if ready {
			whole++
		} else {
			t.Logf("round %d: nothing is there: %v", round, err)
		}
		if ready != (err == nil) {
			t.Errorf("round %d: Create said %v, and the container is ready: %v", round, err, ready)
		}
		if _, err := e.Create(t.Context(), s); err != nil {
			t.Errorf("round %d: created again: %v", round, err)
		}
		if err := e.Start(t.Context(), s.ID()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := e.Remove(t.Context(), s.ID(), true); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if processes, shims := traces(t, cfg.Socket, s.ID()); processes+shims > 0 {
			t.Errorf("round %d: %d processes and %d shims are left", round, processes, shims)
		}
	}
	t.Logf("COUNT: %d of 12 creations were whole", whole)
}

// A NodeEngine that is killed leaves the call to containerd, which cuts it off
// when the connection is gone. Whatever that leaves is cleared away by the
// next Create of the same attempt.
func TestACreationWhoseCallerWasKilledIsMadeAnew(t *testing.T) {
	e, cfg, image := private(t)
	if err := e.Pull(t.Context(), image, nil); err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		s := cutSpec(image, round)
		body, err := json.Marshal([]any{cfg, s})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=TestCreateInAProcessOfItsOwn")
		cmd.Env = append(os.Environ(), "OAK_TEST_CREATE="+string(body))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begins\n" {
			t.Fatalf("%q %v", line, err)
		}
		time.Sleep(time.Duration(round*12) * time.Millisecond) // that far it comes
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := e.Create(t.Context(), s); err != nil {
			t.Errorf("round %d: %v", round, err)
			continue
		}
		if !settled(t, e, cfg.Socket, s.ID()) {
			t.Errorf("round %d: not ready", round)
		}
		if err := e.Start(t.Context(), s.ID()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := e.Remove(t.Context(), s.ID(), true); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if processes, shims := traces(t, cfg.Socket, s.ID()); processes+shims > 0 {
			t.Errorf("round %d: %d processes and %d shims are left", round, processes, shims)
		}
	}
}

// TestCreateInAProcessOfItsOwn is the process that is killed above.
func TestCreateInAProcessOfItsOwn(t *testing.T) {
	body := os.Getenv("OAK_TEST_CREATE")
	if body == "" {
		return // only for the test above
	}
	var cfg containerd.Config
	var s runtime.Spec
	if err := json.Unmarshal([]byte(body), &[]any{&cfg, &s}); err != nil {
		t.Fatal(err)
	}
	e, err := containerd.New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("begins")
	_, _ = e.Create(t.Context(), s)
	_ = e.Close()
}
