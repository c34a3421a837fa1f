package linux

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"oakestra/netmanager/rules"
	"oakestra/pkg/testkit"
	"oakestra/pkg/testkit/nshost"
)

// crowd is 1 000 services with 10 backends each.
func crowd() rules.Desired {
	d := rules.Desired{Node: rules.Node{ID: "node1"}}
	for i := range 1000 {
		s := rules.Service{Address: netip.AddrFrom4([4]byte{10, 30, byte(i >> 8), byte(i)})}
		for j := range 10 {
			s.Backends = append(s.Backends, netip.AddrFrom4([4]byte{10, byte(18 + j), byte(i >> 4), byte(2 + i%50)}))
		}
		d.Services = append(d.Services, s)
	}
	return d
}

func closeAtEnd(b *testing.B, h *Host) {
	b.Cleanup(func() {
		if err := h.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	})
}

func benchTable(b *testing.B) *table {
	b.Helper()
	n := nshost.New(b)
	h, err := New(Config{Netns: n.Path()}, testkit.Logger(b))
	if err != nil {
		b.Fatal(err)
	}
	closeAtEnd(b, h)
	return h.table
}

// BenchmarkEndpointChanged: the write of a replaced backend, p99 beside the mean.
func BenchmarkEndpointChanged(b *testing.B) {
	t := benchTable(b)
	d := crowd()
	want := rules.Compile(d, rules.Caps{ClampMSS: true})
	if _, err := t.apply(want); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		s := &d.Services[i%len(d.Services)]
		s.Backends = slices.Clone(s.Backends)
		s.Backends[i%10] = netip.AddrFrom4([4]byte{10, 29, byte(i >> 8), byte(i)})
		next := rules.Compile(d, rules.Caps{ClampMSS: true})
		changes := rules.Diff(t.seen, next)
		b.StartTimer()
		start := time.Now()
		if err := t.write(changes, next); err != nil {
			b.Fatal(err)
		}
		if err := t.commit(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		t.seen = next
		if !t.good {
			b.Fatal("the view of the kernel was lost")
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkResync: nothing changed; "moved" after somebody else's transaction,
// so that everything is read again.
func BenchmarkResync(b *testing.B) {
	for _, moved := range []bool{false, true} {
		b.Run(fmt.Sprintf("moved=%t", moved), func(b *testing.B) {
			t := benchTable(b)
			d := crowd()
			if _, err := t.apply(rules.Compile(d, rules.Caps{ClampMSS: true})); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if moved {
					t.good = false
				}
				changes, err := t.apply(rules.Compile(d, rules.Caps{ClampMSS: true}))
				if err != nil || !changes.Empty() {
					b.Fatalf("%v: %d sets", err, len(changes.Added)+len(changes.Gone))
				}
			}
		})
	}
}

// BenchmarkFullWrite: from an empty kernel.
func BenchmarkFullWrite(b *testing.B) {
	t := benchTable(b)
	want := rules.Compile(crowd(), rules.Caps{ClampMSS: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.apply(want); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := t.remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkApply: the whole of Apply, links and rules, when an endpoint changed.
func BenchmarkApply(b *testing.B) {
	n := nshost.New(b)
	n.Bridge(b, "up0")
	n.Address(b, "up0", "192.0.2.1/24")
	h, err := New(Config{Netns: n.Path()}, testkit.Logger(b))
	if err != nil {
		b.Fatal(err)
	}
	closeAtEnd(b, h)
	d := crowd()
	d.Node = rules.Node{ID: "node1", Subnet: netip.MustParsePrefix("10.18.1.0/26"), HostIP: netip.MustParseAddr("192.0.2.1")}
	for i := 0; b.Loop(); i++ {
		s := &d.Services[i%len(d.Services)]
		s.Backends = slices.Clone(s.Backends)
		s.Backends[i%10] = netip.AddrFrom4([4]byte{10, 29, byte(i >> 8), byte(i)})
		if err := h.Apply(context.Background(), d); err != nil {
			b.Fatal(err)
		}
	}
}
