package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clustermanager "oakestra/cluster"
	"oakestra/cluster/nodelink/memlink"
	clusterbook "oakestra/cluster/store/boltstore"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// back is within what a cluster's link is there again once another system
// manager has taken over.
const back = 5 * time.Second

// cord is one manager's way to the leases of a shared store; it can be cut.
type cord struct {
	store.Store
	cut atomic.Bool
}

func (c *cord) Leases() store.Leases { return leases{c.Store.Leases(), &c.cut} }

type leases struct {
	store.Leases
	cut *atomic.Bool
}

func (l leases) Swap(ctx context.Context, name string, was, next store.Lease) error {
	if l.cut.Load() {
		<-ctx.Done()
		return fmt.Errorf("no answer: %w", errors.Join(errs.Unavailable, ctx.Err()))
	}
	return l.Leases.Swap(ctx, name, was, next)
}

// manager is one of several on a store.
type manager struct {
	address string
	kill    func() // gives nothing back, as SIGKILL
}

func startManager(t *testing.T, st store.Store) manager {
	t.Helper()
	memory, err := witness.Open(filepath.Join(t.TempDir(), "witness.json"))
	must(t, err)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	c := &cord{Store: st}
	cfg := root.DefaultConfig()
	cfg.Data = t.TempDir()
	d, err := root.New(cfg, root.Deps{Store: c, Witness: memory, Key: bytes.Repeat([]byte("k"), 32), Listener: ln, Logger: testkit.Logger(t), Version: "test", Shared: true})
	must(t, err)
	stop := running(t, d.Run)
	return manager{ln.Addr().String(), func() { c.cut.Store(true); stop() }}
}

// running runs a daemon until the returned function or the test ends.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// says reports whether a GET is answered 200 with a text in it.
func says(client *http.Client, url, text string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(b.Bytes(), []byte(text)) {
		return fmt.Errorf("%s: %s %s", url, resp.Status, b.Bytes())
	}
	return nil
}

// A cluster whose link went through one system manager to another has a link
// again soon after that one died.
func TestLinkIsBackAfterATakeover(t *testing.T) {
	st, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	t.Cleanup(client.CloseIdleConnections)
	first := startManager(t, st)
	testkit.Eventually(t, patience, func() error { return says(client, "http://"+first.address+"/readyz", "ok") })
	second := startManager(t, st)

	mine, err := clusterbook.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, mine.Close()) })
	at := freeAddress(t)
	running(t, clustermanager.New(clustermanager.Config{Root: second.address, Name: "c1", Location: "here", Listen: at, Version: "test"},
		clustermanager.Deps{Store: mine, Link: memlink.New(), Logger: testkit.Logger(t)}).Run)
	linked := func() error { return says(client, "http://"+at+"/api/cluster/status", `"connected_to_root":true`) }
	testkit.Eventually(t, patience, linked)

	first.kill()
	died := time.Now()
	testkit.Eventually(t, patience, func() error { return says(client, "http://"+second.address+"/readyz", "ok") })
	took := time.Now()
	testkit.Eventually(t, patience, linked)
	since := time.Since(took)
	t.Logf("taken over %s after the end of the holder, linked %s after that", took.Sub(died).Round(time.Millisecond), since.Round(time.Millisecond))
	if since > back {
		t.Errorf("the link was back %s after the takeover, the limit is %s", since, back)
	}
	testkit.Eventually(t, patience, func() error { // as the new holder sees it, too
		clusters, err := st.Clusters().List(t.Context())
		if err != nil || len(clusters) != 1 {
			return fmt.Errorf("%d clusters: %w", len(clusters), err)
		}
		return says(client, "http://"+second.address+"/metrics", `oakestra_clusters{active="true"} 1`)
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}
