package mongostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

func TestCommandsAreObserved(t *testing.T) {
	s := &Store{watch: &observer{}}
	m := s.watch.monitor()
	ok := func(name string) {
		m.Succeeded(t.Context(), &event.CommandSucceededEvent{CommandFinishedEvent: event.CommandFinishedEvent{CommandName: name, Duration: time.Second}})
	}
	ok("insert") // to nobody
	var got []string
	s.Observe(func(write bool, took time.Duration, err error) { got = append(got, fmt.Sprint(write, took, err)) })
	ok("insert")
	ok("find")
	ok("hello")
	lost := event.CommandFailedEvent{CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update", Duration: 2 * time.Second}, Failure: errors.New("lost")}
	m.Failed(t.Context(), &lost)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	m.Failed(gone, &lost)
	if want := []string{"true 1s <nil>", "false 1s <nil>", "true 2s lost"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestWhatAStoreDoesIsObserved(t *testing.T) {
	s, _, err := Open(t.Context(), database(t, ferretURI(t), t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var mu sync.Mutex
	count := map[bool]int{}
	s.Observe(func(write bool, took time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		count[write]++
		if err != nil || took <= 0 {
			t.Errorf("write %v took %s: %v", write, took, err)
		}
	})
	if err := s.Users().Put(t.Context(), store.User{ID: model.UserID("a"), Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users().Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if count[true] == 0 || count[false] == 0 {
		t.Errorf("%d writes and %d reads were told", count[true], count[false])
	}
}
