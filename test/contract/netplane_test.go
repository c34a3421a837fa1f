package contract

import (
	"context"
	"testing"
	"time"
)

// What is deployed on one worker is found from the other, both know who is
// who, and a removal waits until nobody sends there any more.
func TestDeployQueryAndLeave(t *testing.T) {
	t.Parallel()
	s := newSite(t, "n1", "n2")
	a, b := s.worker("n1", "192.0.2.1"), s.worker("n2", "192.0.2.2")
	server := a.deploy(web, 0, 101)
	curl := b.deploy(client, 0, 201)
	a.balances(web.Address, server)
	a.balances(web.Instances[0], server)

	if !b.ask(web.Address) {
		t.Fatal("n2 was told that the service does not exist")
	}
	b.balances(web.Address, server)
	b.balances(web.Instances[0], server)
	a.knows(curl, client.Instances[0])
	b.knows(server, web.Instances[0])
	if b.ask(addr("10.30.99.99")) {
		t.Error("n2 found an address that nobody has")
	}

	second := b.deploy(web, 1, 202)
	a.balances(web.Address, server, second)
	b.balances(web.Address, server, second)

	// The removal waits for the kernel of n2.
	entered, release := b.kernel.hold()
	defer release()
	left := make(chan struct{})
	start := time.Now()
	go func() { s.plane.Leave(context.Background(), attempt(web, 0)); close(left) }()
	<-entered
	select {
	case <-left:
		t.Error("the removal did not wait for n2")
	default:
	}
	release()
	<-left
	if took := time.Since(start); took > 1900*time.Millisecond {
		t.Errorf("the removal took %s: n2's acknowledgement did not end it", took)
	}
	for _, w := range []*worker{a, b} {
		if got, _ := w.backends(web.Address); len(got) != 1 || got[0] != second {
			t.Errorf("%s still balances over %v", w.id, got)
		}
	}
}

// A manager that goes and comes back changes nothing in any kernel, while it
// is away and afterwards; then news goes on.
func TestManagerRestartChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "n1", "n2")
	a, b := s.worker("n1", "192.0.2.1"), s.worker("n2", "192.0.2.2")
	server := a.deploy(web, 0, 101)
	curl := b.deploy(client, 0, 201)
	b.ask(web.Address)
	b.balances(web.Address, server)
	a.knows(curl, client.Instances[0])

	before := []int{a.writes(), b.writes()}
	s.stop()
	s.start()
	// The next news can only come after the first snapshot of the new manager.
	second := a.deploy(web, 1, 102)
	b.balances(web.Address, server, second)
	if got := a.writes() - before[0]; got != 1 {
		t.Errorf("n1's kernel was written %d times, want once for the new container", got)
	}
	if got := b.writes() - before[1]; got > 2 { // its backend, its identity
		t.Errorf("n2's kernel was written %d times for the new container", got)
	}
	b.balances(web.Instances[0], server)
	a.knows(curl, client.Instances[0])
}

// A NetManager that goes and comes back keeps its containers and its place in
// the tables of others.
func TestNetManagerRestartChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "n1", "n2")
	a, b := s.worker("n1", "192.0.2.1"), s.worker("n2", "192.0.2.2")
	server := a.deploy(web, 0, 101)
	b.ask(web.Address)
	b.balances(web.Address, server)
	attached, writes, other := len(a.kernel.Attachments()), a.writes(), b.writes()
	a.stop()
	a.start()
	if again := a.deploy(web, 0, 101); again != server {
		t.Errorf("the container moved from %s to %s", server, again)
	}
	second := a.deploy(web, 1, 102)
	b.balances(web.Address, server, second)
	if got := len(a.kernel.Attachments()); got != attached+1 {
		t.Errorf("%d attachments, had %d before the second", got, attached)
	}
	if got := a.writes() - writes; got != 1 {
		t.Errorf("n1's kernel was written %d times, want once for the second", got)
	}
	if got := b.writes() - other; got > 2 {
		t.Errorf("n2's kernel was written %d times for the second", got)
	}
}
