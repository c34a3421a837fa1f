package runtimetest

import (
	"context"
	"testing"
	"time"

	"oakestra/node/runtime"
)

// Whole is what is tested.
type Whole interface {
	runtime.Runtime
	runtime.Console
}

// Factory makes a runtime and names an image that it can pull; "sh", "sleep",
// "cat", "echo" and "stty" run in it.
type Factory func(t *testing.T) (rt Whole, image string)

// patience is for calls that may wait for the disk, not for one another.
const patience = 20 * time.Second

// Run holds a runtime to the contract.
func Run(t *testing.T, factory Factory) {
	t.Run("life of an attempt", func(t *testing.T) {
		rt, image := factory(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := runtime.Spec{Node: "suite", Service: "0123456789abcdef01234567", Number: 1, Grant: 1<<32 + 1, Try: 1,
			JobName: "a.b.c.d", Image: image, Command: []string{"sleep", "1000"}, MemoryMB: 32, MilliCPU: 500}
		heard := 0
		must(t, rt.Pull(ctx, image, func(string) {
			heard++
			listed := make(chan error, 1)
			go func() { _, err := rt.List(ctx); listed <- err }()
			select {
			case err := <-listed:
				if err != nil { // not must: this may be another goroutine
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("List waits for Pull, which waits for progress: who hears it can hang")
			}
		}))
		if heard == 0 {
			t.Error("no word of the progress of an image that was not there")
		}
		must(t, rt.Pull(ctx, image, nil))
		made, err := rt.Create(ctx, s)
		must(t, err)
		again, err := rt.Create(ctx, s)
		must(t, err)
		if made.Phase != runtime.Ready || made.Pid == 0 || again.Pid != made.Pid {
			t.Fatalf("created %+v, again %+v", made, again)
		}
		must(t, rt.Start(ctx, s.ID()))
		must(t, rt.Start(ctx, s.ID()))
		if c := find(t, rt, s); c == nil || c.Phase != runtime.Running || c.Pid != made.Pid || c.Spec.MemoryMB != 32 {
			t.Fatalf("running: %+v", c)
		}
		must(t, rt.Stop(ctx, s.ID(), 10*time.Millisecond))
		must(t, rt.Stop(ctx, s.ID(), 0))
		if c := find(t, rt, s); c == nil || c.Phase != runtime.Exited || c.Exit == 0 {
			t.Fatalf("stopped: %+v", c)
		}
		must(t, rt.Remove(ctx, s.ID(), true))
		must(t, rt.Remove(ctx, s.ID(), true))
		must(t, rt.Stop(ctx, s.ID(), 0))
		if c := find(t, rt, s); c != nil {
			t.Fatalf("removed, yet listed: %+v", c)
		}
	})
	t.Run("output", func(t *testing.T) { testOutput(t, factory) })
	t.Run("commands", func(t *testing.T) { testCommands(t, factory) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// find waits up to 5 s for the list to settle on a container that is not Ready.
func find(t *testing.T, rt runtime.Runtime, s runtime.Spec) *runtime.Container {
	t.Helper()
	list, err := rt.List(t.Context())
	must(t, err)
	for _, c := range list {
		if c.Spec.ID() == s.ID() {
			return &c
		}
	}
	return nil
}
