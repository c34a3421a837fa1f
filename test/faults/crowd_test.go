package faults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakestra/node"
	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/node/telemetry"
	"oakestra/pkg/testkit"
	"oakestra/test/netlab"
	"oakestra/test/site"
)

// workerEnv makes this test program a NodeEngine whose runtime only counts:
// the real agent, with its real link and records, but hundreds of instances
// cost nothing. Its value is the cluster's address, the name and a directory.
const workerEnv = "OAK_FAULTS_WORKER"

func TestMain(m *testing.M) {
	if v := os.Getenv(workerEnv); v != "" {
		if err := serveWorker(strings.Split(v, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serveWorker(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%s=%v: want address,name,directory", workerEnv, args)
	}
	if err := os.MkdirAll(args[2], 0o755); err != nil {
		return err
	}
	ledger, err := os.OpenFile(filepath.Join(args[2], "ledger"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer ledger.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := node.DefaultConfig()
	cfg.Address, cfg.Name, cfg.Data = args[0], args[1], args[2]
	return node.New(cfg, node.Deps{Runtime: &counted{Fake: fakeruntime.New(), ledger: ledger}, Machine: telemetry.New(args[2]),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}).Run(ctx)
}

// counted writes down what it starts and removes.
type counted struct {
	*fakeruntime.Fake
	mu     sync.Mutex
	ledger *os.File
}

func (c *counted) write(word, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := fmt.Fprintln(c.ledger, word, id)
	return err
}

func (c *counted) Start(ctx context.Context, id string) error {
	if err := c.Fake.Start(ctx, id); err != nil {
		return err
	}
	return c.write("start", id)
}

func (c *counted) Remove(ctx context.Context, id string, logs bool) error {
	if err := c.Fake.Remove(ctx, id, logs); err != nil {
		return err
	}
	return c.write("remove", id)
}

var _ runtime.Runtime = (*counted)(nil)

// crowd is a root, a cluster and workers that only count, each a process on a
// machine of its own; with an outside broker when asked.
type crowd struct {
	*user
	lab     *netlab.Lab
	root    *netlab.Process
	manager *netlab.Process
	broker  *netlab.Process // nil: the manager's own
	workers []string
}

func startCrowd(t *testing.T, workers int, outside bool) *crowd {
	t.Helper()
	bin := site.Binaries(t)
	c := &crowd{}
	hosts := []string{"root", "site", "broker"}
	for i := range workers {
		c.workers = append(c.workers, fmt.Sprintf("n%d", i+1))
	}
	c.lab = netlab.New(t, netlab.Config{Hosts: append(hosts, c.workers...)})
	c.user = newUser(t, c.lab.Host("root"), c.lab.Host("root").Addr)
	c.root = c.lab.Host("root").Start(t, netlab.Program{Path: filepath.Join(bin, "system-manager"), Args: []string{"-data", c.lab.Path("root")}})
	t.Cleanup(c.root.Stop)
	env := []string{"SYSTEM_MANAGER_URL=" + c.lab.Host("root").Addr, "CLUSTER_NAME=field"}
	if outside {
		c.startBroker(t)
		env = append(env, "MQTT_BROKER_URL="+c.lab.Host("broker").Addr, "MQTT_BROKER_PORT=1883")
	}
	c.manager = c.lab.Host("site").Start(t, netlab.Program{Path: filepath.Join(bin, "cluster-manager"),
		Args: []string{"-data", c.lab.Path("cluster")}, Env: env})
	t.Cleanup(c.manager.Stop)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.workers {
		p := c.lab.Host(w).Start(t, netlab.Program{Name: "worker", Path: self,
			Env: []string{fmt.Sprintf("%s=%s,%s,%s", workerEnv, c.lab.Host("site").Addr, w, c.lab.Path(w))}})
		t.Cleanup(p.Stop)
	}
	c.login()
	eventually(t, "all workers are listed", time.Minute, func() error {
		var nodes []site.Node
		if _, err := c.do("GET", "/api/nodes/", nil, &nodes); err != nil || len(nodes) != workers {
			return fmt.Errorf("%w: %d", err, len(nodes))
		}
		return nil
	})
	return c
}

// startBroker runs mosquitto as a user of the original would.
func (c *crowd) startBroker(t *testing.T) {
	t.Helper()
	testkit.RequireRoot(t, "mosquitto")
	conf := c.lab.Path("mosquitto.conf")
	if err := os.WriteFile(conf, []byte("listener 1883 0.0.0.0\nallow_anonymous true\nuser root\nmax_queued_messages 100000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.broker = c.lab.Host("broker").Start(t, netlab.Program{Path: "mosquitto", Args: []string{"-c", conf}})
	t.Cleanup(c.broker.Stop)
}

var attempt = regexp.MustCompile(`^([0-9a-f]{24}-[0-9]+)-[0-9a-f]+-([0-9]+)$`)

// tally is what the workers' ledgers add up to.
type tally struct {
	live    map[string][]string // slot -> "worker id" of what lives
	started map[string]int      // attempt -> how often
	retried int                 // attempts that are not the first of their grant
}

func (c *crowd) tally() tally {
	c.t.Helper()
	out := tally{live: map[string][]string{}, started: map[string]int{}}
	for _, w := range c.workers {
		text, err := os.ReadFile(c.lab.Path(w, "ledger"))
		if err != nil {
			c.t.Fatal(err)
		}
		here := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			word, id, _ := strings.Cut(line, " ")
			switch word {
			case "start":
				here[id] = true
				out.started[id]++
			case "remove":
				delete(here, id)
			}
		}
		for id := range here {
			if m := attempt.FindStringSubmatch(id); m != nil {
				out.live[m[1]] = append(out.live[m[1]], w+" "+id)
			}
		}
	}
	for id := range out.started {
		if m := attempt.FindStringSubmatch(id); m != nil && m[2] != "1" {
			out.retried++
		}
	}
	return out
}

// exactly says why not n slots live, each once and no attempt started twice.
func (c *crowd) exactly(n int) error {
	v := c.tally()
	for slot, list := range v.live {
		if len(list) != 1 {
			return fmt.Errorf("slot %s lives as %v", slot, list)
		}
	}
	for id, times := range v.started {
		if times != 1 {
			return fmt.Errorf("attempt %s was started %d times", id, times)
		}
	}
	if len(v.live) != n {
		return fmt.Errorf("%d live, want %d", len(v.live), n)
	}
	return nil
}

// nobody says which containers nobody above can explain.
func (c *crowd) nobody() error {
	var r struct {
		Recovery bool  `json:"recovery"`
		Unknown  []any `json:"unknown"`
	}
	if _, err := c.do("GET", "/api/recovery", nil, &r); err != nil {
		return err
	}
	if r.Recovery || len(r.Unknown) > 0 {
		return fmt.Errorf("%+v", r)
	}
	return nil
}
