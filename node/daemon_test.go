package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"oakestra/api/local"
	"oakestra/node/netclient"
	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/node/telemetry"
	"oakestra/pkg/testkit"
)

// netManager is the local API as far as NodeEngine uses it.
type netManager struct {
	mu         sync.Mutex
	registered []local.Register
	attached   int
}

func (n *netManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var in local.Register
	_ = json.NewDecoder(r.Body).Decode(&in) // other bodies are not looked at
	switch r.URL.Path {
	case local.PathRegister:
		n.registered = append(n.registered, in)
		fmt.Fprint(w, `{"subnet":"10.18.0.64/26"}`)
	case local.PathDeploy:
		if len(n.registered) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		n.attached++
		fmt.Fprint(w, `{"nsAddress":"10.18.0.66"}`)
	}
}

// TestABootWithoutTheCluster: what ran before runs again, with its network,
// under the identity the worker had; the cluster cannot be reached.
func TestABootWithoutTheCluster(t *testing.T) {
	net_ := &netManager{}
	server := httptest.NewServer(net_)
	defer server.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	port := func(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }

	cfg := DefaultConfig()
	cfg.Address, cfg.Port, cfg.NetPort, cfg.Data = "127.0.0.1", port(closed), port(server), t.TempDir()
	identity := `{"key":"secret","id":"w1","broker":"192.0.2.9","mqtt_port":1883}`
	if err := os.WriteFile(filepath.Join(cfg.Data, "identity.json"), []byte(identity), 0o600); err != nil {
		t.Fatal(err)
	}
	rt := fakeruntime.New()
	spec := runtime.Spec{Node: "w1", Service: "aaaaaaaaaaaaaaaaaaaaaaaa", Grant: 7, Try: 1, JobName: "a.b.c.d", Image: "i", InstanceIP: "10.30.0.2"}
	if _, err := rt.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	rt.Reboot()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- New(cfg, Deps{Runtime: rt, Net: netclient.New(cfg.NetPort), Machine: telemetry.New(cfg.Data), Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	testkit.Eventually(t, 20*time.Second, func() error {
		list, err := rt.List(ctx)
		if err != nil || len(list) != 1 || list[0].Phase != runtime.Running {
			return fmt.Errorf("%w: %+v", err, list)
		}
		return nil
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := local.Register{ClientID: "w1", ClusterAddress: "192.0.2.9", MQTTPort: 1883, NodeKey: "secret"}
	if net_.attached == 0 || len(net_.registered) == 0 || net_.registered[0] != want {
		t.Errorf("attached %d times, registered as %+v, want %+v", net_.attached, net_.registered, want)
	}
}
