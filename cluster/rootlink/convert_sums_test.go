package rootlink

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"oakestra/cluster/fleet"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
)

// An aggregate of a thousand workers that all differ, of several kinds, is
// 1 KiB at most.
func TestAnAggregateIsSmall(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x := placement.NewIndex()
	var sum model.Resources
	for i := range 1000 {
		c := placement.Candidate{ID: fmt.Sprint("w", i), Runtimes: []string{"container"}, Architectures: []string{[]string{"amd64", "arm64"}[i%2]}, Network: true,
			Capacity: model.Resources{MilliCPU: rnd.Int64N(64_000), MemoryMB: rnd.Int64N(1 << 18), GPUs: rnd.Int64N(4), DiskMB: rnd.Int64N(1 << 22)}}
		x.Apply(placement.Delta{Upsert: []placement.Candidate{c}})
		sum = sum.Add(c.Capacity)
	}
	a := fleet.Aggregate{ActiveNodes: 1000, NetworkNodes: 1000, Capacity: sum, Reserved: sum, Number: 1_800_000_000_000 << 16, CPUPercent: 12.5, MemoryPercent: 40,
		Runtimes: []string{"container"}, Architectures: []string{"amd64", "arm64"}}
	a.Rooms, a.Partial = x.Rooms(48)
	m := aggregateTo(a)
	workers := int64(0)
	for _, k := range m.GetAggregate().GetKinds() {
		for i, v := range k.GetRooms() {
			if i%5 == 4 {
				workers += v
			}
		}
	}
	if n := proto.Size(m); n > 1024 || workers != 1000 || len(m.GetAggregate().GetKinds()) != 2 {
		t.Errorf("%d bytes for %d workers: %v", n, workers, m)
	} else {
		t.Logf("%d bytes, %d rooms", n, len(a.Rooms))
	}
}

// The root is told until when nothing is replaced, and nothing when all is well.
func TestAPauseIsTold(t *testing.T) {
	until := time.UnixMilli(1_800_000_000_123)
	if got := aggregateTo(fleet.Aggregate{PausedUntil: until}).GetAggregate().GetPausedUntilUnixMs(); got != until.UnixMilli() {
		t.Errorf("paused until %d", got)
	}
	if got := aggregateTo(fleet.Aggregate{}).GetAggregate().GetPausedUntilUnixMs(); got != 0 {
		t.Errorf("not paused is %d", got)
	}
}

func TestWhereATombstoneIsLeftIsTold(t *testing.T) {
	if got := factsTo(fleet.Facts{LeftOn: []model.NodeID{"w1", "w2"}}).GetLeftOn(); fmt.Sprint(got) != "[w1 w2]" {
		t.Errorf("left on %v", got)
	}
}
