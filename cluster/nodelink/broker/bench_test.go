package broker

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkIdleClient is what one connected agent costs in memory, both stacks
// included; the other end of its connection, in this process too, is a bare
// socket.
func BenchmarkIdleClient(b *testing.B) {
	br := New(Config{Listen: "127.0.0.1:0", MaxPending: 2000}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx) }()
	<-br.Ready()
	defer func() { cancel(); <-done }()
	used := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse + m.StackInuse)
	}
	const clients = 1000
	for b.Loop() {
		before := used()
		for i := range clients {
			c := dial(b, br, "127.0.0.1")
			id := fmt.Sprintf("w%d-%d", b.N, i)
			if c.connect(id, "") != 0 || c.subscribe("nodes/"+id+"/control/deploy") != 0 {
				b.Fatal("no session")
			}
		}
		b.ReportMetric((used()-before)/clients, "B/client")
	}
}

// BenchmarkPublish is one message from the manager to one agent.
func BenchmarkPublish(b *testing.B) {
	br := New(Config{Listen: "127.0.0.1:0", MaxQueued: 1 << 20}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx) }()
	<-br.Ready()
	defer func() { cancel(); <-done }()
	c := dial(b, br, "127.0.0.1")
	if c.connect("w-ne", "") != 0 || c.subscribe("nodes/w/control/deploy") != 0 {
		b.Fatal("no session")
	}
	go func() { c.ended() }()
	payload := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		if err := br.Publish("nodes/w/control/deploy", payload); err != nil {
			b.Fatal(err)
		}
	}
}
