package containerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"oakestra/node/runtime"
	"oakestra/node/runtime/containerd"
	"oakestra/node/runtime/runtimetest"
)

// private starts a containerd of the test's own and a registry with one image.
func private(t *testing.T) (*containerd.Engine, containerd.Config, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root and containerd; run: sudo make test")
	}
	for _, tool := range []string{"containerd", "runc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: needs %s; run: apt-get install containerd runc busybox-static", tool)
		}
	}
	dir, err := os.MkdirTemp("", "ne")
	if err != nil {
		t.Fatal(err)
	}
	m := containerd.Managed{Data: dir}
	if err := m.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := containerd.Config{Socket: m.Socket(), Data: dir, LogBytes: 4096,
		Registries: containerd.Registries{Registries: map[string]containerd.Registry{"docker.io": {Mirrors: []string{serve(t)}}}}}
	e, err := containerd.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := e.Purge(ctx); err != nil {
			t.Error(err)
		}
		_ = e.Close()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
		mounts, _ := os.ReadFile("/proc/self/mounts")
		if strings.Contains(string(mounts), dir) {
			t.Error("mounts are left")
		}
		_ = os.RemoveAll(dir)
	})
	return e, cfg, "box"
}

func serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	path, _ := exec.LookPath("busybox")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		_ = w.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755})
	}
	_ = w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg})
	_, _ = w.Write(body)
	for _, n := range []string{"sh", "sleep", "cat", "echo", "stty"} {
		_ = w.WriteHeader(&tar.Header{Name: "bin/" + n, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
	}
	_ = w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config.Env = "linux", "amd64", []string{"PATH=/bin"}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(server.URL, "http://")
	if err := crane.Push(image, host+"/library/box:latest", crane.Insecure); err != nil {
		t.Fatal(err)
	}
	return server.URL
}

func TestContract(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) (runtimetest.Whole, string) {
		e, _, image := private(t)
		return e, image
	})
}

func TestAdoptLogsAndExit(t *testing.T) {
	e, cfg, image := private(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := runtime.Spec{Node: fmt.Sprintf("t%d", os.Getpid()), Service: "0123456789abcdef01234567", Grant: 1, Try: 1, JobName: "a.b.web.d",
		Image: image, Command: []string{"sh", "-c", "echo hello $HOSTNAME; sleep 1; exit 7"}, MemoryMB: 32}
	if err := e.Pull(ctx, image, nil); err != nil {
		t.Fatal(err)
	}
	made, err := e.Create(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, s.ID()); err != nil {
		t.Fatal(err)
	}
	second, err := containerd.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	list, err := second.List(ctx)
	if err != nil || len(list) != 1 || list[0].Pid != made.Pid || list[0].Spec.JobName != s.JobName {
		t.Fatalf("%+v, %v", list, err)
	}
	var out, stderr bytes.Buffer
	if code, err := second.Exec(ctx, s.ID(), runtime.Command{Args: []string{"sh", "-c", "echo inside; exit 3"}, Stdout: &out, Stderr: &stderr}); err != nil || code != 3 || out.String() != "inside\n" {
		t.Errorf("exec: %d %v %q", code, err, out.String())
	}
	stats, err := second.Stats(ctx, s)
	if err != nil || !strings.Contains(stats.LogTail, "hello web-0") || stats.MemoryBytes == 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	exited := make(chan struct{}, 100)
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go func() { _ = second.Watch(watch, func() { exited <- struct{}{} }) }()
	for {
		select {
		case <-exited:
		case <-ctx.Done():
			t.Fatal("never exited")
		}
		list, err = second.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Phase == runtime.Exited {
			break
		}
	}
	if list[0].Exit != 7 {
		t.Errorf("exit %d", list[0].Exit)
	}
}

// What a process that was killed has left is ended by the next one, and nothing else.
func TestCommandsOfBeforeAreEnded(t *testing.T) {
	e, cfg, image := private(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := cutSpec(image, 1)
	if err := e.Pull(ctx, image, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, s.ID()); err != nil {
		t.Fatal(err)
	}
	runs := func(e *containerd.Engine) <-chan int {
		started, done := make(chan struct{}), make(chan int, 1)
		go func() {
			code, err := e.Exec(ctx, s.ID(), runtime.Command{Args: []string{"sleep", "777"}, Stdout: io.Discard, Stderr: io.Discard, Started: func() { close(started) }})
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			done <- code
		}()
		<-started
		return done
	}
	engine := func(byHand bool) *containerd.Engine {
		cfg.ByHand = byHand
		e, err := containerd.New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	before, hand, own := runs(engine(false)), runs(engine(true)), runs(e)
	if err := e.EndCommands(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-before:
		if code != 137 {
			t.Errorf("exit %d", code)
		}
	case <-ctx.Done():
		t.Fatal("it runs on")
	}
	select {
	case <-hand:
		t.Error("a person's command was ended")
	case <-own:
		t.Error("our own command was ended")
	case <-time.After(200 * time.Millisecond): // nothing is to come
	}
	if c, err := e.List(ctx); err != nil || len(c) != 1 || c[0].Phase != runtime.Running {
		t.Errorf("%+v %v", c, err)
	}
	cancel()
	<-hand
	<-own
}
