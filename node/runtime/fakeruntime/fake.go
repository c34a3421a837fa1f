package fakeruntime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Fake implements runtime.Runtime. The zero value is not usable: call New.
type Fake struct {
	mu         sync.Mutex
	containers map[string]runtime.Container
	pulled     map[string]bool
	fail       map[string]error
	stubborn   map[string]bool
	nextPid    uint32
	rings      map[int]chan struct{}
	nextRing   int
	output     map[string][]byte        // by container; it stays until Remove with logs
	written    map[string]chan struct{} // closed when something happens to a container
	calls      []string
}

// New returns an empty runtime.
func New() *Fake {
	return &Fake{containers: map[string]runtime.Container{}, pulled: map[string]bool{},
		fail: map[string]error{}, stubborn: map[string]bool{}, rings: map[int]chan struct{}{}, nextPid: 1000,
		output: map[string][]byte{}, written: map[string]chan struct{}{}}
}

// Fail makes a method ("Pull", "Create", "Start", "Stop", "Remove", "List")
// return err until it is called with nil.
func (f *Fake) Fail(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[method] = err
}

// Exit ends a running container with a code, as if by itself.
func (f *Fake) Exit(id string, code int32) {
	f.mu.Lock()
	c, ok := f.containers[id]
	if ok && c.Phase == runtime.Running {
		c.Phase, c.Exit = runtime.Exited, code
		f.containers[id] = c
		f.moved(id)
	}
	f.mu.Unlock()
	f.ring()
}

// Reboot drops every task, as a restart of the machine does.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, c := range f.containers {
		c.Phase, c.Pid, c.Exit = runtime.NoTask, 0, 0
		f.containers[id] = c
	}
}

// Stubborn makes a container ignore TERM.
func (f *Fake) Stubborn(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stubborn[id] = true
}

// Calls lists the calls that change something, in order: "Create <id>".
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *Fake) begin(method, what string) error {
	f.calls = append(f.calls, method+" "+what)
	return f.fail[method]
}

func (f *Fake) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.rings {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Pull remembers the image.
func (f *Fake) Pull(_ context.Context, image string, progress func(string)) error {
	if err := f.pull(image); err != nil {
		return err
	}
	if progress != nil {
		progress("done") // without the mutex: who hears it may be waiting for List
	}
	return nil
}

func (f *Fake) pull(image string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("Pull", image); err != nil {
		return err
	}
	f.pulled[image] = true
	return nil
}

// Create makes a container that is Ready.
func (f *Fake) Create(_ context.Context, s runtime.Spec) (runtime.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := s.ID()
	if err := f.begin("Create", id); err != nil {
		return runtime.Container{}, err
	}
	c, ok := f.containers[id]
	if ok && c.Phase != runtime.NoTask {
		return c, nil
	}
	f.nextPid++
	c = runtime.Container{Spec: s, Phase: runtime.Ready, Pid: f.nextPid}
	f.containers[id] = c
	f.output[id] = append(f.output[id], []byte{}...)
	return c, nil
}

// Start makes a Ready container run.
func (f *Fake) Start(_ context.Context, id string) error {
	f.mu.Lock()
	err := f.begin("Start", id)
	c, ok := f.containers[id]
	switch {
	case err != nil:
	case !ok || c.Phase == runtime.NoTask:
		err = fmt.Errorf("container %s: %w", id, errs.NotFound)
	case c.Phase == runtime.Ready:
		c.Phase = runtime.Running
		f.containers[id] = c
		f.first(c)
	}
	f.mu.Unlock()
	f.ring()
	return err
}

// Stop ends a container: 143, or 137 after grace for a stubborn one.
func (f *Fake) Stop(ctx context.Context, id string, grace time.Duration) error {
	f.mu.Lock()
	err, stubborn := f.begin("Stop", id), f.stubborn[id]
	f.mu.Unlock()
	if err != nil {
		return err
	}
	code := int32(143)
	if stubborn {
		code = 137
		select {
		case <-time.After(grace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	if c, ok := f.containers[id]; ok && (c.Phase == runtime.Running || c.Phase == runtime.Ready) {
		c.Phase, c.Exit = runtime.Exited, code
		f.containers[id] = c
		f.moved(id)
	}
	f.mu.Unlock()
	f.ring()
	return nil
}

// Remove forgets a container.
func (f *Fake) Remove(_ context.Context, id string, logs bool) error {
	f.mu.Lock()
	err := f.begin("Remove", id)
	if err == nil {
		delete(f.containers, id)
		if logs {
			delete(f.output, id)
		}
		f.moved(id)
	}
	f.mu.Unlock()
	f.ring()
	return err
}

// List returns the containers by id.
func (f *Fake) List(context.Context) ([]runtime.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["List"]; err != nil {
		return nil, err
	}
	out := make([]runtime.Container, 0, len(f.containers))
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		out = append(out, f.containers[id])
	}
	return out, nil
}

// Watch rings after changes until ctx ends.
func (f *Fake) Watch(ctx context.Context, ring func()) error {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	f.nextRing++
	n := f.nextRing
	f.rings[n] = c
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.rings, n)
		f.mu.Unlock()
	}()
	ring()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c:
			ring()
		}
	}
}

// Stats returns fixed figures for a container that runs.
func (f *Fake) Stats(_ context.Context, s runtime.Spec) (runtime.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.containers[s.ID()]; !ok {
		return runtime.Stats{}, fmt.Errorf("container %s: %w", s.ID(), errs.NotFound)
	}
	return runtime.Stats{CPUSeconds: 1, MemoryBytes: 1 << 20}, nil
}
