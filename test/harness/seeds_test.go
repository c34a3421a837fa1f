package harness

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/cluster/nodelink/memlink"
)

var (
	seeds  = flag.Int("seeds", 12, "how many seeds TestSeeds runs")
	first  = flag.Uint64("seed", 1, "the first seed of TestSeeds")
	length = flag.Duration("faults", time.Minute, "how long faults go on in TestSeeds, in virtual time")
	logTo  = flag.String("logs", "", "a folder that gets the logs of seeds that fail")
)

// logger writes to a file per seed, which is kept when the seed fails.
func logger(t *testing.T, seed uint64) *slog.Logger {
	t.Helper()
	if *logTo == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(*logTo, fmt.Sprintf("seed-%d.log", seed)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Close()
		if !t.Failed() {
			_ = os.Remove(f.Name())
		}
	})
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// TestSeeds: P7. Whatever happens, a system whose faults are over is at rest
// within 30 s, over a bus that loses, doubles and reorders; and still is when
// the bus is calm.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex
	var took []time.Duration
	t.Run("all", func(t *testing.T) {
		for seed := *first; seed < *first+uint64(*seeds); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				d := play(t, seed)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, d)
			})
		}
	})
	slices.Sort(took)
	if n := len(took); n > 0 {
		t.Logf("COUNT: %d of %d seeds came to rest, median %s, 99 %% %s, worst %s of virtual time after the last fault", n, *seeds, took[n/2], took[n*99/100], took[n-1])
	}
}

func play(t *testing.T, seed uint64) (took time.Duration) {
	t.Helper()
	log := logger(t, seed)
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if t.Failed() {
				t.Errorf("REPLAY: go test ./test/harness -run 'TestSeeds/all/%d$' -seed %d -seeds 1 -faults %s -logs . -count 20 -failfast", seed, seed, *length)
			}
		}()
		s := NewScenario(t, Config{Seed: seed, Bus: LossyBus, Log: log}, *length)
		defer s.End()
		s.Play()
		if d := s.Within(); d > 30*time.Second {
			t.Logf("a brake pauses replacements: %s to rest", d)
		}
		took = s.Rest(t, s.Within())
		s.SetBus(memlink.Faults{})
		time.Sleep(15 * time.Second)
		s.Rest(t, 250*time.Millisecond)
		for _, l := range s.Lost() {
			t.Error(l)
		}
		t.Logf("at rest after %s; %s", took, s)
	})
	return took
}
