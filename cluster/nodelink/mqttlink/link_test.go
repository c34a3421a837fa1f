package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/broker"
	"oakestra/cluster/nodelink/linktest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEmbedded is the suite over the broker in this process.
func TestEmbedded(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Rig {
		b := broker.New(broker.Config{Listen: "127.0.0.1:0"}, nil)
		l := New(Config{Local: b}, nil)
		start(t, b.Run, l.Run)
		<-b.Ready()
		return linktest.Rig{
			Link:  l,
			Agent: func(t testing.TB, id model.NodeID) linktest.Agent { return newAgent(t, "tcp://"+b.Addr().String(), id) },
		}
	})
}

// TestMosquitto is the suite over an outside broker, which can be restarted.
func TestMosquitto(t *testing.T) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
		if _, err := os.Stat(path); err != nil {
			testkit.Missing(t, "mosquitto")
		}
	}
	linktest.Run(t, func(t *testing.T) linktest.Rig {
		m := newMosquitto(t, path)
		m.start(t)
		l := New(Config{URL: m.address, ClusterName: "c1", RetryMax: 200 * time.Millisecond}, nil)
		start(t, l.Run)
		var agents []*agent
		return linktest.Rig{
			Link: l,
			Agent: func(t testing.TB, id model.NodeID) linktest.Agent {
				agents = append(agents, newAgent(t, "tcp://"+m.address, id))
				return agents[len(agents)-1]
			},
			Restart: func(t testing.TB) {
				m.stop()
				m.start(t)
				for _, a := range agents {
					a.await(t)
				}
			},
		}
	})
}

// start runs parts until the test ends.
func start(t *testing.T, parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range parts {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}

type mosquitto struct {
	path, conf, address string
	cmd                 *exec.Cmd
}

func newMosquitto(t *testing.T, path string) *mosquitto {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{path: path, conf: filepath.Join(t.TempDir(), "mosquitto.conf"), address: free.Addr().String()}
	_ = free.Close()
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n", free.Addr().(*net.TCPAddr).Port)
	if os.Geteuid() == 0 {
		conf += "user root\n"
	}
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) start(t testing.TB) {
	t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if c, err := net.DialTimeout("tcp", m.address, time.Second); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond) // another process starts: nothing to wait on
	}
	t.Fatal("mosquitto does not listen")
}

func (m *mosquitto) stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
}

// TestBrokerURL: what users write for a broker.
func TestBrokerURL(t *testing.T) {
	for in, want := range map[string]string{
		"broker":             "tcp://broker:10003",
		" 192.0.2.1 ":        "tcp://192.0.2.1:10003",
		"192.0.2.1:1883":     "tcp://192.0.2.1:1883",
		"mqtt://broker":      "mqtt://broker:10003",
		"ssl://broker:8883":  "ssl://broker:8883",
		"tcp://[::1]":        "tcp://[::1]:10003",
		"":                   "",
		"tcp://":             "",
		"tcp://a b":          "",
		"http://%zz":         "",
		"tcp://broker:10003": "tcp://broker:10003",
	} {
		got, err := brokerURL(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("brokerURL(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if err := (Config{URL: "tcp://", Queue: -1}).Validate(); err == nil || strings.Count(err.Error(), ";") != 1 {
		t.Errorf("Validate = %v, want two problems", err)
	}
}

// TestDeadBrokers: one that is not there and one that never answers. The link
// goes on trying, queues what fits, and ends when told to.
func TestDeadBrokers(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	absent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = absent.Close()
	for name, address := range map[string]string{"mute": mute.Addr().String(), "absent": absent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			l := New(Config{
				URL: address, ConnectTimeout: 50 * time.Millisecond, RetryMin: 10 * time.Millisecond,
				RetryMax: 10 * time.Millisecond, Queue: 1,
			}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			probe := nodelink.Outbound{Probe: &nodelink.Probe{}}
			if err := l.Send(ctx, "w1", probe); err != nil {
				t.Errorf("the first message found no room: %v", err)
			}
			if err := l.Send(ctx, "w1", probe); !errors.Is(err, errs.Exhausted) {
				t.Errorf("the second message: %v", err)
			}
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
			select {
			case in := <-l.Inbound():
				t.Errorf("heard %+v", in)
			default:
			}
		})
	}
}
