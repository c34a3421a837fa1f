package rootlink

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "oakestra/api/link/v1"
)

// beatsOf counts the heartbeats of a stream.
func (r *root) beatsOf(n int) (count int) {
	_, _, ups := r.of(n)
	for _, m := range ups {
		if m.GetHeartbeat() != nil {
			count++
		}
	}
	return count
}

// TestTheRootSetsThePace: heartbeats come as often as the root says, within
// bounds, and a root that misses three of them is left.
func TestTheRootSetsThePace(t *testing.T) {
	for ms, want := range map[uint32]time.Duration{2000: 2 * time.Second, 5000: 5 * time.Second, 60_000: 5 * time.Second, 1: time.Second} {
		bubble(t, func(r *rig) { r.root.beats = ms }, func(t *testing.T, r *rig) {
			time.Sleep(time.Minute + time.Second/2)
			synctest.Wait()
			if got := r.root.beatsOf(0); got != int(time.Minute/want) || r.root.count() != 1 {
				t.Errorf("asked for one each %d ms: %d in a minute, want one each %s; %d streams", ms, got, want, r.root.count())
			}
			r.root.mu.Lock()
			r.root.mute = true
			r.root.mu.Unlock()
			time.Sleep(3*want - 2*time.Second)
			if r.root.count() != 1 {
				t.Errorf("asked for one each %d ms: left before three were missed", ms)
			}
			time.Sleep(want + 5*time.Second)
			if r.root.count() != 2 {
				t.Errorf("asked for one each %d ms: %d streams after a long silence, want 2", ms, r.root.count())
			}
		})
	}
}

// TestARootThatStopsTakingIsLeft: it hangs, or the way to it is cut, in the
// middle of an answer.
func TestARootThatStopsTakingIsLeft(t *testing.T) {
	var parts atomic.Int64 // of both streams
	bubble(t, func(r *rig) {
		holdsMuch(large)(r)
		r.holder.slots = r.holder.slots[:2000]
		r.root.parts = true
		r.root.claimed = func(*linkv1.Claims, int) {
			if parts.Add(1) == 3 {
				time.Sleep(5 * time.Minute)
			}
		}
	}, func(t *testing.T, r *rig) {
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.root.count() != 2 || parts.Load() < 50 || !r.link.Connected() {
			t.Errorf("%d streams, want 2; %d parts, connected %v", r.root.count(), parts.Load(), r.link.Connected())
		}
		time.Sleep(5 * time.Minute)
	})
}

// TestARootThatTakesMuchIsNotSilent: what it says meanwhile is read only
// afterwards.
func TestARootThatTakesMuchIsNotSilent(t *testing.T) {
	parts := 0
	bubble(t, func(r *rig) {
		holdsMuch(large)(r)
		r.holder.slots = r.holder.slots[:2000]
		r.root.parts = true
		r.root.claimed = func(*linkv1.Claims, int) {
			parts++
			time.Sleep(time.Second)
		}
	}, func(t *testing.T, r *rig) {
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if r.root.count() != 1 || parts < 50 || !r.link.Connected() {
			t.Errorf("%d streams, %d parts, connected %v", r.root.count(), parts, r.link.Connected())
		}
	})
}
