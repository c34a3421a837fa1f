package rootlink

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

const (
	large     = 10_000   // slots
	specBytes = 30 << 10 // of each
)

var longText = strings.Repeat("e", specBytes)

// heap keeps the largest heap seen.
type heap struct {
	start, peak uint64
	looks       int
}

func newHeap() *heap {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return &heap{start: m.HeapAlloc, peak: m.HeapAlloc}
}

func (h *heap) look() {
	if h.looks++; h.looks%8 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		h.peak = max(h.peak, m.HeapAlloc)
	}
}

func (h *heap) grown() uint64 { return (h.peak - h.start) >> 20 }

// holdsMuch gives the cluster slots, spread over services with specs of 30 KB.
func holdsMuch(services int) func(*rig) {
	return func(r *rig) {
		r.root.recovery = true
		for i := range large {
			id := model.ServiceID(fmt.Sprintf("%024x", i%services))
			r.holder.slots = append(r.holder.slots, store.Slot{
				Instance: model.InstanceID{Service: id, Number: i}, Grant: instance.Grant(i + 1), Revision: 1,
				Service: model.Service{ID: id, Revision: 1, Spec: model.ServiceSpec{Environment: []string{longText}}},
			})
		}
	}
}

// TestClaimsOfAnySize: 300 MB of specs, which one message cannot carry, get
// through, and need some MB while they do.
func TestClaimsOfAnySize(t *testing.T) {
	for _, c := range []struct {
		services, least, most int // MB in all
	}{{large, 290, 320}, {100, 3, 40}, {1, 0, 2}} {
		t.Run(fmt.Sprint(c.services, " services"), func(t *testing.T) {
			bytes, parts, biggest, ended := 0, 0, 0, 0
			got, damaged := map[uint32]bool{}, 0
			h := newHeap()
			bubble(t, func(r *rig) {
				holdsMuch(c.services)(r)
				r.root.parts = true
				r.root.claimed = func(m *linkv1.Claims, size int) {
					parts, bytes, biggest = parts+1, bytes+size, max(biggest, size)
					linkv1.Whole(m.GetAssignments())
					for _, a := range m.GetAssignments() {
						got[a.GetNumber()] = true
						if len(a.GetSpec().GetEnvironment()) != 1 || len(a.GetSpec().GetEnvironment()[0]) != specBytes {
							damaged++
						}
					}
					if !m.GetMore() && len(m.GetBlocks()) == 1 {
						ended++
					}
					h.look()
				}
			}, func(t *testing.T, r *rig) {
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if r.root.count() != 1 || !r.link.Connected() {
					t.Errorf("%d streams, connected %v", r.root.count(), r.link.Connected())
				}
			})
			t.Logf("%d MB in %d messages of up to %d bytes; the heap of both sides grew by up to %d MiB", bytes>>20, parts, biggest, h.grown())
			if len(got) != large || damaged != 0 || ended != 1 {
				t.Errorf("%d of %d slots arrived, %d without their spec; it ended %d times", len(got), large, damaged, ended)
			}
			if mb := bytes >> 20; mb < c.least || mb > c.most || biggest > linkv1.PartBytes+1<<10 {
				t.Errorf("%d MB in messages of up to %d bytes, want %d to %d MB", mb, biggest, c.least, c.most)
			}
			if h.grown() > 256 {
				t.Errorf("the heap grew by %d MiB", h.grown())
			}
		})
	}
}

// TestAnOlderRootGetsOneMessage: without the ability, claims are whole.
func TestAnOlderRootGetsOneMessage(t *testing.T) {
	bubble(t, func(r *rig) { full(r); r.root.recovery = true }, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		synctest.Wait()
		_, counts, ups := r.root.of(0)
		c := ups[1].GetClaims()
		if counts["claims"] != 1 || c.GetMore() || len(c.GetAssignments()) != many {
			t.Fatalf("%v, %d assignments", counts, len(c.GetAssignments()))
		}
		for _, a := range c.GetAssignments() {
			if a.GetSpec() == nil {
				t.Fatal("an assignment has no spec")
			}
		}
	})
}

// TestOrdersOfAnySize: the same the other way, with 90 MB.
func TestOrdersOfAnySize(t *testing.T) {
	const ordered = 3000
	got, damaged, parts, ended := map[int]bool{}, 0, 0, 0
	h := newHeap()
	bubble(t, func(r *rig) {
		r.root.orders = func(yield func(*linkv1.Assignment) bool) {
			for i := range ordered {
				if !yield(&linkv1.Assignment{ServiceId: fmt.Sprintf("%024x", i), Number: uint32(i), Grant: 1, Revision: 1, Spec: &linkv1.ServiceSpec{Environment: []string{longText}}}) {
					return
				}
			}
		}
		r.holder.ordered = func(d fleet.Desired) {
			parts++
			for _, a := range d.Changed {
				got[a.Instance.Number] = true
				if e := a.Service.Spec.Environment; len(e) != 1 || len(e[0]) != specBytes {
					damaged++
				}
			}
			if d.Snapshot && !d.More {
				ended++
			}
			h.look()
		}
	}, func(t *testing.T, r *rig) {
		time.Sleep(10 * time.Second)
		synctest.Wait()
		hello, counts, _ := r.root.of(0)
		if r.root.count() != 1 || counts["applied"] != parts || !slices.Contains(hello.GetAbilities(), linkv1.AbilityParts) {
			t.Errorf("%d streams, %d of %d parts acknowledged, abilities %v", r.root.count(), counts["applied"], parts, hello.GetAbilities())
		}
	})
	t.Logf("%d parts; the heap of both sides grew by up to %d MiB", parts, h.grown())
	if len(got) != ordered || damaged != 0 || ended != 1 || parts < 87 {
		t.Errorf("%d of %d slots arrived in %d parts, %d without their spec; it ended %d times", len(got), ordered, parts, damaged, ended)
	}
	if h.grown() > 256 {
		t.Errorf("the heap grew by %d MiB", h.grown())
	}
}
