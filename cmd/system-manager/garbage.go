package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	largeHeap   = 32 << 20 // bytes that live
	largeMemory = 200      // per cent, for a heap that is
	smallMemory = 100
)

// collectLess lets a large root collect garbage half as often: with tens of
// thousands of instances each collection takes a part of both cores for long
// enough to double the slowest hundredth of its answers. A small root, which
// most are, keeps Go's default and its small memory. GOGC wins.
func collectLess(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for now := smallMemory; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		if want := percent(live[0].Value.Uint64()); want != now {
			now = want
			debug.SetGCPercent(now)
		}
	}
}

func percent(live uint64) int {
	if live > largeHeap {
		return largeMemory
	}
	return smallMemory
}
