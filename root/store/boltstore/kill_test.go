package boltstore_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
)

// writerEnv makes this test binary the process that gets killed.
const writerEnv = "BOLTSTORE_TEST_WRITER"

const service = model.ServiceID("500000000000000000000000")

// TestKilled stops a process that writes from many goroutines with SIGKILL and
// looks for everything it had been told is stored.
func TestKilled(t *testing.T) {
	if path := os.Getenv(writerEnv); path != "" {
		write(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "root.db")
	acknowledged := 0
	for round := range 5 {
		acknowledged += writeAndKill(t, path, 100+70*round)
		s, _ := open(t, path)
		list, err := s.Instances().List(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := s.Claims().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		svc, err := s.Services().Get(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < acknowledged {
			t.Fatalf("%d slots are stored, %d were acknowledged", len(list), acknowledged)
		}
		// More may be stored than was read from the dead process, but whole.
		if svc.NextNumber != len(list) || len(claims) != len(list) {
			t.Fatalf("%d slots, %d claims, next number %d: half a write is stored", len(list), len(claims), svc.NextNumber)
		}
		acknowledged = len(list)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeAndKill returns how many writes were acknowledged before the kill.
func writeAndKill(t *testing.T, path string, after int) (acknowledged int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), writerEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() != "stored" {
			t.Errorf("the writer says %q", lines.Text())
			continue
		}
		if acknowledged++; acknowledged == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if acknowledged < after {
		t.Fatalf("the writer stopped by itself after %d writes", acknowledged)
	}
	return acknowledged
}

// write adds slots until it is killed.
func write(t *testing.T, path string) {
	s, fresh, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if fresh {
		app := model.Application{ID: "a", Name: "a", Namespace: "b", Owner: "c"}
		err := s.Descriptors().Commit(t.Context(), store.Descriptor{Applications: []model.Application{app}, Services: []model.Service{{
			ID: service, Application: "a", Owner: "c", Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "s", ServiceNamespace: "n"},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	used, err := s.Claims().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	next := 0
	for _, c := range used {
		b := c.Address.As4()
		next = max(next, int(b[2])<<8|int(b[3]))
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				mu.Lock()
				next++
				n := next
				mu.Unlock()
				a := netip.AddrFrom4([4]byte{10, 77, byte(n >> 8), byte(n)})
				if _, err := s.Instances().Add(t.Context(), service, a, time.Now()); err != nil {
					fmt.Println(err)
					return
				}
				fmt.Println("stored")
			}
		})
	}
	wg.Wait()
}

func BenchmarkAdd(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, _, err := boltstore.Open(filepath.Join(b.TempDir(), "root.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			work := make(chan int)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for n := range work {
						a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
						if err := s.Claims().Claim(b.Context(), store.Claim{Address: a, Holder: "x"}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for n := range b.N {
				work <- n
			}
			close(work)
			wg.Wait()
		})
	}
}
