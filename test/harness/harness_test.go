package harness

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
)

func room() model.Resources {
	return model.Resources{MilliCPU: 8000, MemoryMB: 8000, DiskMB: 10000}
}

// TestOneOfEach: a root, a cluster, three workers and no faults.
func TestOneOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(t, Config{Seed: 1, Log: testkit.Logger(t)})
		defer w.End()
		c := w.AddCluster("north")
		for i := range 3 {
			w.NewMachine(c, fmt.Sprintf("w%d", i), room()).PowerOn()
		}
		time.Sleep(5 * time.Second)
		r := w.Root()
		id, err := r.Create(t.Context(), Service{Name: "web", Memory: 100, VCPUs: 0.5, Port: "80:80"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Control.Scale(t.Context(), admin, id, 5); err != nil {
			t.Fatal(err)
		}
		w.Rest(t, 30*time.Second)
		if _, err := r.Control.Scale(t.Context(), admin, id, 2); err != nil {
			t.Fatal(err)
		}
		w.Rest(t, 30*time.Second)
		if err := r.Control.DeleteService(t.Context(), admin, id); err != nil {
			t.Fatal(err)
		}
		w.Rest(t, 30*time.Second)
	})
}
