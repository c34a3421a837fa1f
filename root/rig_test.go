package root_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// cord is one manager's way to the leases of a shared store; it can be cut.
type cord struct {
	store.Store
	mu  sync.Mutex
	cut bool
}

func (c *cord) Leases() store.Leases { return c }

func (c *cord) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

func (c *cord) broken(ctx context.Context) error {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	if !cut {
		return nil
	}
	<-ctx.Done()
	return fmt.Errorf("no answer: %w", errors.Join(errs.Unavailable, ctx.Err()))
}

func (c *cord) Get(ctx context.Context, name string) (store.Lease, error) {
	if err := c.broken(ctx); err != nil {
		return store.Lease{}, err
	}
	return c.Store.Leases().Get(ctx, name)
}

func (c *cord) Swap(ctx context.Context, name string, was, next store.Lease) error {
	if err := c.broken(ctx); err != nil {
		return err
	}
	return c.Store.Leases().Swap(ctx, name, was, next)
}

func (c *cord) Fence(ctx context.Context, term uint64) error {
	return c.Store.Leases().Fence(ctx, term)
}

// manager is one system manager in this process.
type manager struct {
	*cord
	d    *root.Daemon
	stop func()
}

// shared makes a store that several managers work on: one bbolt file, open in
// this process.
func shared(t *testing.T) store.Store {
	t.Helper()
	s, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func launch(t *testing.T, st store.Store, set ...func(*root.Deps)) *manager {
	t.Helper()
	mem, err := witness.Open(filepath.Join(t.TempDir(), "witness.json"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{cord: &cord{Store: st}}
	cfg := root.DefaultConfig()
	cfg.Data = t.TempDir()
	deps := root.Deps{
		Store: m.cord, Witness: mem, Key: bytes.Repeat([]byte("k"), 32), Listener: ln, Logger: testkit.Logger(t), Version: "test", Shared: true,
	}
	for _, f := range set {
		f(&deps)
	}
	m.d, err = root.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.d.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// kill ends a manager as SIGKILL would: it gives nothing back.
func (m *manager) kill() {
	m.cord.set(true)
	m.stop()
}

// user calls one manager.
type user struct {
	t     *testing.T
	c     *http.Client
	token string
}

func newUser(t *testing.T) *user {
	return &user{t: t, c: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}}
}

// call returns the status and reads the answer into out; 0 when there is none.
func (u *user) call(at *manager, method, path string, body, out any) int {
	u.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		u.t.Error(err)
		return 0
	}
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+at.d.Addr().String()+path, bytes.NewReader(raw))
	if err != nil {
		u.t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+u.token)
	answer, err := u.c.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0
	}
	if answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
		u.t.Logf("503 without Retry-After: %s", text)
	}
	if answer.StatusCode == http.StatusOK && out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			u.t.Errorf("%s: %v", text, err)
		}
	}
	return answer.StatusCode
}

func (u *user) login(at *manager) {
	u.t.Helper()
	testkit.Eventually(u.t, 10*time.Second, func() error {
		var s struct {
			Token string `json:"token"`
		}
		if got := u.call(at, http.MethodPost, "/api/auth/login", map[string]string{"username": "Admin", "password": "Admin"}, &s); got != http.StatusOK {
			return fmt.Errorf("status %d", got)
		}
		u.token = s.Token
		return nil
	})
}

// service stores an application with one service and returns the service's id.
func (u *user) service(at *manager, st store.Store) model.ServiceID {
	u.t.Helper()
	descriptor := map[string]any{"sla_version": "v2.0", "customerID": "Admin", "applications": []any{map[string]any{
		"applicationID": "", "application_name": "app", "application_namespace": "test", "application_desc": "",
		"microservices": []any{map[string]any{"microserviceID": "", "microservice_name": "web", "microservice_namespace": "test",
			"virtualization": "container", "cmd": []string{}, "memory": 1, "vcpus": 1, "vgpus": 0, "vtpus": 0, "bandwidth_in": 0, "bandwidth_out": 0,
			"storage": 0, "code": "docker.io/library/nginx:latest", "state": "", "port": "", "added_files": []any{}}},
	}}}
	testkit.Eventually(u.t, 10*time.Second, func() error {
		if got := u.call(at, http.MethodPost, "/api/application/", descriptor, nil); got != http.StatusOK {
			return fmt.Errorf("status %d", got)
		}
		return nil
	})
	list, err := st.Services().List(u.t.Context(), "")
	if err != nil || len(list) != 1 {
		u.t.Fatalf("%v %v", list, err)
	}
	return list[0].ID
}

// join links a cluster through a manager and waits for the welcome. ended is
// closed when the link ends.
func join(t *testing.T, at *manager) (id string, ended <-chan struct{}) {
	t.Helper()
	conn, err := grpc.NewClient(at.d.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	done := make(chan struct{})
	testkit.Eventually(t, 10*time.Second, func() error {
		conn.ResetConnectBackoff()
		stream, err := linkv1.NewLinkClient(conn).Control(context.Background())
		if err != nil {
			return err
		}
		hello := &linkv1.Hello{ClusterName: "north", ClusterKey: "0123456789abcdef0123456789abcdef", Session: "s"}
		if err := stream.Send(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: hello}}); err != nil {
			return err
		}
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		id = m.GetWelcome().GetClusterId()
		go func() {
			defer close(done)
			for err == nil {
				_, err = stream.Recv()
			}
		}()
		return nil
	})
	if id == "" {
		t.Fatal("no id in the welcome")
	}
	return id, done
}

// watch opens the stream of events. closed is closed when the stream ends.
func (u *user) watch(at *manager) (closed <-chan struct{}) {
	u.t.Helper()
	done, status := make(chan struct{}), make(chan int)
	read := func() int {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+at.d.Addr().String()+"/api/events", nil)
		if err != nil {
			return 0
		}
		r.Header.Set("Authorization", "Bearer "+u.token)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			return 0
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode == http.StatusOK {
			status <- answer.StatusCode
			_, _ = io.Copy(io.Discard, answer.Body) // until it ends, in whatever way
			close(done)
		}
		return answer.StatusCode
	}
	testkit.Eventually(u.t, 10*time.Second, func() error {
		go func() {
			if s := read(); s != http.StatusOK {
				status <- s
			}
		}()
		if s := <-status; s != http.StatusOK {
			return fmt.Errorf("status %d", s)
		}
		return nil
	})
	return done
}

// ends fails the test when a stream stays open.
func ends(t *testing.T, name string, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Errorf("%s is still open", name)
	}
}

// stays fails the test when a stream is not.
func stays(t *testing.T, name string, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
		t.Errorf("%s has ended", name)
	default:
	}
}
